"""`fab deploy` on real hosts: what a user does, and what lies on the host afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.hostside.removal import NICENESS
from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import SECRET, Project
from tests.fleet.relay import fewest_round_trips

pytestmark = pytest.mark.fleet


@pytest.fixture
def project(tmp_path: Path, fleet: Fleet, boot: Any) -> Project:
    return Project(tmp_path / "tiny", fleet, [boot("bookworm", "web1")])


@pytest.fixture
def make(tmp_path: Path, fleet: Fleet) -> Callable[..., Project]:
    return lambda machines, **section: Project(tmp_path / "tiny", fleet, machines, **section)


def test_cold_code_only_dependency_change_nothing_to_change_and_rollback(project: Project) -> None:
    web = project.machines[0]
    web.listen_trap()

    project.fab("deploy")
    first = project.serving(web)
    assert first["release"] == project.current(web)
    assert (first["version"], first["speedups"]) == ("one", "markupsafe")
    assert first["secret"]
    assert web.outgoing_attempts() == 0, web.outgoing_targets()
    project.assert_tidy(web)

    project.version("two")
    said = project.fab("deploy").output
    second = project.serving(web)
    assert second["version"] == "two"
    assert "is there already" in said
    same = web.run(f"stat -c %i {project.base}/releases/*/serve.py").stdout.split()
    assert len(set(same)) == 1, "what did not change takes no space"

    project.more_dependencies()
    said = project.fab("deploy").output
    assert "2 uploaded" in said
    third = project.serving(web)
    assert third["release"] != second["release"]
    assert web.run(f"ls {project.base}/venvs | wc -l").stdout.strip() == "2"

    said = project.fab("deploy").output
    assert "nothing to change" in said
    assert project.current(web) == third["release"]
    newer = f"find {project.base} -newer {project.base}/.deploy/releases.json ! -path '*/.deploy*'"
    assert not web.run(newer).stdout, "nothing but the deploy lock was touched"

    project.fab("rollback")
    assert project.serving(web)["release"] == second["release"]
    project.fab("rollback")
    assert project.serving(web)["release"] == first["release"]
    assert project.states(web) == ["good", "bad", "bad"]
    said = project.fab("rollback", expect=5).output
    assert "nothing was touched" in said
    assert project.serving(web)["release"] == first["release"]
    assert web.outgoing_attempts() == 0, web.outgoing_targets()
    assert SECRET not in said


def test_three_hosts_of_three_debians_at_once(make: Callable[..., Project], boot: Any) -> None:
    machines = boot.all(("bullseye", "old"), ("bookworm", "mid"), ("trixie", "new"))
    project = make(machines)
    for machine in machines:
        machine.listen_trap()
    project.fab("deploy")
    releases = {project.serving(machine)["release"] for machine in machines}
    assert len(releases) == 1
    for machine in machines:
        assert machine.outgoing_attempts() == 0
        assert machine.run("command -v gcc cc", check=False).returncode != 0
        project.assert_tidy(machine)
    runs = [machine.run(f"cat {project.base}/shared/data/migrations", check=False).stdout for machine in machines]
    assert runs == ["one\n", "", ""], "migrated once, on the first host"
    table = project.fab("status").output
    assert table.count(next(iter(releases))) == 3


def test_the_steps_in_a_row_are_a_deploy_and_each_says_what_is_next(project: Project) -> None:
    web = project.machines[0]
    said = project.fab(
        "create-bundle", "push", "update-deps", "migrate-db", "activate", "reboot-server", "cleanup"
    ).output
    assert project.serving(web)["version"] == "one"
    assert project.states(web) == ["good"]
    for following in ("push", "update-deps", "migrate-db", "activate", "reboot-server", "cleanup"):
        assert f"fab production {following}" in said
    assert "nothing is staged" in project.fab("activate").output

    project.version("two")
    project.fab("push")
    assert "holds this code already" in project.fab("push").output
    assert project.serving(web)["version"] == "one"
    assert "has no venv yet" in project.fab("activate", expect=5).output
    project.fab("update-deps")
    project.fab("update-deps")
    project.fab("migrate-db", "activate", "restart")
    assert project.serving(web)["version"] == "two"
    assert project.states(web) == ["good", "good"]
    project.assert_tidy(web)


def test_a_chain_that_ends_in_a_sick_release_goes_back(project: Project) -> None:
    web = project.machines[0]
    project.fab("deploy")
    project.version("sick")
    project.fab("push", "update-deps", "migrate-db", "activate")
    assert "back" in project.fab("reboot-server", expect=6).output
    assert project.serving(web)["version"] == "one"
    assert project.states(web) == ["good", "bad"]


def test_a_dry_run_shows_the_commands_and_touches_nothing(project: Project) -> None:
    web = project.machines[0]
    before = web.run(f"find {project.base} | sort; ls /home/deploy").stdout
    said = project.fab("--dry", "deploy").output
    assert "systemctl restart tiny.service" in said
    assert "python migrate.py" in said
    assert "would switch current from nothing" in said
    assert web.run(f"find {project.base} | sort; ls /home/deploy").stdout == before


def test_the_login_user_is_the_deploy_user_and_may_only_restart(make: Callable[..., Project], boot: Any) -> None:
    web: Machine = boot("bookworm", "web1")
    web.authorize("guestbook")
    web.sudoers("guestbook ALL=(root) NOPASSWD: /usr/bin/systemctl restart tiny.service\n")
    project = make([web], deploy_user="")
    project.configure(stages={"production": {"hosts": [f"guestbook@{web.address}"]}})
    project.fab("check")
    project.fab("deploy")
    assert project.serving(web)["version"] == "one"
    project.assert_tidy(web)
    web.sudoers("")
    assert (
        "may not run without a password: sudo systemctl restart tiny.service" in project.fab("check", expect=5).output
    )


def test_sudo_with_a_password(make: Callable[..., Project], boot: Any) -> None:
    web: Machine = boot("bookworm", "web1")
    web.sudoers("deploy ALL=(ALL) ALL\n")
    web.set_password("deploy", "hunter2 'quoted'")
    project = make([web])
    assert "--prompt-for-sudo-password" in project.fab("deploy", expect=4).output
    project.configure()
    secrets = project.directory / "secrets.yaml"
    secrets.write_text("sudo: {password: \"hunter2 'quoted'\"}\n")
    said = project.fab("-f", "secrets.yaml", "deploy").output
    assert "hunter2" not in said
    assert project.serving(web)["version"] == "one"
    project.assert_tidy(web)
    secrets.write_text("sudo: {password: wrong}\n")
    project.version("two")
    assert "sudo did not take the password" in project.fab("-f", "secrets.yaml", "deploy", expect=4).output


def test_limit_and_minus_h_narrow_the_stage(make: Callable[..., Project], boot: Any) -> None:
    machines = boot.all(("bookworm", "web1"), ("bookworm", "web2"))
    project = make(machines)
    project.fab("deploy", "--limit", machines[0].address)
    assert project.serving(machines[0])["version"] == "one"
    assert not machines[1].exists(f"{project.base}/current")
    project.fab("-H", machines[1].address, "deploy")
    assert project.serving(machines[1])["version"] == "one"
    assert "is not in stage production" in project.fab("deploy", "--limit", "web9", expect=2).output
    (project.directory / "fabric.yaml").write_text(
        (project.directory / "fabric.yaml")
        .read_text()
        .replace("executor_class: deploy.executor.Executor", "dedupe: true")
    )
    said = project.fab("-H", machines[0].address, "deploy", expect=2).output
    assert "--limit" in said
    assert "executor_class" in said


def test_new_code_far_away_costs_few_round_trips(project: Project) -> None:
    """The speed budget: twelve after the handshake, which takes four."""
    web = project.machines[0]
    with project.fleet.relay(web, latency_s=0.05) as relay:
        # To extend the lock meanwhile would be two more.
        project.configure(stages={"production": {"hosts": [f"deploy@127.0.0.1:{relay.port}"]}}, lock={"expiry": 600})
        project.fab("deploy")

        def deploy(number: int) -> None:
            project.version(f"number {number}")
            project.fab("deploy")
            assert relay.connections == 1
            assert project.serving(web)["version"] == f"number {number}"

        assert fewest_round_trips(relay, deploy, 4 + 12) <= 4 + 12


def test_an_unknown_and_a_changed_host_key_are_refused_with_the_remedy(project: Project) -> None:
    known = project.fleet.client.known_hosts
    before = known.read_text()
    try:
        known.write_text("")
        said = project.fab("status", expect=4).output
        assert "SHA256:" in said
        assert "ssh-keyscan" in said
        other = before.split()[2]
        known.write_text(f"{project.machines[0].address} ssh-ed25519 {other[:-6]}AAAAAA\n")
        assert project.fab("status", expect=4).output
    finally:
        known.write_text(before)


def test_old_releases_go_and_their_venvs_with_them(make: Callable[..., Project], boot: Any) -> None:
    web = boot("bookworm", "web1")
    project = make([web], keep_releases=2)
    for version in ("one", "two", "three", "four"):
        project.version(version)
        project.fab("deploy")
    assert len(project.states(web)) == 2
    assert project.serving(web)["version"] == "four"
    project.fab("rollback")
    assert project.serving(web)["version"] == "three"


def test_a_deploy_does_not_wait_for_the_removal_of_what_it_took_out_of_use(
    make: Callable[..., Project], boot: Any
) -> None:
    web = boot("trixie", "web1")
    web.sudoers("Defaults use_pty\ndeploy ALL=(ALL:ALL) NOPASSWD: ALL")
    project = make([web], keep_releases=1)
    project.fab("deploy")
    # Of no release that is known; so much that it cannot be gone before it is seen.
    web.run("mkdir /srv/tiny/releases/much && cd /srv/tiny/releases/much && seq 50000 | xargs touch", user="guestbook")
    project.version("two")
    deploy = project.start("deploy")
    while not (pid := remover(web)):
        assert deploy.poll() is None, deploy.communicate()[0]
        time.sleep(0.005)
    os.kill(pid, signal.SIGSTOP)
    output, _ = deploy.communicate(timeout=60)
    assert deploy.returncode == 0, output
    assert "removed 1 release" in output
    aside = f"ls -d {project.base}/releases/.partial-much.*.gone"
    assert web.run(aside).stdout
    said = project.fab("deploy").output
    assert "nothing to change" in said
    assert "unfinished" not in said, "it is under way"
    os.kill(pid, signal.SIGKILL)
    assert web.run(aside).stdout
    assert "removed what an earlier run left unfinished" in project.fab("deploy").output
    assert web.run(aside, check=False).stdout == ""
    project.assert_tidy(web)


def remover(machine: Machine) -> int:
    """The process on *machine* that removes what is out of use; 0 where there is none."""
    namespace = os.readlink(f"/proc/{machine.pid1}/ns/pid")
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            same = os.readlink(process / "ns/pid") == namespace
            if same and os.getpriority(os.PRIO_PROCESS, int(process.name)) == NICENESS:
                return int(process.name)
    return 0
