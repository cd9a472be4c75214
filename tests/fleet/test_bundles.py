"""Bundles that are carried, signed and tampered with: what a real host installs, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy.bundle import Manifest, Origin, Wheel
from tests.fleet.client import ssh_keygen
from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import Project

pytestmark = pytest.mark.fleet

ROOTS_LIST = "/etc/fabric-wheelhouse/srv/tiny/allowed_signers"


class AirGapped(Project):
    """CI; and once it is :meth:`cut_off`, a laptop with an empty wheelhouse and an index that is a closed port."""

    is_cut_off = False

    @property
    def cache(self) -> Path:
        return self.directory.parent / ("carried" if self.is_cut_off else "ci")

    def with_bundles_of_its_own(self) -> None:
        """The wheels are those of the real cache; bundles and their signatures are the test's."""
        wheels = Path(super().environment()["XDG_CACHE_HOME"]) / "fabric-wheelhouse/wheels"
        wheels.mkdir(parents=True, exist_ok=True)
        (self.cache / "fabric-wheelhouse").mkdir(parents=True)
        (self.cache / "fabric-wheelhouse/wheels").symlink_to(wheels)

    def cut_off(self) -> None:
        self.is_cut_off = True

    def environment(self) -> dict[str, str]:
        variables = {**super().environment(), "XDG_CACHE_HOME": str(self.cache)}
        if not self.is_cut_off:
            return variables
        kept = {key: value for key, value in variables.items() if not key.startswith("PIP_")}
        nowhere = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"}
        return {**kept, **nowhere}

    def stored(self, pattern: str) -> Path:
        """The one file of that pattern in the wheelhouse."""
        (found,) = self.cache.glob(f"fabric-wheelhouse/{pattern}")
        return found


@pytest.fixture
def web(boot: Any) -> Machine:
    machine: Machine = boot("bookworm", "web1")
    return machine


@pytest.fixture
def project(tmp_path: Path, fleet: Fleet, web: Machine) -> AirGapped:
    made = AirGapped(tmp_path / "tiny", fleet, [web])
    made.with_bundles_of_its_own()
    return made


@pytest.fixture
def signers(tmp_path: Path) -> Callable[[str], None]:
    """Makes a key beside the project, and writes the list that allows ana alone."""

    def make(*names: str) -> None:
        for name in names:
            ssh_keygen("ed25519", tmp_path / name, name)
        public = (tmp_path / "ana.pub").read_text()
        (tmp_path / "allowed").write_text(f'ana@example.org namespaces="bundle@fabric-wheelhouse" {public}')

    return make


def assert_nothing_installed(project: Project, machine: Machine) -> None:
    """No release, no venv and no wheel, and nothing half."""
    for name in ("releases", "venvs", "wheels"):
        assert machine.run(f"ls -A {project.base}/{name}").stdout == "", name
    assert not machine.exists(f"{project.base}/current")
    assert not machine.exists(f"{project.base}/staged")
    project.assert_tidy(machine)


def test_a_signed_bundle_from_ci_is_deployed_where_no_index_is(
    project: AirGapped, web: Machine, signers: Callable[..., None]
) -> None:
    signers("ana")
    allowed = {"allowed_signers": "../allowed", "signers_owner": "root"}
    project.configure(bundle={**allowed, "sign": "../ana"})
    project.fab("setup")
    assert "signed by ana@example.org" in project.fab("create-bundle").output
    project.fab("bundle.export", "../stick.tar")

    project.cut_off()
    project.configure(bundle=allowed)
    (project.directory.parent / "ana").unlink()
    assert "no index is in reach" in project.fab("deploy", expect=3).output
    assert "it is that of requirements.txt" in project.fab("bundle.import", "../stick.tar").output
    web.listen_trap()
    project.fab("deploy")
    assert project.serving(web)["version"] == "one"
    assert web.outgoing_attempts() == 0
    assert "nothing to change" in project.fab("deploy").output
    project.assert_tidy(web)


def test_what_the_carried_bundle_lacks_is_refused_by_name(project: AirGapped, web: Machine) -> None:
    project.fab("setup")
    project.fab("create-bundle")
    project.fab("bundle.export", "../stick.tar")
    project.cut_off()
    project.fab("bundle.import", "../stick.tar")
    project.more_dependencies()
    said = project.fab("deploy", expect=3).output
    assert "not in the wheelhouse, and no index is in reach: jinja2 3." in said
    assert "werkzeug 3." in said
    assert "markupsafe" not in said.partition("no index is in reach: ")[2].partition("\n")[0]
    assert_nothing_installed(project, web)


