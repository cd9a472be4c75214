"""Hooks of one host on loopback: order, what they are told, what a failure means, functions of the fabfile."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from deploy.hooks import POINTS
from tests.fab import FAB
from tests.local.conftest import LocalProject

pytestmark = pytest.mark.parametrize("host", ["openssh"], indirect=True)

DEPLOY_POINTS = [point for point in POINTS if "rollback" not in point and point != "on_failure"]


def configure(project: LocalProject, hooks: dict[str, Any], more: str = "") -> None:
    project.configure(extra=f"  hooks: {json.dumps(hooks)}\n{more}")


def everywhere(log: Path) -> dict[str, Any]:
    """A command at each point that writes its name down."""
    return {point: [f"echo {point} >> {log}"] for point in POINTS}


def test_each_point_is_reached_once_and_in_order(project: LocalProject, tmp_path: Path) -> None:
    log = tmp_path / "log"
    configure(project, everywhere(log), "  build: ['true']\n")
    said = project.fab("--dry", "deploy")
    assert all(re.search(f"would run (here )?at {point}", said) for point in DEPLOY_POINTS)
    assert not log.exists()
    project.fab("deploy")
    assert log.read_text().split() == DEPLOY_POINTS
    log.unlink()
    project.fab("deploy")
    assert log.read_text().split() == ["before_build", "after_build"]

    log.unlink()
    (project.directory / "version.txt").write_text("two\n")
    project.fab("push", "update-deps", "migrate-db", "activate", "reboot-server")
    assert log.read_text().split() == DEPLOY_POINTS
    log.unlink()
    assert "would run at before_rollback" in project.fab("--dry", "rollback")
    project.fab("rollback")
    assert log.read_text().split() == ["before_rollback", "after_rollback"]
    assert project.version == "one"


def test_what_a_hook_is_told_and_where_it_runs(project: LocalProject, tmp_path: Path) -> None:
    project.fab("deploy")
    former = (project.base / "current").resolve().name
    tell = 'pwd; which python; echo "secret $SECRET"; env | grep ^DEPLOY_ | sort'
    show = f"({tell}) > {tmp_path}/$DEPLOY_HOOK"
    configure(
        project, {"before_push": [show], "after_deps": [show], "after_deploy": [{"command": show, "where": "local"}]}
    )
    (project.directory / "version.txt").write_text("two\n")
    project.fab("deploy")
    release = (project.base / "current").resolve()
    revision = json.loads((release / ".release.json").read_text())["revision"]
    name = project.host.address.rpartition("@")[2]
    assert (tmp_path / "after_deps").read_text().splitlines() == [
        str(release), f"{release}/.venv/bin/python", "secret x",
        "DEPLOY_APP=tiny", f"DEPLOY_BASE={project.base}", f"DEPLOY_FORMER_RELEASE={former}",
        "DEPLOY_HOOK=after_deps", f"DEPLOY_HOST={name}", f"DEPLOY_RELEASE={release.name}",
        f"DEPLOY_RELEASE_PATH={release}", f"DEPLOY_REVISION={revision}", "DEPLOY_STAGE=local",
    ]  # fmt: skip
    before = (tmp_path / "before_push").read_text().splitlines()
    assert before[0] == str(project.base) and "secret x" in before
    assert "DEPLOY_RELEASE_PATH=" in before and f"DEPLOY_RELEASE={release.name}" in before
    here = (tmp_path / "after_deploy").read_text().splitlines()
    assert here[0] == str(project.directory)
    assert "DEPLOY_HOST=" in here and f"DEPLOY_HOSTS={name}" in here and f"DEPLOY_RELEASE={release.name}" in here


def test_words_with_quotes_arrive_as_they_are(project: LocalProject) -> None:
    line = """printf '%s\\n' "it's $((1+1))" 'a "b" $c `d`'"""
    configure(project, {"after_deps": [line]})
    said = project.fab("deploy")
    name = project.host.address.rpartition("@")[2]
    assert f"{name}: it's 2\n" in said
    assert f'{name}: a "b" $c `d`\n' in said


def test_output_comes_as_it_is_said(project: LocalProject) -> None:
    configure(project, {"after_deps": ["echo early; sleep 2; echo >&2 late; printf '\\033[31mred'"]})
    lines = [line for line in project.fab("deploy").splitlines() if re.search(r": (early|late|red)$", line)]
    seconds = [time.mktime(time.strptime(line[:19], "%Y-%m-%dT%H:%M:%S")) for line in lines]
    assert len(lines) == 3
    assert seconds[1] - seconds[0] >= 1


@pytest.mark.parametrize("point", DEPLOY_POINTS[: DEPLOY_POINTS.index("after_activate")])
def test_a_hook_that_fails_before_the_switch_stops_the_deploy(
    project: LocalProject, tmp_path: Path, point: str
) -> None:
    project.fab("deploy")
    (project.directory / "version.txt").write_text("two\n")
    note = f'echo "$DEPLOY_EXIT_CODE $DEPLOY_ERROR" > {tmp_path}/note'
    failing = {
        "on_failure": ["exit 9", {"command": note, "where": "local"}],
        point: ["echo because; exit 5", "touch /nosuch/x"],
    }
    configure(project, failing, "  build: ['true']\n")
    code = 3 if "build" in point else 9
    said = project.fab("deploy", expect=code)
    assert f"the hook {point} failed (exit 5): echo because; exit 5" in said
    assert "| because" in said
    assert project.version == "one"
    complete = point in DEPLOY_POINTS[DEPLOY_POINTS.index("after_deps") :]
    assert len(list((project.base / "releases").iterdir())) == (2 if complete else 1)
    assert (project.base / "staged").is_symlink() == complete
    assert (tmp_path / "note").read_text().startswith(f"{code} ")
    assert f"the hook {point} failed" in (tmp_path / "note").read_text()
    if code == 9:
        assert "warning: the hooks of the failure failed, too" in said
    configure(project, {})
    project.fab("deploy")
    assert project.version == "two"


@pytest.mark.parametrize("point", ["after_activate", "before_restart", "after_restart"])
@pytest.mark.parametrize("where", ["hosts", "local"])
def test_a_hook_that_fails_after_the_switch_brings_the_former_release_back(
    project: LocalProject, point: str, where: str
) -> None:
    project.fab("deploy")
    (project.directory / "version.txt").write_text("two\n")
    configure(project, {point: [{"command": "echo because; exit 5", "where": where}]})
    said = project.fab("deploy", expect=6)
    assert f"the hook {point} failed (exit 5): echo because; exit 5; the former release serves again" in said
    assert project.version == "one"
    tasks = ["push", "update-deps", "migrate-db", "activate", "reboot-server"]
    (project.directory / "version.txt").write_text("three\n")
    project.fab(*tasks, expect=6)
    assert project.version == "one"


def test_a_hook_that_fails_after_the_deploy_leaves_it_as_it_is(project: LocalProject, tmp_path: Path) -> None:
    configure(
        project, {"after_deploy": ["exit 5"], "on_failure": [{"command": f"touch {tmp_path}/told", "where": "local"}]}
    )
    said = project.fab("deploy", expect=11)
    assert "the hook after_deploy failed (exit 5)" in said
    assert project.version == "one"
    assert "good" in project.fab("status")
    assert not (tmp_path / "told").exists()
    assert "nothing to change" in project.fab("deploy")


def test_a_rollback_is_stopped_by_its_first_hook_and_not_by_its_last(project: LocalProject) -> None:
    project.fab("deploy")
    (project.directory / "version.txt").write_text("two\n")
    project.fab("deploy")
    configure(project, {"before_rollback": ["exit 5"]})
    project.fab("rollback", expect=5)
    assert project.version == "two"
    configure(project, {"after_rollback": ["exit 5"], "after_activate": ["exit 5"], "before_restart": ["exit 5"]})
    project.fab("rollback", expect=11)
    assert project.version == "one"


def test_the_error_of_a_failure_is_shown_whatever_its_hooks_do(project: LocalProject, tmp_path: Path) -> None:
    project.fab("deploy")
    (project.directory / "version.txt").write_text("unmigratable\n")
    told = f'echo "$DEPLOY_EXIT_CODE $DEPLOY_ERROR $(pwd)" > {tmp_path}/told'
    configure(project, {"on_failure": ["exit 1", {"command": "sleep 9", "timeout": 0.5}, told]})
    said = project.fab("deploy", expect=10)
    assert "error: " in said.splitlines()[-4:][0] or "no such column" in said
    assert said.rstrip().rpartition("error: ")[2].count("the migration failed (exit 1)") == 1
    assert re.match(rf"10 .*the migration failed.* {project.base}\n", (tmp_path / "told").read_text())


@pytest.mark.parametrize("where", ["hosts", "local"])
def test_a_hook_that_takes_too_long_is_ended_with_its_children(
    project: LocalProject, tmp_path: Path, where: str
) -> None:
    late = tmp_path / "late"
    hook = {"command": f"(sleep 4; touch {late}) & wait", "timeout": 1, "where": where}
    configure(project, {"after_deps": [hook]})
    assert "the hook after_deps took longer than 1 s" in project.fab("deploy", expect=9)
    time.sleep(4.2)
    assert not late.exists()


def test_a_migration_that_takes_too_long_is_ended_with_its_children(project: LocalProject, tmp_path: Path) -> None:
    line = f"(sleep 4; touch {tmp_path}/late) & wait"
    text = (project.directory / "fabric.yaml").read_text()
    (project.directory / "fabric.yaml").write_text(
        text.replace("migrate: {command: python migrate.py}", f"migrate: {{command: '{line}', timeout: 1}}")
    )
    assert "the migration took longer than 1 s; nothing was activated" in project.fab("deploy", expect=10)
    time.sleep(4.2)
    assert not (tmp_path / "late").exists()


def test_a_restart_that_takes_too_long_goes_back(project: LocalProject) -> None:
    project.fab("deploy")
    (project.directory / "version.txt").write_text("two\n")
    path = project.directory / "fabric.yaml"
    path.write_text(path.read_text().replace("sudo: false}", "sudo: false, timeout: 3}"))
    restart = project.directory / "restart.sh"
    restart.write_text("grep -q two version.txt && sleep 60\n" + restart.read_text())
    assert "the restart took longer than 3 s: sh restart.sh" in project.fab("deploy", expect=6)
    assert project.version == "one"


FUNCTIONS = """\
from deploy import Release, hook, ns

