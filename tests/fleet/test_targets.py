"""Targets on real hosts of three Debians: the tags are theirs, one stage has them all, and bundles come from files."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import packaging
import pytest

from deploy.bundle import Target
from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import Project

pytestmark = pytest.mark.fleet

ROOT = Path(__file__).resolve().parents[2]
SUITES = {"old": "bullseye", "mid": "bookworm", "new": "trixie"}
NAMES = ["cp39-manylinux_2_31_x86_64", "cp311-manylinux_2_36_x86_64", "cp313-manylinux_2_41_x86_64"]

ASK = """
import json, sys
sys.path.insert(0, "/opt/asked")
from hostside import interpreter
from packaging.markers import default_environment
from packaging.tags import sys_tags
print(json.dumps([interpreter.facts(), [str(tag) for tag in sys_tags()], default_environment()]))
"""


@pytest.fixture
def machines(boot: Any) -> list[Machine]:
    booted: list[Machine] = boot.all(*((suite, name) for name, suite in SUITES.items()))
    return booted


@pytest.fixture
def project(tmp_path: Path, fleet: Fleet, machines: list[Machine]) -> Project:
    made = Project(tmp_path / "tiny", fleet, machines)
    made.more_dependencies()
    return made


def copy(machine: Machine, *folders: Path) -> None:
    """Folders of this machine into /opt/asked of a host."""
    for folder in folders:
        (machine.root / "opt/asked").mkdir(exist_ok=True)
        subprocess.run(["cp", "-r", folder, machine.root / "opt/asked"], check=True)


def test_tags_and_markers_are_those_that_packaging_finds_on_the_host(machines: list[Machine]) -> None:
    for machine, name in zip(machines, NAMES, strict=True):
        copy(machine, ROOT / "deploy/hostside", Path(packaging.__file__).parent)
        said = machine.run("python3 -I -S -", input=ASK).stdout
        facts, tags, environment = json.loads(said)
        target = Target.from_facts(facts)
        assert [str(tag) for tag in target.tags()] == tags, machine.suite
        kernel = ("platform_release", "platform_version")
        assert target.markers() == {**environment, **dict.fromkeys(kernel, "")}
        assert target.name == name


def asked(machine: Machine, question: str) -> Any:
    """What the host program answers to one of the questions that are not always asked, as the login user."""
    script = f'import json, sys; sys.path.insert(0, "/opt/asked"); from hostside import probe; {question}'
    return json.loads(machine.run("python3 -I -S -", input=script, user="deploy").stdout)


@pytest.mark.parametrize(
    ("sudoers", "expected"),
    [
        ("deploy ALL=(ALL:ALL) NOPASSWD: ALL", "passwordless"),
        ("deploy ALL=(root) NOPASSWD: /usr/bin/systemctl restart tiny.service", "passwordless for some"),
        ("deploy ALL=(guestbook) NOPASSWD: ALL", "passwordless for some"),
        ("deploy ALL=(ALL:ALL) ALL", "needs password"),
        ("guestbook ALL=(ALL:ALL) ALL", "needs password"),
    ],
)
def test_what_sudo_allows_is_told_without_a_prompt(standing: Any, sudoers: str, expected: str) -> None:
    for machine in standing.all(*((suite, f"asked-{name}") for name, suite in SUITES.items())):
        copy(machine, ROOT / "deploy/hostside")
        machine.sudoers(sudoers)
        assert asked(machine, 'print(json.dumps(probe.ask(None, ["sudo"])))') == {"sudo": expected}, machine.suite


def test_the_loaders_libraries_and_the_version_of_openssh_are_told(standing: Any) -> None:
    for machine in standing.all(*((suite, f"asked-{name}") for name, suite in SUITES.items())):
        copy(machine, ROOT / "deploy/hostside")
        told = asked(machine, 'print(json.dumps(probe.ask(None, ["libraries", "openssh"])))')
        assert {
            "libc.so.6",
            "libm.so.6",
            "libcrypto.so.3" if machine.suite != "bullseye" else "libcrypto.so.1.1",
        } <= set(told["libraries"])
        assert "libpq.so.5" not in told["libraries"]
        assert machine.run("ssh -V 2>&1").stdout.startswith(f"OpenSSH_{told['openssh']} ")
        machine.run("mv /sbin/ldconfig /sbin/ldconfig.away")
        without = asked(machine, 'print(json.dumps(probe.ask(None, ["libraries"])))')["libraries"]
        machine.run("mv /sbin/ldconfig.away /sbin/ldconfig")
        assert "libc.so.6" in without, "the directories are looked at instead"


def test_one_stage_of_three_debians_gets_a_bundle_for_each_and_all_serve(project: Project) -> None:
    said = project.fab("deploy").output
    for name in NAMES:
        assert said.count(f"{name}: bundle ") == 1
    for machine, click in zip(project.machines, ("8.1.8", "8.5.1", "8.5.1"), strict=True):
        serving = project.serving(machine)
        assert serving["speedups"] == "markupsafe"
        python = f"{project.base}/current/.venv/bin/python"
        assert machine.run(f"{python} -c 'import markupsafe._speedups'")
        script = "from importlib.metadata import version; print(version('click'))"
        assert machine.run(f'{python} -c "{script}"').stdout.strip() == click
    assert "nothing to change" in project.fab("deploy").output


RESTART = """\
pid="$DEPLOY_BASE/shared/pid"
if [ -s "$pid" ]; then kill "$(cat "$pid")"; while kill -0 "$(cat "$pid")"; do sleep 0.05; done; fi
cd "$(pwd -P)"
nohup python -B serve.py </dev/null >/dev/null 2>&1 &
echo $! > "$pid"
"""


def test_a_stage_with_a_host_of_another_architecture_gets_a_bundle_for_each_and_all_serve(
    tmp_path: Path, fleet: Fleet, boot: Any
) -> None:
    machines: list[Machine] = boot.all(("bullseye", "old"), ("trixie", "new"), ("trixie-arm64-host", "arm"))
    project = Project(tmp_path / "tiny", fleet, machines)
    project.more_dependencies()
    (project.directory / "restart.sh").write_text(RESTART)
    old, new = (f"deploy@{machine.address}" for machine in machines[:2])
    # Under qemu there is no systemd, sudo does not become root, and programs are slow.
    machines[2].authorize("guestbook")
    arm = f"guestbook@{machines[2].address}"
    by_command = {"manager": "command", "command": "sh restart.sh", "pidfile": "shared/pid"}
    patient = {"url": "http://127.0.0.1:8000/health", "timeout": 60}
    project.configure(
        stages={"production": {"hosts": [old, new, {"host": arm, "service": by_command, "health": patient}]}}
    )

    said = project.fab("deploy", timeout=400).output
    names = [NAMES[0], NAMES[2], "cp313-manylinux_2_41_aarch64"]
    for name in names:
        assert said.count(f"{name}: bundle ") == 1, said
    for machine, architecture in zip(machines, ("x86_64", "x86_64", "aarch64"), strict=True):
        assert project.serving(machine)["speedups"] == "markupsafe"
        built = machine.run(f"find -L {project.base}/current/.venv -name '_speedups*.so'").stdout.split()
        assert built and all(f"-{architecture}-" in path for path in built), built
    assert machines[2].run("uname -m").stdout.strip() == "aarch64"
    assert "nothing to change" in project.fab("deploy").output
    project.fab("targets")
    files = sorted(path.name for path in (project.directory / "targets").iterdir())
    assert files == sorted(f"{name}.json" for name in names)


def test_bundles_made_from_files_with_no_host_in_reach_are_the_ones_that_are_deployed(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = project.fab("targets").output
    files = sorted(path.name for path in (project.directory / "targets").iterdir())
    assert files == sorted(f"{name}.json" for name in NAMES)
    for machine, name, libc in zip(project.machines, NAMES, ("2.31", "2.36", "2.41"), strict=True):
        (row,) = (line for line in table.splitlines() if line.startswith(f"{name} "))
        assert machine.address in row
        assert f"glibc {libc}" in row
        text = (project.directory / "targets" / f"{name}.json").read_text()
        assert machine.address not in text
        assert machine.run("uname -r").stdout.strip() not in text

    # A wheelhouse with wheels, so that nothing is fetched twice, and without bundles.
    wheels = Path(project.environment()["XDG_CACHE_HOME"]) / "fabric-wheelhouse/wheels"
    if wheels.is_dir():
        shutil.copytree(wheels, tmp_path / "cache/fabric-wheelhouse/wheels")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for machine in project.machines:
        machine.cut_network()
    said = project.fab("create-bundle", "--target", ",".join(NAMES)).output
    assert said.count(" created: ") == 3
    project.configure(target={"files": [f"targets/{name}.json" for name in NAMES]})
    assert project.fab("create-bundle").output.count("is there already") == 3
    for machine in project.machines:
        machine.restore_network()

    said = project.fab("deploy").output
    assert said.count("is there already") == 3
    assert "created" not in said
    assert "warning" not in said
    for machine in project.machines:
        assert project.serving(machine)["version"] == "one"


def test_a_host_that_was_upgraded_stops_the_deploy_of_all_before_anything_is_touched(project: Project) -> None:
    project.fab("targets")
    project.configure(target={"files": [f"targets/{name}.json" for name in NAMES[:2]]})
    said = project.fab("deploy", expect=5).output
    new = project.machines[2]
    assert f"{new.address}: is not what targets/{NAMES[1]}.json says: Python 3.11.2 expected, 3.13." in said
    assert "libc glibc 2.36 expected, glibc 2.41 found; " in said
    assert "fab production targets writes it anew" in said
    assert said.count("is not what") == 1
    for machine in project.machines:
        assert not machine.exists(f"{project.base}/current")
        assert machine.run(f"ls -A {project.base}/releases 2>/dev/null", check=False).stdout == ""
    assert "is not what" in project.fab("check", expect=5).output
