"""Building for hosts on hosts: a build host with a compiler, a foreign machine's wheels imported by its own Python."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.bundle import Places, Target, Wheelhouse, create_bundle
from deploy.bundle.build import Building, build
from deploy.bundle.builders import zig
from deploy.bundle.builders.container import container
from deploy.bundle.builders.elsewhere import Elsewhere
from deploy.bundle.builders.zig import Zig
from deploy.errors import BuildError
from tests.fleet import bases
from tests.fleet.conftest import Standing
from tests.fleet.machine import Machine
from tests.fleet.machines import Fleet
from tests.fleet.project import Outcome, Project
from tests.fleet.watching import Watch
from tests.sources import sdist, sha256

BOOKWORM = Target.parse({"python": "3.11", "platform": "manylinux_2_36_x86_64"})
TRIXIE_ARM = Target.parse({"python": "3.13", "platform": "manylinux_2_41_aarch64"})


LEFT_BEHIND = "ls -d /tmp/fabric-wheelhouse-* 2>/dev/null; pgrep -f '[w]ork.py'; true"


@pytest.fixture
def builder(standing: Standing) -> Machine:
    return standing("bookworm-build", "builder")


class Application:
    """An application whose only requirement is a source distribution, and a cache of its own."""

    def __init__(self, directory: Path, fleet: Fleet, builders: list[object], **source: str) -> None:
        self.cache = directory / "cache"
        self.links = directory / "links"
        self.links.mkdir(parents=True)
        self.source = sdist(self.links, **source)  # type: ignore[arg-type]
        self.project = Project(directory / "app", fleet, [])
        self.project.configure(
            stages={"production": {"hosts": ["nowhere.invalid"]}},
            target={"python": "3.11", "platform": "manylinux_2_36_x86_64"},
            builders=builders,
        )
        lock = f"--find-links {self.links}\ntiny==1.0 --hash=sha256:{sha256(self.source)}\n"
        (self.project.directory / "requirements.txt").write_text(lock)

    def create(self, expect: int = 0) -> Outcome:
        environment = {**self.project.environment(), "XDG_CACHE_HOME": str(self.cache)}
        done = subprocess.run(
            [str(Path(sys.executable).with_name("fab")), "create-bundle"],
            cwd=self.project.directory, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=180, check=False,
        )  # fmt: skip
        assert done.returncode == expect, done.stdout
        assert "Traceback" not in done.stdout
        return Outcome(done.returncode, done.stdout)

    @property
    def wheel(self) -> Path:
        (found,) = self.cache.glob("fabric-wheelhouse/wheels/*/*.whl")
        return found


def test_a_build_host_makes_the_wheel_and_keeps_nothing_and_another_makes_the_same(
    standing: Standing, builder: Machine, fleet: Fleet, tmp_path: Path
) -> None:
    app = Application(tmp_path, fleet, [{"host": f"deploy@{builder.address}"}])
    said = app.create().output
    assert f"built from source by host deploy@{builder.address}" in said
    assert "created: 1 wheel" in said
    assert app.wheel.name == "tiny-1.0-cp311-cp311-manylinux_2_5_x86_64.whl"
    with zipfile.ZipFile(app.wheel) as archive:
        assert b"/tmp/" not in archive.read("tiny.cpython-311-x86_64-linux-gnu.so")
    assert builder.run(LEFT_BEHIND).stdout == ""

    another = standing("bookworm-build", "another")
    another.run("echo 'export TZ=Asia/Tokyo; umask 077' > /home/deploy/.profile")
    same = Application(tmp_path / "elsewhere", fleet, [{"host": f"deploy@{another.address}"}])
    (same.project.directory / "requirements.txt").write_text((app.project.directory / "requirements.txt").read_text())
    assert digest(same.create().output) == digest(said)
    assert sha256(same.wheel) == sha256(app.wheel)


def digest(said: str) -> str:
    """The bundle's, as it is told."""
    (found,) = re.findall(r": bundle (\w+) ", said)
    return str(found)


def test_a_build_that_fails_on_the_build_host_shows_its_compilers_words(
    builder: Machine, fleet: Fleet, tmp_path: Path
) -> None:
    app = Application(tmp_path, fleet, [{"host": f"deploy@{builder.address}"}], more="#error the moon is missing")
    said = app.create(expect=3).output
    assert "tiny-1.0.tar.gz could not be built for cp311-manylinux_2_36_x86_64" in said
    assert f"host deploy@{builder.address}: its build failed" in said
    assert "the moon is missing" in said
    assert builder.run(LEFT_BEHIND).stdout == ""