def test_tampering_is_refused_on_the_host_and_nothing_is_installed(
    project: AirGapped, web: Machine, signers: Callable[..., None]
) -> None:
    signers("ana", "mallory")
    project.configure(bundle={"allowed_signers": "../allowed"})
    project.fab("setup")
    assert web.run(f"stat -c '%U %a' {project.base}/.deploy/allowed_signers").stdout == "guestbook 644\n"
    # From here on the laptop itself asks for nothing, so that it is the host that refuses.
    project.configure(bundle={})
    project.fab("create-bundle")
    project.fab("bundle.export", "../stick.tar")
    project.cut_off()
    project.fab("bundle.import", "../stick.tar")

    assert "the bundle is not signed, and this host takes signed ones only" in project.fab("deploy", expect=9).output
    assert_nothing_installed(project, web)

    project.configure(bundle={"sign": "../mallory"})
    said = project.fab("deploy", expect=9).output
    assert f"is not among the allowed signers of this host ({project.base}/.deploy/allowed_signers)" in said
    assert_nothing_installed(project, web)

    project.configure(bundle={"sign": "../ana"})
    project.fab("create-bundle")
    project.configure(bundle={})
    signature = project.stored("bundles/*.sig")
    right = signature.read_text()
    lines = right.splitlines(keepends=True)
    lines[3] = lines[3].swapcase()
    signature.write_text("".join(lines))
    assert "signature does not fit its manifest" in project.fab("deploy", expect=9).output
    assert_nothing_installed(project, web)
    signature.write_text(right)

    manifest = project.stored("bundles/*.json")
    kept = manifest.read_text()
    manifest.write_text(with_another_wheel(project, kept, beside))
    assert "signature does not fit its manifest" in project.fab("deploy", expect=9).output
    assert_nothing_installed(project, web)

    # By a signer who is allowed and does not know better: what is in the wheel is looked at all the same.
    project.configure(bundle={"sign": "../ana"})
    for change, word in ((outside, "leaves the venv"), (lying, "signer.py is not what RECORD says")):
        signature.unlink()
        manifest.write_text(with_another_wheel(project, kept, change))
        said = project.fab("deploy", expect=9).output
        assert "itsdangerous" in said
        assert word in said
        there = web.run(f"ls -A {project.base}/venvs {project.base}/releases | grep -v : ", check=False).stdout
        assert there.split() == []
        assert not web.run("find / -xdev -name 'evil*'").stdout
    project.configure(bundle={})
    signature.write_text(right)
    manifest.write_text(kept)

    locked = next(each for each in Manifest.from_json(kept, "here").wheels if each.name == "itsdangerous")
    wheel = project.stored(f"wheels/{locked.sha256}/*.whl")
    content = wheel.read_bytes()
    wheel.write_bytes(content[:-1] + b"!")
    said = project.fab("deploy", expect=9).output
    assert "itsdangerous" in said
    assert "was damaged on the way: it is not what the manifest names" in said
    assert web.run(f"ls -A {project.base}/venvs {project.base}/releases | grep -v : ", check=False).stdout.split() == []
    assert web.run(f"ls -d {project.base}/wheels/{wheel.parent.name}", check=False).returncode != 0
    wheel.write_bytes(content)

    project.fab("deploy")
    assert project.serving(web)["version"] == "one"
    project.assert_tidy(web)


def beside(members: dict[str, bytes]) -> None:
    members["evil.pth"] = b"import os"


def outside(members: dict[str, bytes]) -> None:
    members["../../../../evil.pth"] = b"import os"


def lying(members: dict[str, bytes]) -> None:
    members["itsdangerous/signer.py"] += b"import evil"


