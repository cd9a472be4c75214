"""What may go wrong goes wrong here, for real; afterwards what served still serves, and the next deploy succeeds."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fab import FAB
from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import Project

pytestmark = pytest.mark.fleet


@pytest.fixture
def project(tmp_path: Path, fleet: Fleet, boot: Any) -> Project:
    """Deployed once; version one serves."""
    made = Project(tmp_path / "tiny", fleet, [boot("bookworm", "web1")])
    made.fab("deploy")
    return made


@pytest.fixture
def web(project: Project) -> Machine:
    return project.machines[0]


def assert_recovers(project: Project, version: str = "mended", *options: str) -> None:
    """The next deploy succeeds with no hand work, and leaves nothing behind."""
    project.version(version)
    project.fab("deploy", *options)
    for machine in project.machines:
        assert project.serving(machine)["version"] == version
        project.assert_tidy(machine)


def test_a_migration_that_fails_stops_before_anything_that_serves(project: Project, web: Machine) -> None:
    project.version("unmigratable")
    said = project.fab("deploy", expect=10).output
    assert "no such column: guestbook_entry.colour" in said
    assert "deploy --retry" in said
    assert project.serving(web)["version"] == "one"
    assert project.states(web) == ["good", "staged"], "what is complete may be taken up"
    project.assert_tidy(web)
    assert_recovers(project)
    assert project.states(web) == ["good", "good"]


def test_a_release_that_crashes_at_start_goes_back(project: Project, web: Machine) -> None:
    project.version("crash")
    said = project.fab("deploy", expect=6).output
    assert "the former release serves again" in said
    assert "this version crashes at start" in said
    assert project.serving(web)["version"] == "one"
    assert project.states(web) == ["good", "bad"]
    assert_recovers(project)


@pytest.mark.parametrize("sudo", ["ALL", "/usr/bin/systemctl restart tiny.service"])
def test_a_release_that_uses_up_the_starts_of_its_unit_goes_back(project: Project, web: Machine, sudo: str) -> None:
    """systemd refuses to start a unit that crashed often, and with it the former release."""
    web.write(
        "/etc/systemd/system/tiny.service.d/again.conf",
        "[Unit]\nStartLimitIntervalSec=10\nStartLimitBurst=3\n[Service]\nRestart=always\nRestartSec=100ms\n",
    )
    web.run("systemctl daemon-reload")
    web.sudoers(f"deploy ALL=(guestbook) NOPASSWD: ALL\ndeploy ALL=(root) NOPASSWD: {sudo}\n")
    project.version("crash")
    said = project.fab("deploy", expect=6).output
    assert "the former release serves again" in said
    assert project.serving(web)["version"] == "one"


def test_a_restart_command_that_fails_goes_back(project: Project, web: Machine) -> None:
    web.write("/etc/systemd/system/tiny.service.d/guard.conf", "[Service]\nExecStartPre=/bin/grep -q one version.txt\n")
    web.run("systemctl daemon-reload")
    project.version("two")
    said = project.fab("deploy", expect=6).output
    assert "the restart failed" in said
    assert project.serving(web)["version"] == "one"
    web.run("rm -r /etc/systemd/system/tiny.service.d; systemctl daemon-reload")
    assert_recovers(project)


def test_health_that_never_answers_well_goes_back(project: Project, web: Machine) -> None:
    project.version("sick")
    said = project.fab("deploy", expect=6).output
    assert "HTTP 503" in said
    assert project.serving(web)["version"] == "one"
    assert project.states(web) == ["good", "bad"]
    assert_recovers(project)


def test_a_first_release_that_is_sick_has_nothing_to_go_back_to(tmp_path: Path, fleet: Fleet, boot: Any) -> None:
    project = Project(tmp_path / "tiny", fleet, [boot("bookworm", "web1")])
    project.version("sick")
    said = project.fab("deploy", expect=7).output
    assert "no former release" in said
    assert_recovers(project)


def test_a_service_that_goes_on_with_the_old_release_is_found_out(project: Project, web: Machine) -> None:
    """The classic: a reload that does not reload. Health answers 200, by the old process."""
    web.write("/etc/systemd/system/tiny.service.d/reload.conf", "[Service]\nExecReload=/bin/true\n")
    web.run("systemctl daemon-reload")
    project.configure(service={"manager": "systemd", "unit": "tiny.service", "action": "reload"})
    project.version("two")
    said = project.fab("deploy", expect=6).output
    assert "the new release is not what runs" in said
    assert project.serving(web)["version"] == "one"
    project.configure(service={"manager": "systemd", "unit": "tiny.service"})
    assert_recovers(project)


def test_one_sick_host_of_three_brings_all_back(tmp_path: Path, fleet: Fleet, boot: Any) -> None:
    machines = boot.all(("bookworm", "web1"), ("bookworm", "web2"), ("trixie", "web3"))
    project = Project(tmp_path / "tiny", fleet, machines)
    assert project.fab("deploy").output.count(": bundle ") == 2, "the two that are alike share one"
    machines[1].write(
        "/etc/systemd/system/tiny.service.d/guard.conf", "[Service]\nExecStartPre=/bin/grep -q one version.txt\n"
    )
    machines[1].run("systemctl daemon-reload")
    project.version("two")
    project.fab("deploy", expect=6)
    assert [project.serving(machine)["version"] for machine in machines] == ["one", "one", "one"]
    assert [project.states(machine) for machine in machines] == [["good", "bad"]] * 3
    machines[1].run("rm -r /etc/systemd/system/tiny.service.d; systemctl daemon-reload")
    assert_recovers(project)


def _happened(web: Machine, test: str) -> Callable[[], bool]:
    return lambda: web.run(test, check=False).returncode == 0


PHASES = {
    "push": "ls -d /srv/tiny/releases/.partial-*/big | grep -v gone/big$",
    "update-deps": "ls -d /srv/tiny/venvs/.partial-* /srv/tiny/wheels/.partial-* | grep -v gone$",
    "activate": "test -f /run/restarting",
}


def _slow(project: Project, web: Machine, phase: str) -> None:
    """Make *phase* last long enough to be hit in its middle."""
    project.version("two")
    if phase == "push":
        with (project.directory / "big").open("wb") as stream:
            for number in range(40_000):
                stream.write(number.to_bytes(4, "big") * 1024)
    if phase == "update-deps":
        web.run("rm -rf /srv/tiny/wheels/*", user="guestbook")
        project.more_dependencies()
    if phase == "activate":
        web.write(
            "/etc/systemd/system/tiny.service.d/slow.conf",
            "[Service]\nExecStartPre=+/bin/sh -c 'touch /run/restarting; sleep 3; rm -f /run/restarting'\n",
        )
        web.run("systemctl daemon-reload")


@pytest.mark.parametrize("phase", PHASES)
def test_the_client_is_killed_in_the_middle(project: Project, web: Machine, phase: str) -> None:
    _slow(project, web, phase)
    process = project.start("deploy")
    project.kill_when(process, _happened(web, PHASES[phase]))
    process.wait()
    _assert_whole(project, web)
    said = project.fab("deploy", expect=8).output
    assert "the deploy lock is held by" in said
    assert_recovers(project, "mended", "--lock-wait", "30")


@pytest.mark.parametrize("phase", PHASES)
def test_the_connection_is_cut_in_the_middle(project: Project, web: Machine, phase: str) -> None:
    _slow(project, web, phase)
    with project.fleet.relay(web) as relay:
        hosts = project.section["stages"]
        project.configure(stages={"production": {"hosts": [f"deploy@127.0.0.1:{relay.port}"]}})
        process = project.start("deploy")
        test = _happened(web, PHASES[phase])
        while not test():
            assert process.poll() is None, process.communicate()[0]
        relay.cut()
        output, _ = process.communicate(timeout=120)
        assert process.returncode in (4, 7, 9), output
        assert "Traceback" not in output
        project.configure(stages=hosts)
    _assert_whole(project, web)
    assert_recovers(project, "mended", "--lock-wait", "30")


def _assert_whole(project: Project, web: Machine) -> None:
    """`current` is a complete release, and the application answers or is just being restarted."""
    current = f"{project.base}/current"
    web.run(f"test -f {current}/.release.json -a -x {current}/.venv/bin/python -a -f {current}/serve.py")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("phase", ["push", "activate"])
def test_an_interrupt_lets_go_of_the_lock_and_of_what_was_begun(
    project: Project, web: Machine, phase: str, number: int
) -> None:
    _slow(project, web, phase)
    process = project.start("deploy")
    project.kill_when(process, _happened(web, PHASES[phase]), number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert project.serving(web)["version"] == "one"
    assert not web.exists("/srv/tiny/.deploy/lock.json")
    assert_recovers(project)


POWER_CUTS = {
    **PHASES,
    "migrate": "test -f /srv/tiny/shared/data/begun",
    "clean up": "test -d /srv/tiny/releases/.partial-*.gone",
}


@pytest.mark.parametrize("phase", POWER_CUTS)
def test_power_cut_in_the_middle(project: Project, web: Machine, phase: str) -> None:
    """After the next start the unit brings the application back by itself."""
    web.run("systemctl enable tiny.service")
    _slow(project, web, phase)
    if phase == "migrate":
        project.configure(migrate={"command": "touch data/begun; sleep 5"})
    if phase == "clean up":
        project.configure(keep_releases=1)
        first = f"{project.base}/releases/{project.current(web)}"
        web.run(f"mkdir {first}/many && cd {first}/many && seq 100000 | xargs touch", user="guestbook")
        project.fab("deploy")
        project.version("three")
    process = project.start("deploy")
    _await(process, _happened(web, POWER_CUTS[phase]))
    web.poweroff_hard()
    process.kill()
    process.wait()
    web.boot_again()
    _assert_whole(project, web)
    assert _answering(project, web)["version"] in ("one", "two", "three")
    project.configure(migrate={"command": "python migrate.py"})
    web.run("rm -rf /etc/systemd/system/tiny.service.d; systemctl daemon-reload")
    assert_recovers(project, "mended", "--lock-wait", "30")


def _await(process: subprocess.Popen[str], happened: Callable[[], bool]) -> None:
    while not happened():
        assert process.poll() is None, process.communicate()[0]


def _answering(project: Project, web: Machine) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while not (answer := project.serving(web)):
        assert time.monotonic() < deadline, web.run("systemctl status tiny.service", check=False).stdout
        time.sleep(0.1)
    return answer


def test_a_wheel_that_is_damaged_on_the_way_is_refused(project: Project, web: Machine, tmp_path: Path) -> None:
    _slow(project, web, "update-deps")
    project.environment()
    cache = tmp_path / "cache"
    environment = {**project.environment(), "XDG_CACHE_HOME": str(cache)}
    subprocess.run([FAB, "create-bundle"], cwd=project.directory, env=environment, check=True, capture_output=True)
    wheel = next(cache.rglob("*.whl"))
    content = bytearray(wheel.read_bytes())
    content[len(content) // 2] ^= 1
    wheel.chmod(0o644)
    wheel.write_bytes(bytes(content))
    result = subprocess.run([FAB, "deploy"], cwd=project.directory, env=environment, capture_output=True, text=True)
    assert result.returncode in (3, 9), result
    assert wheel.name in result.stderr
    assert project.serving(web)["version"] == "one"
    assert_recovers(project)


def test_a_wheel_that_is_damaged_on_the_host_is_found_before_it_is_used(project: Project, web: Machine) -> None:
    web.run("f=$(find /srv/tiny/wheels -name '_speedups*.so'); printf x | dd of=$f bs=1 seek=100 conv=notrunc")
    project.version("two")
    project.more_dependencies()
    said = project.fab("deploy", expect=9).output
    assert "arkup" in said
    assert project.serving(web)["version"] == "one"
    project.assert_tidy(web)
    assert_recovers(project)


def test_a_host_without_python_is_told_at_probe(project: Project, web: Machine) -> None:
    project.configure(python="python4")
    project.version("two")
    said = project.fab("deploy", expect=5).output
    assert "there is no python4 on the host" in said
    project.configure(python="python3")
    assert_recovers(project)


def test_a_host_with_a_full_disk_stops_the_deploy(tmp_path: Path, fleet: Fleet, boot: Any) -> None:
    web = boot("bookworm", "web1")
    web.run("mkdir -p /srv/tiny")
    web.mount_small_disk("/srv/tiny", 60 << 20)
    project = Project(tmp_path / "tiny", fleet, [web], min_free_mb=10)
    project.fab("deploy")
    web.fill_disk("/srv/tiny", 20 << 20)
    _slow(project, web, "push")
    said = project.fab("deploy", expect=9).output
    assert "No space left" in said or "no space left" in said
    assert project.serving(web)["version"] == "one"
    assert project.states(web) == ["good"]
    web.fill_disk("/srv/tiny", 5 << 20)
    assert "MiB are free" in project.fab("deploy", expect=5).output
    web.free_disk("/srv/tiny")
    (project.directory / "big").unlink()
    assert_recovers(project)


def test_a_host_that_is_down_stops_the_deploy_of_all(tmp_path: Path, fleet: Fleet, boot: Any) -> None:
    machines = boot.all(("bookworm", "web1"), ("bookworm", "web2"))
    project = Project(tmp_path / "tiny", fleet, machines, connect_timeout=3)
    project.fab("deploy")
    machines[1].poweroff_hard()
    project.version("two")
    said = project.fab("deploy", expect=4).output
    assert machines[1].address in said
    assert project.serving(machines[0])["version"] == "one"
    assert project.states(machines[0]) == ["good"]
    machines[1].boot_again()
    machines[1].run("systemctl start tiny.service")
    assert_recovers(project)


def test_of_two_deploys_at_once_one_runs(project: Project, web: Machine) -> None:
    _slow(project, web, "activate")
    first = project.start("deploy")
    test = _happened(web, "test -f /srv/tiny/.deploy/lock.json")
    while not test():
        assert first.poll() is None, first.communicate()[0]
    said = project.fab("deploy", expect=8).output
    assert "the deploy lock is held by" in said
    waited = project.fab("deploy", "--lock-wait", "60").output
    assert "waiting up to 60 s" in waited
    assert "nothing to change" in waited
    output, _ = first.communicate()
    assert first.returncode == 0, output


def test_what_the_application_left_under_another_owner_is_in_nobodys_way(project: Project, web: Machine) -> None:
    project.configure(keep_releases=1)
    first = f"{project.base}/releases/{project.current(web)}"
    for path in (first, f"{project.base}/shared/data"):
        web.run(f"install -d -o nobody {path}/cache && install -o nobody -m 600 /dev/null {path}/cache/item")
        web.run(f"install -o nobody -m 600 /dev/null {path}/file; install -d -o nobody {path}/empty")
    said = project.fab("check").output
    told = f"{first}/cache belongs to nobody and cannot be removed with its release: sudo rm -r {first}/cache"
    assert told in said
    assert said.count("belongs to nobody") == 1, "what goes with its release is not told, nor what stays in shared"

    # The same in a release that never serves.
    project.version("sick")
    left = "cd $DEPLOY_RELEASE_PATH && install -d -o nobody theirs && install -o nobody /dev/null theirs/item"
    project.configure(hooks={"after_push": [{"command": left, "sudo": True}]}, migrate={"command": "false"})
    project.fab("deploy", expect=10)
    project.configure(hooks={}, migrate={"command": "true"})
    for version in ("two", "three"):
        project.version(version)
        project.fab("deploy")
        assert project.serving(web)["version"] == version
    names = "-name cache -o -name theirs -o -name file -o -name empty"
    remains = web.run(f"find {project.base}/releases {names}").stdout.split()
    assert sorted(path.rpartition("/")[2] for path in remains) == ["cache", "theirs"]
    assert f"permission denied: {project.base}/releases/.partial-" in project.fab("cleanup").output
    said = project.fab("check").output
    assert all(f"sudo rm -r {path}" in said for path in remains)

    web.run(f"rm -r {' '.join(remains)}")
    assert "warning" not in project.fab("cleanup").output
    assert len(web.run(f"ls -A {project.base}/releases").stdout.split()) == 1 + 1, "the live one and the former"
    assert web.exists(f"{project.base}/shared/data/cache/item")
