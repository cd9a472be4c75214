"""Disks that run full, run out of inodes or become read-only, each on a host of its own, at each phase of a deploy.

The file system below the base path is a tmpfs; a hook that root runs takes what is left of it away just before.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet.conftest import Standing
from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import Project

pytestmark = pytest.mark.fleet

ROOMY = "mount -o remount,rw,size=64M,nr_inodes=50000 /srv/tiny"
USED = "used() { df --output=$1 -B1 /srv/tiny | tail -n 1; }"
# What the hook does on each of the hosts; its arguments are how many bytes and how many inodes are left.
TROUBLES = {
    "inodes": f"{USED}; mount -o remount,nr_inodes=$(( $(used iused) + $2 )) /srv/tiny",
    "full": f"{USED}; mount -o remount,size=$(( $(used used) + $1 )) /srv/tiny",
    "readonly": "mount -o remount,ro /srv/tiny",
}
TOLD = {
    "full": ("no space left on the disk", "free some space (fab cleanup)"),
    "inodes": ("no inodes left on the disk", "make a file system with more inodes"),
    "readonly": ("the file system is read-only", "look at the host's disk and its mount"),
}


class Troubled:
    """Three hosts, and the application on them."""

    def __init__(self, directory: Path, fleet: Fleet, standing: Standing) -> None:
        found = standing.all(*(("bookworm", name) for name in TROUBLES))
        self.hosts: dict[str, Machine] = dict(zip(TROUBLES, found, strict=True))
        for name, host in self.hosts.items():
            host.run("mkdir -p /srv/tiny && mount -t tmpfs -o mode=755 small /srv/tiny")
            host.run(ROOMY)
            host.write("/usr/local/sbin/trouble", f"#!/bin/sh\n{TROUBLES[name]}\n", 0o755)
        self.project = Project(directory, fleet, found, min_free_mb=1)
        stages = self.project.section["stages"]
        self.project.configure(
            stages={**stages, "readonly": {"hosts": [f"deploy@{self.hosts['readonly'].address}"]}},
            default_stage="production",
        )
        self.project.fab("deploy")
        self.version = "one"

    def relieve(self) -> None:
        for host in self.hosts.values():
            host.run(ROOMY)

    def assert_untouched(self, said: str) -> None:
        """What served serves; each host has its one line, and what to do is said."""
        for name, host in self.hosts.items():
            what, remedy = TOLD[name]
            assert said.count(f"{host.address}: {what}: /srv/tiny") == 1, said
            assert remedy in said
            assert self.project.serving(host)["version"] == self.version
            if name != "readonly":
                left = host.run("find /srv/tiny -name '.partial-*' ! -name '*.gone'").stdout
                assert not left, left

    def assert_recovers(self) -> None:
        self.relieve()
        self.project.configure(hooks={})
        stages = self.project.section["stages"]
        self.project.configure(
            stages={**stages, "readonly": {"hosts": [f"deploy@{self.hosts['readonly'].address}"]}},
            default_stage="production",
        )
        self.project.fab("deploy")
        self.version = self.project.directory.joinpath("version.txt").read_text().strip()
        for host in self.hosts.values():
            assert self.project.serving(host)["version"] == self.version
            self.project.assert_tidy(host)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, fleet: Fleet, standing: Standing) -> Troubled:
    return Troubled(tmp_path_factory.mktemp("app") / "tiny", fleet, standing)


@pytest.fixture
def troubled(made: Troubled) -> Iterator[Troubled]:
    yield made
    made.relieve()
    shutil.rmtree(made.project.directory / "many", ignore_errors=True)


def test_while_code_is_pushed(troubled: Troubled) -> None:
    project = troubled.project
    project.version("pushed")
    many = project.directory / "many"
    many.mkdir()
    for number in range(40):
        (many / str(number)).write_bytes(bytes([number]) * 10_000)
    project.configure(hooks={"before_push": [{"command": "trouble 100000 20", "sudo": True}]})
    troubled.assert_untouched(project.fab("deploy", expect=9).output)
    troubled.assert_recovers()


def test_while_dependencies_are_installed(troubled: Troubled) -> None:
    project = troubled.project
    project.version("installed")
    project.more_dependencies()
    project.configure(hooks={"before_deps": [{"command": "trouble 100000 20", "sudo": True}]})
    troubled.assert_untouched(project.fab("deploy", expect=9).output)
    troubled.assert_recovers()


def test_while_it_is_switched(troubled: Troubled) -> None:
    project = troubled.project
    project.version("switched")
    project.configure(hooks={"before_activate": [{"command": "trouble 0 1", "sudo": True}]})
    troubled.assert_untouched(project.fab("deploy", expect=6).output)
    troubled.assert_recovers()


def test_before_a_deploy_begins(troubled: Troubled) -> None:
    project, hosts = troubled.project, troubled.hosts
    project.version("begun")
    for host in hosts.values():
        host.run("trouble 0 1")
    found = {
        "full": "only 0 MiB are free for",
        "inodes": "inodes are free for",
        "readonly": "is read-only; look at",
    }
    for task in ("deploy", "check"):
        said = project.fab(task, expect=5).output
        for name, what in found.items():
            told = [line for line in said.splitlines() if line.startswith(f"  {hosts[name].address}: ")]
            assert len(told) == 1, said
            assert what in told[0]
            assert "/srv/tiny" in told[0]
    assert len(project.fab("status").output.splitlines()) == 1 + len(hosts)
    hosts["inodes"].run("trouble 0 0")
    for stage, name in (("production", "inodes"), ("readonly", "readonly")):
        what, remedy = TOLD[name]
        said = project.fab(stage, "deploy", expect=5).output
        assert f"{hosts[name].address}: {what}: /srv/tiny/.deploy" in said
        assert remedy in said
    what, remedy = TOLD["readonly"]
    said = project.fab("readonly", "setup", expect=5).output
    assert f"{hosts['readonly'].address}: {what}: /srv/tiny" in said
    assert remedy in said
    troubled.assert_recovers()