def test_a_build_host_whose_tmp_is_somebody_elses_builds_in_the_home(
    builder: Machine, fleet: Fleet, tmp_path: Path
) -> None:
    builder.run("systemctl stop supervisor")  # it tries out /tmp as it starts
    builder.run("chown nobody /tmp /var/tmp; chmod 0777 /tmp /var/tmp")
    watch = Watch(builder, "/tmp", "/var/tmp")
    try:
        app = Application(tmp_path / "home", fleet, [{"host": f"deploy@{builder.address}"}])
        assert "created: 1 wheel" in app.create().output
        assert builder.run("ls -d /home/deploy/fabric-wheelhouse-*", check=False).stdout == ""
        builder.run("chown root /home/deploy; chmod 0755 /home/deploy")
        app = Application(tmp_path / "none", fleet, [{"host": f"deploy@{builder.address}"}])
        said = app.create(expect=3).output
        assert "no place to build in: /tmp and /home/deploy are not writable, or open to other users" in said
        seen = watch.end()
        assert not seen, seen
    finally:
        builder.run("chown root /tmp /var/tmp; chmod 1777 /tmp /var/tmp; chown deploy /home/deploy")


def test_what_the_build_host_has_and_production_lacks_is_grafted(
    builder: Machine, fleet: Fleet, tmp_path: Path
) -> None:
    builder.run(
        "echo 'int greet(void) { return 41; }' > /tmp/greet.c &&"
        "gcc -shared -fPIC -Wl,-soname,libgreet.so.1 -o /usr/local/lib/libgreet.so.1 /tmp/greet.c &&"
        "ln -sf libgreet.so.1 /usr/local/lib/libgreet.so && ldconfig"
    )
    source = {"libraries": ["-lgreet"], "more": "extern int greet(void);", "value": "greet() + 1"}
    app = Application(tmp_path, fleet, [{"host": f"deploy@{builder.address}"}], **source)  # type: ignore[arg-type]
    assert "; grafted: libgreet.so.1" in app.create().output
    with zipfile.ZipFile(app.wheel) as archive:
        assert any(name.startswith("tiny.libs/libgreet-") for name in archive.namelist())


def test_a_build_host_that_cannot_is_said_in_one_message_and_the_next_builder_is_tried(
    standing: Standing, builder: Machine, fleet: Fleet, tmp_path: Path
) -> None:
    plain, other = standing.all(("bookworm", "plain"), ("trixie", "other"))
    wrong = {"host": {"address": f"deploy@{other.address}", "python": "python3"}}
    hosts = [wrong, {"host": f"deploy@{other.address}"}, {"host": f"deploy@{plain.address}"}]
    app = Application(tmp_path / "none", fleet, hosts)
    said = app.create(expect=3).output
    assert f"host deploy@{other.address}: its interpreter is Python 3.13, and the target has 3.11" in said
    assert f"host deploy@{other.address}: the build did not start there (exit status 127)" in said
    assert "is python3.11 there?" in said
    assert f"host deploy@{plain.address}: its build failed" in said
    assert "a compiler and the Python headers are needed for C code (Debian: apt install gcc python3-dev)" in said
    app = Application(tmp_path / "next", fleet, [wrong, {"host": f"deploy@{builder.address}"}])
    assert f"built from source by host deploy@{builder.address}" in app.create().output


def test_a_build_host_that_is_not_reached_is_said(fleet: Fleet, tmp_path: Path) -> None:
    app = Application(tmp_path, fleet, [{"host": "deploy@127.0.0.1:1"}])
    assert "127.0.0.1:1: cannot connect" in app.create(expect=4).output


@pytest.fixture
def arm(tmp_path_factory: pytest.TempPathFactory, fleet: Fleet) -> Iterator[Path]:
    """A trixie root of aarch64, whose programs qemu runs; nothing that is written to it stays."""
    bases.run_foreign_programs()
    base = bases.hold("trixie-arm64-host")
    with_room = fleet.workdir / "hosts" / "arm"
    for name in ("upper", "work", "root"):
        (with_room / name).mkdir(parents=True)
    root = with_room / "root"
    options = f"lowerdir={base.root},upperdir={with_room / 'upper'},workdir={with_room / 'work'}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, root], check=True)
    yield root
    subprocess.run(["umount", root], check=True)
    shutil.rmtree(with_room)
    base.release()