@hook("after_deps")
def look(connection, release):
    assert isinstance(release, Release)
    connection.run(f"test -d {release.venv} && echo sees {release.path} $(id -un)")
    quiet = connection.run("echo quiet", hide=True).stdout
    connection.put(__file__, f"{release.path}/../../shared/data/put")
    open("called", "a").write(f"{release}|{quiet}")

@hook("after_deps", on="local")
def here(context, release):
    context.run("echo in $(pwd)")

@hook("before_build")
@hook("after_activate", on="primary")
def twice(connection, release):
    open("twice", "a").write("x")
"""


def test_functions_of_the_fabfile_ride_on_the_one_login(project: LocalProject) -> None:
    (project.directory / "fabfile.py").write_text(FUNCTIONS)
    said = project.fab("--dry", "deploy")
    assert "would call at after_deps: look (fabfile.py, line 3)" in said
    assert "here: would call at before_build: twice" in said
    assert not (project.directory / "called").exists()
    before = project.host.logins
    said = project.fab("deploy")
    assert project.host.logins == before + 1
    release = (project.base / "current").resolve()
    name = project.host.address.rpartition("@")[2]
    assert re.search(rf"{re.escape(name)}: sees {release} \w+\n", said)
    assert f"here: in {project.directory}\n" in said
    assert f"{name}: quiet" not in said
    called = (project.directory / "called").read_text()
    assert f"identifier='{release.name}'" in called and called.endswith("|quiet\n")
    assert (project.directory / "twice").read_text() == "xx"
    assert (project.base / "shared/data/put").read_text() == FUNCTIONS


LIMITED = """\
from deploy import hook, ns
from invoke.exceptions import CommandTimedOut

