"""A push that is cut at some byte, or whose client is killed: what served goes on, and the next deploy is whole."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from fabric import Config

from deploy.host.connection import Host
from deploy.host.login import Access
from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import Project
from tests.fleet.relay import Relay
from tests.repositories import Hg, Svn, needs_hg, needs_svn

pytestmark = pytest.mark.fleet

LOCK: tuple[str, dict[str, Any]] = (
    "lock",
    {"token": "t" * 32, "owner": {"user": "u", "host": "h", "pid": 1, "message": ""}, "expiry": 600},
)

SIZE = 14 << 20  # less than what makes a repository that is thrown away because it has doubled


@pytest.fixture
def web(standing: Any) -> Machine:
    machine: Machine = standing("bookworm-vcs", "web1")
    machine.run("systemctl stop tiny; rm -rf /srv/tiny", check=False)
    return machine


@pytest.mark.parametrize(
    "strategy", ["rsync", "stream", pytest.param("hg", marks=needs_hg), pytest.param("svn", marks=needs_svn)]
)
def test_a_push_that_is_interrupted_leaves_nothing_that_the_next_one_trips_over(
    tmp_path: Path, fleet: Fleet, web: Machine, strategy: str
) -> None:
    project = Project(tmp_path / "tiny", fleet, [web], source={"strategy": strategy})
    direct = project.section["stages"]
    (project.directory / ".hgignore").write_text("^fabric.yaml$\n")
    repository: Any = None
    if strategy == "hg":
        repository = Hg(project.directory)
    elif strategy == "svn":
        repository = Svn(project.directory, tmp_path / "repository")
        repository("propset", "--quiet", "svn:global-ignores", "fabric.yaml", ".")

    def change(version: str) -> None:
        project.version(version)
        if repository:
            repository.commit(version)

    change("one")
    project.fab("deploy")
    (project.directory / "large").write_bytes(os.urandom(SIZE))
    change("two")
    with fleet.relay(web) as relay:
        project.configure(stages={"production": {"hosts": [f"deploy@127.0.0.1:{relay.port}"]}})
        for count in (48 << 10, SIZE * 3 // 4):
            relay.mend(cut_after_bytes=count)
            said = project.fab("deploy", "--lock-wait", "30", expect=4).output
            assert relay.is_cut, said
            assert project.serving(web)["version"] == "one"
        relay.mend()
        kill_in_the_middle(project, relay)
        assert project.serving(web)["version"] == "one"
    project.configure(stages=direct)
    project.fab("deploy", "--lock-wait", "30")
    assert project.serving(web)["version"] == "two"
    project.assert_tidy(web)
    assert web.run("ls /srv/tiny/releases").stdout.split() == sorted(project.records(web)["releases"])
    assert len(project.records(web)["releases"]) == 2
    if strategy == "hg":
        assert "2 changesets" in web.run("hg -R /srv/tiny/repo verify").stdout


def kill_in_the_middle(project: Project, relay: Relay) -> None:
    relay.reset_counts()
    process = project.start("deploy", "--lock-wait", "30")
    project.kill_when(process, lambda: relay.bytes_up > SIZE // 3)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, output


@pytest.mark.parametrize("asks", [False, True], ids=["NOPASSWD", "password"])
def test_by_sudo_too_a_lock_that_nobody_waits_for_is_not_taken(fleet: Fleet, standing: Any, asks: bool) -> None:
    web: Machine = standing("trixie", "web2")
    web.run("rm -rf /srv/late; install -d -o guestbook -g guestbook /srv/late /srv/late/.deploy")
    web.set_password("deploy", "swordfish")
    web.sudoers(f"Defaults use_pty\ndeploy ALL=(ALL) {'' if asks else 'NOPASSWD: '}ALL\n")
    config = Config(overrides={"sudo": {"password": "swordfish" if asks else None}})
    host = Host(
        f"deploy@{web.address}", name="web2", base_path="/srv/late", deploy_user="guestbook", python="python3",
        config=config, access=Access(known_hosts=(fleet.client.known_hosts,), identity=str(fleet.client.key)),
    )  # fmt: skip
    guard, programs = "/srv/late/.deploy/lock.guard", "pgrep -u guestbook -f /srv/late/.deploy"
    web.run(
        f"systemd-run --uid=guestbook --unit=holds flock {guard} sleep 600; until pgrep -x sleep; do sleep 0.1; done"
    )
    session = host.new_session()
    session.ask([LOCK])
    assert web.run(programs, check=False).stdout
    session.close()
    host.run("true")
    web.run("systemctl stop holds")
    web.run(f"timeout 30 sh -c 'while {programs}; do sleep 0.1; done'")
    assert not web.exists("/srv/late/.deploy/lock.json")
    host.call(LOCK[0], **LOCK[1])
    assert web.exists("/srv/late/.deploy/lock.json")
    host.close()