@pytest.mark.skipif(zig.program() is None, reason="ziglang is not installed")
@pytest.mark.skipif(Zig().unfit(TRIXIE_ARM) != "", reason="no Python 3.13 with headers on this machine")
def test_a_bundle_for_aarch64_is_imported_there_module_by_module(arm: Path, tmp_path: Path) -> None:
    """Real source distributions: old setuptools, Cython, cffi with CMake and the stable ABI, C++ would take minutes."""
    sources = ["crcmod==1.7", "markupsafe==3.0.3", "msgpack==1.1.2", "regex==2025.11.3", "argon2-cffi-bindings==25.1.0"]
    files = {requirement: downloaded(requirement) for requirement in sources}
    foreign = ("--only-binary=:all:", "--python-version=3.13", "--platform=manylinux2014_aarch64")
    files["cffi==2.0.0"] = downloaded("cffi==2.0.0", *foreign)
    lock = tmp_path / "requirements.txt"
    lines = [
        f"{requirement.partition('==')[0]} @ file://{file} --hash=sha256:{sha256(file)}\n"
        for requirement, file in files.items()
    ]
    lock.write_text("".join(lines))

    house = Wheelhouse(tmp_path / "wheelhouse")
    bundle = create_bundle(lock, TRIXIE_ARM, wheelhouse=house, places=Places(ambient=True), building=Building((Zig(),)))

    built = {wheel.name for wheel in bundle.manifest.wheels if wheel.origin.builder == "zig"}
    assert built == {requirement.partition("==")[0] for requirement in sources}
    compiled = []
    for wheel in bundle.manifest.wheels:
        with zipfile.ZipFile(bundle.path(wheel)) as archive:
            archive.extractall(arm / "modules")
            compiled += [name for name in archive.namelist() if name.endswith(".so")]
    assert len(compiled) >= len(files)
    assert all(name.endswith(("-aarch64-linux-gnu.so", ".abi3.so")) for name in compiled), compiled
    modules = [name.partition(".")[0].replace("/", ".") for name in compiled]
    script = (
        "import importlib, platform, sys; sys.path.insert(0, '/modules');"
        f"print(platform.machine(), *[importlib.import_module(name).__file__ for name in {modules}])"
    )
    said = subprocess.run(
        ["chroot", arm, "/usr/bin/python3", "-c", script], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.split() == ["aarch64", *(f"/modules/{name}" for name in compiled)]


def downloaded(requirement: str, *options: str) -> Path:
    """A file from the index; fetched once in this machine's life."""
    folder = bases.cache().parent / "sources" / requirement
    if not folder.is_dir():
        partial = folder.with_name(f"{requirement}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *(options or ["--no-binary=:all:"])]
        subprocess.run([*command, "--dest", partial, requirement], check=True, stdin=subprocess.DEVNULL)
        partial.rename(folder)
    (found,) = folder.iterdir()
    return found


def podman(words: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["podman", "--cgroup-manager=cgroupfs", "--runtime", "runc", *words], **options)  # type: ignore[call-overload,no-any-return]


@pytest.mark.skipif(shutil.which("podman") is None, reason="podman is not installed")
def test_a_container_builds_without_a_network(tmp_path: Path) -> None:
    """The image is a base of ours, as no registry need be in reach; its command line is that of the published ones."""
    base = bases.hold("bookworm-build")
    image = "localhost/fabric-wheelhouse-bookworm-build"
    if podman(["image", "exists", image]).returncode:
        with subprocess.Popen(["tar", "-C", base.root, "-c", "."], stdout=subprocess.PIPE) as packed:
            podman(["import", "-q", "-", image], stdin=packed.stdout, check=True, capture_output=True)
    base.release()
    engine = tmp_path / "podman"
    # Where the kernel refuses to raise limits, the engine must be told lower ones.
    limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]
    engine.write_text('#!/bin/sh\nexec podman --cgroup-manager=cgroupfs --runtime runc "$@"\n')
    engine.chmod(0o755)
    made = build(
        sdist(tmp_path),
        BOOKWORM,
        tmp_path / "out",
        Building((container(BOOKWORM, str(engine), image, options=limits),)),
    )
    assert made.builder == f"container {image}"
    assert made.wheel.name == "tiny-1.0-cp311-cp311-manylinux_2_5_x86_64.whl"
    assert "gcc" in made.tools["compiler"].lower() or "Debian" in made.tools["compiler"]


def test_a_way_that_does_not_answer_is_an_error_with_its_words(tmp_path: Path) -> None:
    broken = Elsewhere("somewhere", lambda command, content: (7, b"", "no such image"))
    with pytest.raises(BuildError, match=r"did not start there \(exit status 7\)"):
        build(sdist(tmp_path), BOOKWORM, tmp_path / "out", Building((broken,)))
