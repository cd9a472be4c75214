"""On real hosts: a library, a package, a module, an import that is lacking is told while version one serves."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import wheels
from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import Project

pytestmark = [
    pytest.mark.fleet,
    pytest.mark.skipif(not wheels.HAVE_GCC, reason="gcc is not installed"),
]

# What is linked to: by name and soname like the real one, which this machine need not have.
PQ = "int PQlibVersion(void) { return 150000; }"
USER = "int PQlibVersion(void); int PyInit__native(void) { return PQlibVersion(); }"


@pytest.fixture
def web(boot: Any) -> Machine:
    machine: Machine = boot("bookworm", "web1")
    return machine


@pytest.fixture
def project(tmp_path: Path, fleet: Fleet, web: Machine) -> Project:
    """Deployed once; version one serves."""
    made = Project(tmp_path / "tiny", fleet, [web])
    made.fab("deploy")
    return made


def libpq(directory: Path) -> Path:
    return wheels.shared_object(directory / "libpq.so.5", PQ, "-Wl,-soname,libpq.so.5")


def needs_libpq(project: Project, directory: Path) -> None:
    """Let the application need a wheel that is linked to libpq."""
    library = libpq(directory / "build")
    made = wheels.native(directory / "wheels", "fwpsycopg", USER, f"-L{library.parent}", "-l:libpq.so.5")
    wheels.lock(project.directory, made)


def debian_package(directory: Path) -> Path:
    """A package libpq5 in a folder that apt takes for an archive; the hosts have no route to a real one."""
    tree = directory / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        "Package: libpq5\nVersion: 15.0-1\nArchitecture: amd64\nMaintainer: Test <test@example.org>\n"
        "Description: a stand-in\n"
    )
    (tree / "DEBIAN/triggers").write_text("activate-noawait ldconfig\n")
    library = libpq(directory / "build")
    place = tree / "usr/lib/x86_64-linux-gnu"
    place.mkdir(parents=True)
    (place / "libpq.so.5").write_bytes(library.read_bytes())
    archive = directory / "archive"
    archive.mkdir()
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", tree, archive], check=True, capture_output=True)
    return archive


def serve_archive(machine: Machine, archive: Path) -> None:
    """Put the folder on the host and let apt know no other."""
    (machine.root / "srv/archive").mkdir(parents=True)
    packages = []
    for path in archive.glob("*.deb"):
        (machine.root / "srv/archive" / path.name).write_bytes(path.read_bytes())
        control = subprocess.run(["dpkg-deb", "--field", path], check=True, capture_output=True, text=True).stdout
        digest = subprocess.run(["sha256sum", path], check=True, capture_output=True, text=True).stdout.split()[0]
        packages.append(f"{control}Filename: ./{path.name}\nSize: {path.stat().st_size}\nSHA256: {digest}\n")
    machine.write("/srv/archive/Packages", "\n".join(packages))
    machine.run("rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*")
    machine.write("/etc/apt/sources.list", "deb [trusted=yes] file:/srv/archive ./\n")
    machine.run("apt-get update")


def assert_one_serves(project: Project, machine: Machine, current: str) -> None:
    assert project.current(machine) == current
    assert project.serving(machine)["version"] == "one"
    project.assert_tidy(machine)


def test_a_library_that_a_host_lacks_is_told_and_installed_as_a_package(
    project: Project, web: Machine, tmp_path: Path
) -> None:
    current = project.current(web)
    stored = web.run("ls /srv/tiny/wheels").stdout
    needs_libpq(project, tmp_path)
    project.version("two")
    said = project.fab("deploy", expect=5).output
    assert f"{web.address}: lacks libpq.so.5, needed by fwpsycopg (_native….so); Debian: libpq5" in said
    assert "lacks libpq.so.5" in project.fab("check", expect=5).output
    assert_one_serves(project, web, current)
    assert web.run("ls /srv/tiny/wheels").stdout == stored, "not a byte was sent"

    project.configure(system_packages={"apt": ["libpq5"], "dnf": ["libpq"]})
    assert "lacks libpq5 (deploy.system_packages.apt)" in project.fab("deploy", expect=5).output
    failed = project.fab("setup", "--packages", expect=5).output
    assert re.search(r"the packages could not be installed \(exit \d+\)\n.*\| E: ", failed, re.DOTALL)
    serve_archive(web, debian_package(tmp_path))
    assert "apt-get install -y --no-install-recommends libpq5" in project.fab("--dry", "setup", "--packages").output
    assert web.run("dpkg-query -W libpq5", check=False).returncode
    assert "installed libpq5" in project.fab("setup", "--packages").output
    assert "no package is lacking" in project.fab("setup", "--packages").output
    project.fab("check")
    deployed = project.fab("deploy").output
    assert re.search(r"[1-9]\d* modules? opens?, [1-9]\d* imports? resolves?", deployed)
    assert project.serving(web)["version"] == "two"


SPEC = """\
%define debug_package %{nil}
%define __os_install_post %{nil}
Name: libpq
Version: 15.0
Release: 1
Summary: A stand-in
License: none
AutoReqProv: no
Provides: libpq-virtual
%description
A stand-in.
%install
install -D /srv/build/libpq.so.5 %{buildroot}/usr/lib/x86_64-linux-gnu/libpq.so.5
%files
/usr/lib/x86_64-linux-gnu/libpq.so.5
"""


def rpm_system(machine: Machine) -> None:
    """Make a Debian with rpm's tools one that has no other package manager, and whose database is where it is there."""
    machine.run("rm /usr/bin/apt-get /usr/bin/dpkg-query; rm -f /etc/yum.repos.d/*")
    machine.write("/etc/rpm/macros", "%_dbpath /var/lib/rpm\n")
    machine.run("rpm --initdb; chmod -R a+rX /var/lib/rpm")


