"""Every service manager deploys for real: a change is seen serving, and what runs is proven or said to be unknown."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import Project

pytestmark = pytest.mark.fleet

UNKNOWN = "which release runs cannot be known"

PROGRAM = """\
[program:tiny]
command=/srv/tiny/current/.venv/bin/python -B serve.py
directory=/srv/tiny/current
user=guestbook
environment=SECRET="from supervisor"
"""

# Its number in a file; on HUP it begins again, from `current`.
SERVER = """\
import os, runpy, signal
def begin(*_):
    os.chdir("/srv/tiny/current")
    python = os.path.abspath(".venv/bin/python")
    os.execv(python, [python, "-B", "/usr/local/lib/tinyd.py"])
signal.signal(signal.SIGHUP, begin)
with open("/srv/tiny/shared/tiny.pid", "w") as file:
    file.write(str(os.getpid()))
while not os.path.exists("serve.py"):
    signal.pause()
runpy.run_path("serve.py", run_name="__main__")
"""
HUP = "signal.signal(signal.SIGHUP, begin)"
LATE = "signal.signal(signal.SIGALRM, begin); signal.signal(signal.SIGHUP, lambda *_: signal.alarm(1))"

# Restarts the application whenever the time of a file changes.
WATCHER = """\
#!/bin/sh
child= seen=
while sleep 0.2; do
    now=$(stat -c %y /srv/tiny/shared/reload 2>/dev/null)
    [ "$now" = "$seen" ] && continue
    seen=$now
    [ -z "$child" ] || { kill "$child"; wait "$child"; }
    cd /srv/tiny/current
    .venv/bin/python -B serve.py &
    child=$!
    echo "$child" > /srv/tiny/shared/tiny.pid