@hook("after_deps", on="ON", timeout=2)
def slow(connection, release):
    connection.run("echo first; test -n \\"$0\\"")
    try:
        connection.CALL("echo $PPID; trap '' TERM; sleep MARK & sleep MARK", warn=True)
    except CommandTimedOut:
        connection.run("touch second")
"""


def running(word: str) -> list[Path]:
    """The processes with *word* in their command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if word.encode() in (process / "cmdline").read_bytes():
                found.append(process)
    return found


@pytest.mark.parametrize(("on", "call"), [("hosts", "run"), ("hosts", "local"), ("local", "run")])
def test_what_a_function_runs_is_ended_with_its_children_when_its_time_is_over_and_nothing_else_is_begun(
    project: LocalProject, on: str, call: str
) -> None:
    mark = f"43{secrets.randbelow(10**9):09}"
    text = LIMITED.replace("ON", on).replace("CALL", call).replace("MARK", mark)
    (project.directory / "fabfile.py").write_text(text)
    said = project.fab("deploy", expect=9)
    assert "the hook after_deps took longer than 2 s: slow (fabfile.py, line 4): " in said
    assert "touch second" in said, "what was not begun is named"
    assert ": first\n" in said
    assert not running(mark)
    assert not [*project.directory.rglob("second"), *Path.home().glob("second")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_what_a_local_function_runs(project: LocalProject, number: signal.Signals) -> None:
    mark = f"43{secrets.randbelow(10**9):09}"
    text = "from deploy import hook, ns\n\n@hook('after_build', timeout=60)\ndef slow(context, release):\n"
    (project.directory / "fabfile.py").write_text(f"{text}    context.run('sleep {mark} & sleep {mark}')\n")
    process = subprocess.Popen(
        [FAB, "deploy"], cwd=project.directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    while len(running(mark)) < 2:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    process.send_signal(number)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert not running(mark)


def test_a_project_with_a_hostile_name_has_its_hooks(project: LocalProject) -> None:
    project.directory = project.directory.rename(project.directory.with_name("it's; touch $(touch pwned) 'x"))
    (project.directory / "sub").mkdir()
    text = "from deploy import hook, ns\n\n@hook('after_build')\ndef mine(context, release):\n"
    more = "    context.run('pwd')\n    with context.cd('sub'):\n        context.run('pwd')\n"
    (project.directory / "fabfile.py").write_text(text + more)
    configure(project, {"before_build": ["pwd"]}, "  build: [pwd]\n")
    said = project.fab("build")
    assert said.count(f"here: {project.directory}\n") == 3
    assert said.count(f"here: {project.directory}/sub\n") == 1
    assert not list(project.directory.parent.rglob("pwned"))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("connection.run('echo because; exit 5')", "exit 5 of echo because; exit 5"),
        ("return {}['key']", "KeyError: 'key'"),
        ("raise SystemError('two\\nlines')", "SystemError: two lines"),
    ],
)
def test_a_function_that_raises_is_a_hook_that_failed(project: LocalProject, body: str, said: str) -> None:
    text = f"from deploy import hook, ns\n\n@hook('after_deps')\ndef mine(connection, release):\n    {body}\n"
    (project.directory / "fabfile.py").write_text(text)
    told = project.fab("deploy", expect=9)
    assert f"the hook after_deps failed: mine (fabfile.py, line 3): {said}" in told
    assert "| because" in told or 'fabfile.py", line 5' in told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '@hook("after_activat")\ndef f(c, r): ...',
            "line 2: there is no hook point 'after_activat'; did you mean after_activate?",
        ),
        ("@hook\ndef f(c, r): ...", "line 2: a hook needs its point"),
        ('@hook("after_push")\ndef f(c): ...', "line 2: a hook is called with two arguments"),
        ('@hook("after_push", on="web1")\ndef f(c, r): ...', "on must be hosts, primary or local, not 'web1'"),
        ('@hook("before_build", on="primary")\ndef f(c, r): ...', "before any host is reached"),
        ('@hook("after_push")\nasync def f(c, r): ...', "not an asynchronous one"),
        ('@hook("after_push", timeout="2m")\ndef f(c, r): ...', "a number of seconds above 0, not '2m'"),
        ('@hook("after_push", timeout=0)\ndef f(c, r): ...', "a number of seconds above 0, not 0"),
    ],
)
def test_a_function_that_can_be_no_hook_is_refused_with_one_message(
    project: LocalProject, text: str, said: str
) -> None:
    (project.directory / "fabfile.py").write_text(f"from deploy import hook, ns\n{text}\n")
    told = project.fab("--list", expect=2)
    assert said in told
    assert told.count("error: ") == 1


