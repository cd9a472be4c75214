"""Hooks on real hosts: where they run and as whom, what is told, and what a failure brings back."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import SECRET, Project

pytestmark = pytest.mark.fleet

LOG = "/var/tmp/hooks"

FUNCTIONS = """\
from deploy import hook, ns

@hook("after_deps")
def look(connection, release):
    connection.run(f"echo $(id -un) sees $(ls -d {release.venv}) for {release.stage} after {release.former}")
    connection.sudo(f"touch {release.path}/../../shared/data/by-root-of-{release.app}")

@hook("after_activate", on="primary")
def once(connection, release):
    connection.run(f"echo called on {connection.host} >> /var/tmp/hooks")
"""


@pytest.fixture
def make(tmp_path: Path, fleet: Fleet) -> Callable[..., Project]:
    return lambda machines, **section: Project(tmp_path / "tiny", fleet, machines, **section)


@pytest.fixture
def two(boot: Any) -> list[Machine]:
    machines: list[Machine] = boot.all(("bookworm", "web1"), ("bullseye", "web2"))
    for machine in machines:
        machine.run(f"install -m 0666 /dev/null {LOG}")
    return machines


def logged(machine: Machine) -> list[str]:
    lines = machine.read(LOG).splitlines()
    machine.run(f": > {LOG}")
    return lines


def logins(machine: Machine) -> int:
    return int(machine.run("journalctl -b -o cat | grep -c '^Accepted '", check=False).stdout.strip() or 0)


def test_hooks_run_where_they_are_to_as_whom_they_are_to_and_not_in_a_dry_run(
    make: Callable[..., Project], two: list[Machine]
) -> None:
    tell = f'echo "$DEPLOY_HOOK $(id -un) $(pwd) $(command -v python) $DEPLOY_HOST $DEPLOY_STAGE $SECRET." >> {LOG}'
    project = make(
        two,
        hooks={
            "before_push": [tell],
            "after_deps": [{"command": tell, "where": "primary"}, {"command": tell, "sudo": True}],
            "after_deploy": [{"command": f"echo $DEPLOY_HOSTS > {LOG}.here", "where": "local"}, 'echo "it\'s done"'],
        },
    )
    project.fab("setup")
    said = project.fab("--dry", "deploy").output
    assert "would run at before_push as guestbook: python3 -I -S /srv/tiny/.deploy/" in said
    assert "would run at after_deps as root: sh -c 'cd " in said
    assert [logged(machine) for machine in two] == [[], []]

    output = project.fab("deploy").output
    for machine in two:
        release = f"{project.base}/releases/{project.current(machine)}"
        here = f"{machine.address} production"
        primary = f"after_deps guestbook {release} {release}/.venv/bin/python {here} {SECRET}."
        assert logged(machine) == [
            f"before_push guestbook {project.base}  {here} {SECRET}.",
            *([primary] if machine is two[0] else []),
            f"after_deps root {release}  {here} .",
        ]
        assert f"{machine.address}: it's done\n" in output
    assert Path(f"{LOG}.here").read_text() == f"{two[0].address},{two[1].address}\n"
    Path(f"{LOG}.here").unlink()
    project.version("two")
    said = project.fab("deploy", "--limit", two[1].address).output
    assert f"after_deps is not run: the primary host {two[0].address} takes no part in this run" in said
    assert logged(two[0]) == []


def test_a_hook_that_fails_after_the_switch_on_one_host_brings_all_back(
    make: Callable[..., Project], two: list[Machine]
) -> None:
    project = make(two)
    project.fab("deploy")
    before = [project.current(machine) for machine in two]
    project.version("two")
    failing = f'echo because of $(hostname); test "$DEPLOY_HOST" != {two[1].address}'
    told = f'echo "$DEPLOY_EXIT_CODE $DEPLOY_RELEASE $DEPLOY_ERROR" >> {LOG}'
    project.configure(
        hooks={"after_activate": [failing], "before_restart": [f"echo no >> {LOG}"], "on_failure": [told]}
    )
    said = project.fab("deploy", expect=6).output
    assert f"error: {two[1].address}: the hook after_activate failed (exit 1)" in said
    assert "the former release serves again" in said
    assert "| because of web2" in said
    for machine, release in zip(two, before, strict=True):
        assert project.current(machine) == release
        assert project.serving(machine)["version"] == "one"
        assert project.states(machine) == ["good", "bad"]
        line = logged(machine)
        assert len(line) == 1
        assert line[0].startswith("6 ") and "after_activate failed" in line[0]
    project.configure(hooks={})
    project.version("three")
    project.fab("deploy")
    assert [project.serving(machine)["version"] for machine in two] == ["three", "three"]


def test_a_hook_that_fails_before_the_switch_leaves_all_untouched(
    make: Callable[..., Project], two: list[Machine]
) -> None:
    project = make(two)
    project.fab("deploy")
    project.version("two")
    for point in ("before_push", "after_push", "after_deps", "before_migrate", "after_migrate", "before_activate"):
        project.configure(hooks={point: [{"command": "exit 3", "where": "primary"}]})
        assert f"the hook {point} failed (exit 3)" in project.fab("deploy", expect=9).output
        for machine in two:
            assert project.serving(machine)["version"] == "one"
            complete = point not in ("before_push", "after_push")
            assert project.states(machine) == ["good", *(["staged"] if complete else [])]
            project.assert_tidy(machine)


def test_a_hook_that_takes_too_long_is_ended_on_the_host(make: Callable[..., Project], two: list[Machine]) -> None:
    project = make(two[:1])
    web = two[0]
    slow = "trap '' TERM; sleep 4321 & sleep 4321"
    for hook in ({"command": slow}, {"command": slow, "sudo": True}):
        project.configure(hooks={"after_deps": [{**hook, "timeout": 2}]})
        start = time.monotonic()
        said = project.fab("deploy", expect=9).output
        assert "the hook after_deps took longer than 2 s" in said
        assert time.monotonic() - start < 40
        assert not web.run("pgrep -af '[s]leep 4321'", check=False).stdout
        project.assert_tidy(web)
    project.configure(hooks={})
    for user in ("deploy", "guestbook"):
        text = "from deploy import hook, ns\n\n@hook('after_deps', timeout=2)\ndef slow(connection, release):\n"
        call = "run(" if user == "deploy" else f"sudo(user={user!r}, command="
        (project.directory / "fabfile.py").write_text(f"{text}    connection.{call}'sh -c \"{slow}\"')\n")
        start = time.monotonic()
        assert "the hook after_deps took longer than 2 s: slow" in project.fab("deploy", expect=9).output
        assert time.monotonic() - start < 40
        # What belongs to somebody else the login user cannot end; it is let go of.
        assert bool(web.run("pkill -KILL -f '[s]leep 4321'", check=False).returncode) == (user == "deploy")
    (project.directory / "fabfile.py").write_text("from deploy import ns\n")
    project.configure(migrate={"command": slow, "timeout": 2})
    assert "the migration took longer than 2 s" in project.fab("deploy", expect=10).output
    assert not web.run("pgrep -af '[s]leep 4321'", check=False).stdout


def test_functions_get_the_connection_that_is_there(make: Callable[..., Project], two: list[Machine]) -> None:
    project = make(two)
    project.fab("setup")
    (project.directory / "fabfile.py").write_text(FUNCTIONS)
    project.fab("--dry", "deploy")
    assert [logged(machine) for machine in two] == [[], []]
    before = [logins(machine) for machine in two]
    output = project.fab("deploy").output
    for machine, count in zip(two, before, strict=True):
        assert logins(machine) == count + 1
        venv = f"{project.base}/releases/{project.current(machine)}/.venv"
        assert f"{machine.address}: deploy sees {venv} for production after\n" in output
        assert machine.run(f"stat -c %U {project.base}/shared/data/by-root-of-tiny").stdout == "root\n"
    assert logged(two[0]) == [f"called on {two[0].address}"]
    assert logged(two[1]) == []


def test_hooks_with_a_password_for_sudo(make: Callable[..., Project], two: list[Machine]) -> None:
    web = two[0]
    web.sudoers("deploy ALL=(ALL) ALL\n")
    web.set_password("deploy", "hunter2 'quoted'")
    reading = f'cat; echo "$(id -un) $DEPLOY_HOOK" >> {LOG}; echo said; echo also >&2'
    project = make([web], hooks={"after_deps": [reading, {"command": reading, "sudo": True, "timeout": 20}]})
    (project.directory / "secrets.yaml").write_text("sudo: {password: \"hunter2 'quoted'\"}\n")
    output = project.fab("-f", "secrets.yaml", "deploy").output
    assert "hunter2" not in output and "[sudo]" not in output
    assert output.count(f"{web.address}: said\n") == output.count(f"{web.address}: also\n") == 2
    assert logged(web) == ["guestbook after_deps", "root after_deps"]