done
"""


@pytest.fixture
def web(boot: Any) -> Machine:
    machine: Machine = boot("bookworm", "web1")
    return machine


@pytest.fixture
def make(tmp_path: Path, fleet: Fleet, web: Machine) -> Callable[..., Project]:
    return lambda **service: Project(tmp_path / "tiny", fleet, [web], service=service)


def deploy(project: Project, version: str) -> str:
    """Deploy *version* and see it serve; what fab said."""
    project.version(version)
    said = project.fab("deploy").output
    serving = project.serving(project.machines[0])
    assert serving["version"] == version
    assert serving["release"] == project.current(project.machines[0])
    return said


def assert_proven(said: str) -> None:
    assert "is what runs (main process" in said
    assert UNKNOWN not in said


def assert_goes_back(project: Project, version: str, expected: str) -> None:
    """*version* fails, and what served before serves again."""
    web = project.machines[0]
    before, states = project.serving(web), project.states(web)
    project.version(version)
    said = project.fab("deploy", expect=6).output
    assert expected in said
    assert project.serving(web) == before
    assert project.states(web) == [*states, "bad"]


def supervise(web: Machine, more: str = "") -> None:
    web.write("/etc/supervisor/conf.d/tiny.conf", PROGRAM + more)
    web.run("systemctl start supervisor; until supervisorctl update; do sleep 0.1; done")


def test_supervisor(make: Callable[..., Project], web: Machine) -> None:
    supervise(web)
    project = make(manager="supervisor", program="tiny")
    assert_proven(deploy(project, "one"))
    assert_proven(deploy(project, "two"))
    assert_goes_back(project, "sick", "HTTP 503")
    assert_goes_back(project, "crash", "this version crashes at start")
    assert_proven(deploy(project, "three"))
    project.assert_tidy(web)


def test_a_program_of_supervisor_that_ends_at_once_is_down(make: Callable[..., Project], web: Machine) -> None:
    """With startsecs=0 supervisor calls the restart a success, and nobody asks for health."""
    supervise(web, "startsecs=0\nautorestart=false\n")
    project = make(manager="supervisor", program="tiny")
    project.configure(health=None)
    deploy(project, "one")
    assert_goes_back(project, "crash", "the new release is not what runs")


def test_a_group_of_supervisor_cannot_be_known(make: Callable[..., Project], web: Machine) -> None:
    supervise(web, "[group:site]\nprograms=tiny\n")
    project = make(manager="supervisor", program="site:*")
    assert UNKNOWN in deploy(project, "one")
    assert UNKNOWN in deploy(project, "two")


def test_supervisor_where_sudo_allows_the_restart_alone(make: Callable[..., Project], web: Machine) -> None:
    supervise(web)
    web.sudoers(
        "deploy ALL=(guestbook) NOPASSWD: ALL\n"
        "deploy ALL=(root) NOPASSWD: /usr/bin/supervisorctl restart tiny, /usr/bin/install\n"
    )
    project = make(manager="supervisor", program="tiny")
    project.fab("check")
    said = deploy(project, "one")
    assert UNKNOWN in said
    assert "nothing tells its main process" in said


def test_signal(make: Callable[..., Project], web: Machine) -> None:
    project = make(manager="signal", pidfile="shared/tiny.pid")
    web.write("/usr/local/lib/tinyd.py", SERVER)
    web.run("systemd-run --uid=guestbook --setenv=SECRET=x --working-directory=/ python3 /usr/local/lib/tinyd.py")
    assert_proven(deploy(project, "one"))
    assert_proven(deploy(project, "two"))
    assert_goes_back(project, "sick", "HTTP 503")
    assert_proven(deploy(project, "three"))
    project.assert_tidy(web)


def test_a_signal_that_does_nothing_is_found_out(make: Callable[..., Project], web: Machine) -> None:
    project = make(manager="signal", pidfile="shared/tiny.pid", signal="USR1")
    web.write("/usr/local/lib/tinyd.py", SERVER.replace("SIGHUP", "SIGUSR1"))
    web.run("systemd-run --uid=guestbook --setenv=SECRET=x --working-directory=/ python3 /usr/local/lib/tinyd.py")
    deploy(project, "one")
    web.write("/usr/local/lib/tinyd.py", SERVER.replace("SIGHUP, begin", "SIGUSR1, signal.SIG_IGN"))
    deploy(project, "two")
    assert_goes_back(project, "three", "the new release is not what runs: process")


def test_a_pidfile_that_only_root_may_read(make: Callable[..., Project], web: Machine) -> None:
    project = make(manager="signal", pidfile="/run/tiny/tiny.pid", sudo=True)
    web.run("install -d -m 0700 /run/tiny")
    web.write("/usr/local/lib/tinyd.py", SERVER.replace("/srv/tiny/shared", "/run/tiny"))
    web.run("systemd-run --setenv=SECRET=x --working-directory=/ python3 /usr/local/lib/tinyd.py")
    assert_proven(deploy(project, "one"))
    assert_proven(deploy(project, "two"))


def test_touch(make: Callable[..., Project], web: Machine) -> None:
    project = make(manager="touch", file="shared/reload", pidfile="shared/tiny.pid")
    web.write("/usr/local/bin/watch-tiny", WATCHER, 0o755)
    web.run("systemd-run --uid=guestbook --setenv=SECRET=x /usr/local/bin/watch-tiny")
    assert_proven(deploy(project, "one"))
    assert_proven(deploy(project, "two"))
    assert_goes_back(project, "sick", "HTTP 503")
    web.run("systemctl stop 'run-*.service'")
    project.version("three")
    assert "the former release could not be brought back" in project.fab("deploy", expect=7).output


def test_touch_without_a_pidfile_cannot_be_known(make: Callable[..., Project], web: Machine) -> None:
    project = make(manager="touch", file="shared/reload")
    web.write("/usr/local/bin/watch-tiny", WATCHER, 0o755)
    web.run("systemd-run --uid=guestbook --setenv=SECRET=x /usr/local/bin/watch-tiny")
    said = project.fab("deploy").output
    assert UNKNOWN in said
    assert "deploy.service.pidfile would" in said


def keep_number(web: Machine) -> None:
    web.write(
        "/etc/systemd/system/tiny.service.d/number.conf",
        "[Service]\nExecStartPost=+/bin/sh -c 'echo $MAINPID > /run/tiny.pid'\n",
    )
    web.run("systemctl daemon-reload")


def test_a_command_as_root(make: Callable[..., Project], web: Machine) -> None:
    line = "grep -q . version.txt && systemctl stop 'tiny.service'; systemctl start tiny.service"
    project = make(manager="command", command=line, sudo=True, pidfile="/run/tiny.pid")
    keep_number(web)
    assert_proven(deploy(project, "one"))
    assert_proven(deploy(project, "two"))
    assert_goes_back(project, "sick", "HTTP 503")
    project.configure(service={"manager": "command", "command": line, "sudo": True})
    assert UNKNOWN in deploy(project, "three")


def test_a_command_of_the_deploy_user_runs_in_the_release(make: Callable[..., Project], web: Machine) -> None:
    line = "python -c 'import markupsafe' && test -n \"$SECRET\" && kill -HUP $(cat $DEPLOY_BASE/shared/tiny.pid)"
    project = make(manager="command", command=line, pidfile="shared/tiny.pid")
    web.write("/usr/local/lib/tinyd.py", SERVER)
    web.run("systemd-run --uid=guestbook --setenv=SECRET=x --working-directory=/ python3 /usr/local/lib/tinyd.py")
    assert_proven(deploy(project, "one"))
    assert_proven(deploy(project, "two"))
    web.run("systemctl stop 'run-*.service'")
    project.version("three")
    assert "the restart failed" in project.fab("deploy", expect=7).output


def test_an_interrupted_restart_ends_before_the_one_that_goes_back(make: Callable[..., Project], web: Machine) -> None:
    """What was started on the host cannot be called back; two restarts at once would race."""
    log = "$DEPLOY_BASE/shared/restarts"
    restart = "sudo -n systemctl restart tiny.service"
    project = make(manager="command", command=f"echo begin >> {log}; sleep 2; {restart}; echo end >> {log}")
    web.sudoers("deploy ALL=(ALL) NOPASSWD: ALL\nguestbook ALL=(root) NOPASSWD: /usr/bin/systemctl\n")
    project.fab("deploy")
    web.run("rm /srv/tiny/shared/restarts")
    project.version("two")
    process = project.start("deploy")
    project.kill_when(process, lambda: web.exists("/srv/tiny/shared/restarts"), signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert web.read("/srv/tiny/shared/restarts").split() == ["begin", "end", "begin", "end"]
    assert project.serving(web)["version"] == "one"


def test_a_sick_release_of_a_third_user_is_not_covered_by_the_old_process(
    make: Callable[..., Project], web: Machine
) -> None:
    """It begins again only a second after the signal; until then the old process answers that it is well."""
    project = make(manager="signal", pidfile="/run/tiny/tiny.pid", sudo=True)
    web.add_user("runner")
    web.run("install -d -o runner /run/tiny")
    web.write("/usr/local/lib/tinyd.py", SERVER.replace("/srv/tiny/shared", "/run/tiny").replace(HUP, LATE))
    web.run("systemd-run --uid=runner --setenv=SECRET=x --working-directory=/ python3 /usr/local/lib/tinyd.py")
    assert_proven(deploy(project, "one"))
    assert_goes_back(project, "sick", "HTTP 503")


def as_a_third_user(web: Machine) -> None:
    web.add_user("runner")
    web.write("/etc/systemd/system/tiny.service.d/user.conf", "[Service]\nUser=runner\n")
    web.run("systemctl daemon-reload")


def test_a_service_of_a_third_user_is_proven_by_sudo(make: Callable[..., Project], web: Machine) -> None:
    project = make(manager="systemd", unit="tiny.service")
    as_a_third_user(web)
    assert_proven(deploy(project, "one"))
    assert_proven(deploy(project, "two"))
    web.write("/etc/systemd/system/tiny.service.d/reload.conf", "[Service]\nExecReload=/bin/true\n")
    web.run("systemctl daemon-reload")
    project.configure(service={"manager": "systemd", "unit": "tiny.service", "action": "reload"})
    assert_goes_back(project, "three", "the new release is not what runs")
    project.assert_tidy(web)


def test_processes_that_proc_hides_are_proven_by_sudo(make: Callable[..., Project], web: Machine) -> None:
    project = make(manager="systemd", unit="tiny.service")
    as_a_third_user(web)
    web.run("mount -o remount,hidepid=2 /proc")
    assert web.run("ls -d /proc/1", user="guestbook", check=False).returncode
    assert_proven(deploy(project, "one"))
    web.sudoers("deploy ALL=(guestbook) NOPASSWD: ALL\ndeploy ALL=(root) NOPASSWD: /usr/bin/systemctl\n")
    assert UNKNOWN in deploy(project, "two")
    assert_goes_back(project, "crash", "this version crashes at start")


def test_a_service_of_a_third_user_cannot_be_known_without_sudo(make: Callable[..., Project], web: Machine) -> None:
    project = make(manager="systemd", unit="tiny.service")
    as_a_third_user(web)
    web.sudoers(
        "deploy ALL=(guestbook) NOPASSWD: ALL\ndeploy ALL=(root) NOPASSWD: /usr/bin/systemctl restart tiny.service\n"
    )
    project.fab("check")
    said = deploy(project, "one")
    assert UNKNOWN in said
    assert "belong to another user, and sudo does not let us look" in said
    assert_goes_back(project, "sick", "HTTP 503")


def test_a_unit_without_a_main_process_cannot_be_known(make: Callable[..., Project], web: Machine) -> None:
    """A oneshot unit that starts the application elsewhere, a target: active, and nothing of its own to look at."""
    project = make(manager="systemd", unit="all.service")
    web.write(
        "/etc/systemd/system/all.service",
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=systemctl restart tiny.service\n",
    )
    web.run("systemctl daemon-reload")
    assert "is active, but has no main process" in deploy(project, "one")
    assert UNKNOWN in deploy(project, "two")


def test_a_unit_of_the_deploy_users_own_manager(make: Callable[..., Project], web: Machine) -> None:
    project = make(manager="systemd", unit="tiny.service", user=True, unit_file="tiny.service")
    web.run("rm /etc/systemd/system/tiny.service; systemctl daemon-reload")
    web.sudoers("deploy ALL=(guestbook) NOPASSWD: ALL\n")
    # This small Debian lacks libpam-systemd, which would set it.
    runtime = "[Service]\nEnvironment=XDG_RUNTIME_DIR=/run/user/%i\n"
    web.write("/etc/systemd/system/user@.service.d/runtime.conf", runtime)
    unit = project.directory / "tiny.service"
    unit.write_text(unit.read_text().replace("User=guestbook\n", ""))
    web.run("systemctl daemon-reload; loginctl enable-linger guestbook; systemctl start user@$(id -u guestbook)")
    project.fab("check")
    assert_proven(deploy(project, "one"))
    assert web.read("/home/guestbook/.config/systemd/user/tiny.service") == unit.read_text()
    assert_proven(deploy(project, "two"))
    assert_goes_back(project, "crash", "this version crashes at start")