def with_another_wheel(project: AirGapped, text: str, change: Callable[[dict[str, bytes]], None]) -> str:
    """A manifest that is right in itself: one of its wheels is another one, said to be built from the locked source."""
    manifest = Manifest.from_json(text, "here")
    former = next(each for each in manifest.wheels if each.name == "itsdangerous")
    with zipfile.ZipFile(project.stored(f"wheels/{former.sha256}/*.whl")) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    evil = project.directory.parent / former.filename
    with zipfile.ZipFile(evil, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    value = hashlib.sha256(evil.read_bytes()).hexdigest()
    folder = project.cache / "fabric-wheelhouse/wheels" / value
    folder.mkdir()
    origin = Origin("sdist", former.origin.sha256, builder="native")
    other = Wheel(former.filename, value, evil.stat().st_size, former.name, former.version, origin)
    evil.rename(folder / former.filename)
    return replace(manifest, wheels=tuple(other if each is former else each for each in manifest.wheels)).to_json()


def test_roots_list_is_out_of_the_deploy_users_reach(
    project: AirGapped, web: Machine, signers: Callable[..., None], tmp_path: Path
) -> None:
    signers("ana", "mallory")
    project.configure(bundle={"allowed_signers": "../allowed", "signers_owner": "root"})
    assert f"wrote {ROOTS_LIST}" in project.fab("setup").output
    assert "wrote" not in project.fab("setup").output
    assert web.run(f"stat -c '%U %a' {ROOTS_LIST}").stdout == "root 644\n"
    for command in (
        f"mv {ROOTS_LIST} {ROOTS_LIST}.old",
        f"rm -f {ROOTS_LIST}",
        f"echo >> {ROOTS_LIST}",
        f"rm -r {Path(ROOTS_LIST).parent}",
    ):
        assert web.run(command, user="guestbook", check=False).returncode != 0, command
    mallory = (tmp_path / "mallory.pub").read_text()
    web.write(f"{project.base}/.deploy/allowed_signers", f"* {mallory}", owner="guestbook:guestbook")

    project.configure(bundle={"sign": "../mallory"})
    assert f"allowed signers of this host ({ROOTS_LIST})" in project.fab("deploy", expect=9).output
    assert_nothing_installed(project, web)

    (tmp_path / "allowed").write_text(f"mallory@example.org {mallory}")
    project.configure(bundle={"allowed_signers": "../allowed", "signers_owner": "root"})
    said = project.fab("check", expect=5).output
    assert f"{ROOTS_LIST} is not what deploy.bundle.allowed_signers says; fab setup mends it" in said
    project.configure(bundle={"allowed_signers": "../allowed"})
    assert "is root's list of allowed signers and says something else" in project.fab("setup", expect=5).output


def test_a_first_deploy_brings_the_list_with_the_directories_on_three_debians(
    tmp_path: Path, fleet: Fleet, boot: Any, signers: Callable[..., None]
) -> None:
    machines = boot.all(("bullseye", "old"), ("bookworm", "mid"), ("trixie", "new"))
    project = AirGapped(tmp_path / "tiny", fleet, machines)
    project.with_bundles_of_its_own()
    signers("ana", "mallory")
    (tmp_path / "mine").write_text((tmp_path / "allowed").read_text().replace("ana@", "*@", 1))
    project.configure(bundle={"allowed_signers": "../mine"})
    said = project.fab("deploy", expect=9).output
    assert "the bundle is not signed" in said
    for machine in machines:
        assert f"{machine.address}" in said.rpartition("error: ")[2]
        assert_nothing_installed(project, machine)
    project.configure(bundle={"sign": "../mallory"})
    assert "is not among the allowed signers of this host" in project.fab("deploy", expect=9).output
    project.configure(bundle={"allowed_signers": "../mine", "sign": "../ana"})
    project.fab("deploy")
    project.fab("check")
    for machine in machines:
        assert project.serving(machine)["version"] == "one"


def test_the_gate_stops_a_deploy_before_anything_is_sent(project: AirGapped, web: Machine) -> None:
    event = {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99"}]}
    affected = [{"package": {"ecosystem": "PyPI", "name": "click"}, "ranges": [event]}]
    database = project.directory.parent / "osv"
    database.mkdir()
    (database / "PYSEC-1.json").write_text(json.dumps({"id": "PYSEC-1", "affected": affected}))
    project.configure(audit={"gate": True, "database": "../osv"})
    for task in ("deploy", "update-deps"):
        said = project.fab(task, expect=5).output
        assert "PYSEC-1" in said
        assert "99" in said
        assert web.run(f"find {project.base}/releases {project.base}/wheels -mindepth 1", check=False).stdout == ""
    borne = [{"id": "PYSEC-1", "reason": "not used", "expires": "2999-01-01"}]
    project.configure(audit={"gate": True, "database": "../osv", "ignore": borne})
    project.fab("deploy")
    assert project.serving(web)["version"] == "one"