@pytest.mark.parametrize(
    ("hooks", "said"),
    [
        ({"after_activat": ["a"]}, "deploy.hooks.after_activat: unknown key; did you mean after_activate?"),
        ({"after_push": [{"comand": "a"}]}, "deploy.hooks.after_push[0].comand: unknown key; did you mean command?"),
        ({"after_push": "a"}, "deploy.hooks.after_push: must be a list"),
        ({"before_build": [{"command": "a", "where": "hosts"}]}, "no host is reached yet"),
        ({"after_push": [{"command": "a", "where": "web"}]}, "deploy.hooks.after_push[0].where: "),
        ({"after_push": [{"command": "a", "where": "local", "sudo": True}]}, "sudo is for hosts"),
        ({"after_push": [{"command": "a", "timeout": 0}]}, "deploy.hooks.after_push[0].timeout"),
    ],
)
def test_a_hook_that_is_none_is_named(project: LocalProject, hooks: dict[str, Any], said: str) -> None:
    configure(project, hooks)
    told = project.fab("deploy", expect=2)
    assert said in told
    assert told.count("error: ") == 1


@pytest.mark.parametrize("where", ["hosts", "local"])
def test_an_interrupt_of_a_hook_takes_back_what_was_begun(project: LocalProject, tmp_path: Path, where: str) -> None:
    begun, told, late = tmp_path / "begun", tmp_path / "told", tmp_path / "late"
    hook = {"command": f"touch {begun}; sleep 20; touch {late}", "where": where}
    on_failure = {"command": f"echo $DEPLOY_EXIT_CODE > {told}", "where": "local"}
    configure(project, {"before_deps": [hook], "on_failure": [on_failure]})
    process = subprocess.Popen(
        [FAB, "deploy"], cwd=project.directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    while not begun.exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert not list((project.base / "releases").iterdir())
    assert told.read_text() == "130\n"
    assert not late.exists()


def test_a_function_is_told_of_the_failure(project: LocalProject) -> None:
    text = "from deploy import hook, ns\n\n@hook('on_failure')\ndef mine(connection, release):\n"
    more = "    connection.run(f'echo told {release.error[:40]!r}')\n"
    (project.directory / "fabfile.py").write_text(text + more)
    configure(project, {"before_activate": ["exit 3"]})
    said = project.fab("deploy", expect=9)
    name = project.host.address.rpartition("@")[2]
    assert f"{name}: told {name}: the hook before_act" in said