def serve_rpm(machine: Machine, library: Path) -> None:
    """Build a package on the host, and let dnf know the folder with it."""
    (machine.root / "srv/build").mkdir(parents=True)
    (machine.root / "srv/build/libpq.so.5").write_bytes(library.read_bytes())
    machine.write("/srv/build/libpq.spec", SPEC)
    machine.run("rpmbuild --quiet -bb --define '_topdir /srv/build' /srv/build/libpq.spec")
    machine.run("createrepo_c --quiet /srv/build/RPMS")
    machine.write(
        "/etc/yum.repos.d/local.repo", "[local]\nname=local\nbaseurl=file:///srv/build/RPMS\nenabled=1\ngpgcheck=0\n"
    )


def test_on_a_system_of_rpm_the_same_is_told_and_installed_by_dnf(tmp_path: Path, fleet: Fleet, boot: Any) -> None:
    web = boot("bookworm-dnf", "web1")
    rpm_system(web)
    project = Project(tmp_path / "tiny", fleet, [web])
    project.fab("deploy")
    needs_libpq(project, tmp_path)
    project.version("two")
    said = project.fab("deploy", expect=5).output
    assert f"{web.address}: lacks libpq.so.5, needed by fwpsycopg (_native….so); RPM: libpq" in said

    project.configure(system_packages={"apt": ["libpq5"]})
    assert "the host has dnf, so none was looked for" in project.fab("check", expect=5).output
    project.configure(system_packages={"apt": ["libpq5"], "dnf": ["libpq", "libpq-virtual"]})
    assert "lacks libpq, libpq-virtual (deploy.system_packages.dnf)" in project.fab("deploy", expect=5).output
    failed = project.fab("setup", "--packages", expect=5).output
    assert re.search(r"the packages could not be installed \(exit \d+\)\n.*\| Error: ", failed, re.DOTALL)
    serve_rpm(web, tmp_path / "build/libpq.so.5")
    assert "dnf install -y libpq libpq-virtual" in project.fab("--dry", "setup", "--packages").output
    assert web.run("rpm --query libpq", check=False).returncode
    assert "installed libpq, libpq-virtual" in project.fab("setup", "--packages").output
    assert web.run("rpm --query libpq").stdout.strip() == "libpq-15.0-1.x86_64"
    assert "no package is lacking" in project.fab("setup", "--packages").output
    project.fab("deploy")
    assert project.serving(web)["version"] == "two"


def test_a_missing_import_and_a_broken_module_are_refused_on_every_host_at_once(
    tmp_path: Path, fleet: Fleet, boot: Any
) -> None:
    machines: list[Machine] = boot.all(("bookworm", "web1"), ("bookworm", "web2"))
    project = Project(tmp_path / "tiny", fleet, machines)
    project.fab("deploy")
    before = [project.current(machine) for machine in machines]
    broken = "int nobody_has_this(void); int PyInit__native(void) { return nobody_has_this(); }"
    wheels.lock(project.directory, wheels.native(tmp_path / "wheels", "fwbroken", broken))
    (project.directory / "views.py").write_text("import json\n\nimport reqests\nfrom . import gone\n")
    project.version("two")
    said = project.fab("deploy", expect=9).output
    assert said.count("views.py:3: import reqests: there is no reqests") == 1, "once, behind both hosts"
    assert "views.py:4: from . import gone: . has no module gone" in said
    assert "fwbroken 1.0 (fwbroken/_native.abi3.so) cannot be opened" in said
    assert "undefined symbol: nobody_has_this" in said
    assert f"{machines[0].address}, {machines[1].address}: views.py:3" in said
    for machine, current in zip(machines, before, strict=True):
        assert_one_serves(project, machine, current)


def test_the_oldest_python_checks_with_its_own_grammar(tmp_path: Path, fleet: Fleet, boot: Any) -> None:
    old: Machine = boot("bullseye", "old")
    project = Project(tmp_path / "tiny", fleet, [old])
    project.fab("deploy")
    (project.directory / "new.py").write_text("match 1:\n    case 1:\n        import nowhere\n")
    (project.directory / "toml.py").write_text("import tomllib\n")
    project.version("two")
    said = project.fab("deploy", expect=9).output
    assert "toml.py:1: import tomllib: there is no tomllib" in said
    assert "new.py:1: invalid syntax; its imports were not looked at" in said
    assert project.serving(old)["version"] == "one"
