"""Thirty booted hosts with a service each: deployed to in batches, and all of them back when one fails."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fleet.conftest import Boot
from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import Project

pytestmark = pytest.mark.fleet

HOSTS = 30
BATCH = 10


@pytest.fixture
def project(tmp_path: Path, fleet: Fleet, boot: Boot) -> Project:
    machines = boot.all(*(("bookworm", f"web{number}") for number in range(1, HOSTS + 1)))
    # Two processors play thirty hosts, so what takes a moment elsewhere may take long here.
    return Project(
        tmp_path / "tiny",
        fleet,
        machines,
        rolling={"batch": BATCH},
        health={"url": "http://127.0.0.1:8000/health", "timeout": 60},
        lock={"expiry": 60},
    )


def versions(project: Project) -> set[tuple[str, str]]:
    """Which version answers, and which release is live, on all hosts; those that are alike once."""

    def one(machine: Machine) -> tuple[str, str]:
        return project.serving(machine).get("version", "down"), project.current(machine)

    with ThreadPoolExecutor(8) as pool:
        return set(pool.map(one, project.machines))


def test_thirty_hosts_are_deployed_to_in_batches_and_all_go_back_when_one_fails(project: Project) -> None:
    said = project.fab("deploy").output
    assert len(first := versions(project)) == 1 and first.pop()[0] == "one"
    assert f"{HOSTS} hosts: pushed" in said
    assert len(said.splitlines()) < HOSTS, said

    broken = project.machines[-2]
    broken.write(
        "/etc/systemd/system/tiny.service.d/guard.conf", "[Service]\nExecStartPre=/bin/grep -qx one version.txt\n"
    )
    broken.run("systemctl daemon-reload")
    project.version("two")
    said = project.fab("deploy", expect=6).output
    assert len(back := versions(project)) == 1 and back.pop()[0] == "one"
    assert {tuple(project.states(machine)) for machine in project.machines} == {("good", "bad")}
    assert f"{broken.address}: the restart failed" in said
    assert f"{2 * BATCH} hosts  " in said and "went back with the others" in said
    assert f"{BATCH - 1} hosts  " in said and "went back with its batch" in said
    assert len(said.splitlines()) < 2 * HOSTS, said

    broken.run("rm /etc/systemd/system/tiny.service.d/guard.conf; systemctl daemon-reload")
    project.fab("deploy")
    assert len(third := versions(project)) == 1 and third.pop()[0] == "two"
