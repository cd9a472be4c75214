"""Commands of ``build`` run here, before any host is touched."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.fab import FAB
from tests.local.conftest import LocalProject
from tests.repositories import Git, needs_git

# What they are about happens here; one kind of host will do.
pytestmark = pytest.mark.parametrize("host", ["asyncssh"], indirect=True)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own for what is remembered of builds; wheels come from the usual one."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fabric-wheelhouse"
    usual.mkdir(parents=True, exist_ok=True)
    own = tmp_path / "cache"
    (own / "fabric-wheelhouse").mkdir(parents=True)
    for each in usual.iterdir():
        if each.name != "builds":
            (own / "fabric-wheelhouse" / each.name).symlink_to(each)
    monkeypatch.setenv("XDG_CACHE_HOME", str(own))
    return own / "fabric-wheelhouse/builds"


def configure(project: LocalProject, builds: str, more: str = "") -> None:
    project.configure(extra=f"  build: [{builds}]\n{more}")


def test_what_is_built_travels(project: LocalProject) -> None:
    configure(project, "\"echo made > 'a b.txt'\", {command: cat 'a b.txt', timeout: 60}")
    assert "would run here: cat 'a b.txt'" in project.fab("--dry", "deploy")
    assert not (project.directory / "a b.txt").exists()
    assert "here: made" in project.fab("deploy")
    assert (project.base / "current/a b.txt").read_text() == "made\n"


@pytest.mark.parametrize("strategy", ["rsync", "stream"])
def test_an_output_travels_although_it_is_excluded(project: LocalProject, strategy: str) -> None:
    extra = "  build: [{command: mkdir -p static/js && date > static/js/app.js, outputs: [static]}]\n"
    project.configure(extra=extra)
    text = (project.directory / "fabric.yaml").read_text()
    mine = text.replace("{strategy: auto}", f"{{strategy: {strategy}, exclude: [static, version.txt]}}")
    (project.directory / "fabric.yaml").write_text(mine)
    project.fab("push")
    assert (project.base / "staged/static/js/app.js").read_text()
    assert not (project.base / "staged/version.txt").exists()


@needs_git
def test_outputs_travel_beside_the_commit_that_does_not_hold_them(project: LocalProject) -> None:
    (project.directory / ".gitignore").write_text("static\nmade\n")
    builds = "{command: cat made > static, inputs: [made], outputs: [static]}, 'echo built $DEPLOY_REVISION'"
    project.configure("git", extra=f"  build: [{builds}]\n")
    first = Git(project.directory).commit()
    (project.directory / "made").write_text("one")
    assert f"here: built {first[:7]}\n" in project.fab("deploy")
    one = (project.base / "current").resolve()
    assert (one / "static").read_text() == "one"
    assert not (one / "made").exists()
    assert "nothing to change" in project.fab("deploy")

    (project.directory / "made").write_text("two")
    project.fab("deploy")
    two = (project.base / "current").resolve()
    assert two != one and (two / "static").read_text() == "two"
    project.fab("rollback")
    assert (project.base / "current").resolve() == one

    (project.directory / "version.txt").write_text("later\n")
    later = Git(project.directory).commit()
    assert f"here: built {later[:7]}\n" in project.fab("push", "--revision", later)
    staged = (project.base / "staged").resolve()
    (project.directory / "made").write_text("three")
    for words in (("push",), ("deploy",), ("--dry", "deploy")):
        said = project.fab(*words, "--revision", first, expect=2)
        assert f"would build what is checked out here ({later[:7]}), and {first[:7]} is to be deployed" in said
        assert "here: built" not in said
    assert (project.base / "staged").resolve() == staged
    assert (project.directory / "static").read_text() == "two"
    Git(project.directory)("checkout", "--quiet", first)
    project.fab("push", "--revision", first[:7])
    assert (project.base / "staged/static").read_text() == "three"
    assert (project.base / "staged/version.txt").read_text() == "one\n"


def test_a_failing_build_touches_no_host(project: LocalProject) -> None:
    configure(project, "'echo why; exit 7', touch later")
    for task in ("deploy", "push", "build"):
        said = project.fab(task, expect=3)
        assert "deploy.build[0]: the command failed (exit 7)" in said and "| why" in said
    assert project.host.logins == 0
    assert not (project.directory / "later").exists()


def test_all_that_a_failed_build_said_is_in_a_log_that_only_its_user_reads(project: LocalProject, cache: Path) -> None:
    configure(project, "'seq 1000; exit 1'")
    said = project.fab("build", expect=3)
    found = re.search(r"all that it said: (\S+)", said)
    assert found
    log = Path(found[1])
    assert log.is_relative_to(cache)
    assert log.stat().st_mode & 0o077 == 0
    assert log.read_text().splitlines() == [
        "$ seq 1000; exit 1", *map(str, range(1, 1001)), "# the command failed (exit 1)",
    ]  # fmt: skip


def test_a_build_whose_inputs_and_outputs_are_as_it_left_them_is_not_run(project: LocalProject) -> None:
    line = "echo run >> ../runs; cat src/* > out.txt"
    configure(project, f'{{command: "{line}", inputs: [src], outputs: ["out.*"]}}', "  default_stage: local\n")
    (project.directory / "src").mkdir()
    (project.directory / "src/a").write_text("a")
    runs = project.directory.parent / "runs"

    def built() -> int:
        before = len(runs.read_text()) if runs.exists() else 0
        project.fab("build")
        return (len(runs.read_text()) - before) // 4

    assert [built(), built()] == [1, 0]
    look = (project.directory / "src/a").stat()
    (project.directory / "src/a").write_text("b")
    os.utime(project.directory / "src/a", ns=(look.st_atime_ns, look.st_mtime_ns))
    assert [built(), built()] == [1, 0]
    (project.directory / "src/more").touch()
    assert [built(), built()] == [1, 0]
    (project.directory / "src/more").chmod(0o755)
    assert [built(), built()] == [1, 0]
    (project.directory / "out.txt").write_text("changed by hand")
    assert [built(), built()] == [1, 0]
    (project.directory / "out.txt").unlink()
    assert [built(), built()] == [1, 0]
    said = project.fab("--dry", "build")
    assert "nothing changed, so it would not run: echo run" in said
    project.fab("build", "--force")
    assert [built()] == [0]
    line = line.replace("run >>", "ran >>")
    configure(project, f'{{command: "{line}", inputs: [src], outputs: ["out.*"]}}')
    assert [built(), built()] == [1, 0]


def test_what_a_build_makes_is_no_input_of_it_and_what_one_makes_may_be_of_the_next(project: LocalProject) -> None:
    first = '{command: "mkdir -p web/dist; cp web/a web/dist/a; echo >> ../one", inputs: [web], outputs: [web/dist]}'
    second = '{command: "cp web/dist/a b; echo >> ../two", inputs: ["web/dist/**"], outputs: [b]}'
    configure(project, f"{first}, {second}")
    (project.directory / "web").mkdir()
    for number, text in enumerate(("x", "y"), 1):
        (project.directory / "web/a").write_text(text)
        project.fab("build")
        project.fab("build")
        assert (project.directory / "b").read_text() == text
        assert [(project.directory.parent / name).read_text() for name in ("one", "two")] == ["\n" * number] * 2


def test_a_build_that_failed_or_was_killed_runs_again(project: LocalProject) -> None:
    configure(project, '{command: "test -e ok && cp in out", inputs: [in], outputs: [out]}')
    (project.directory / "in").write_text("x")
    (project.directory / "ok").touch()
    project.fab("build")
    (project.directory / "ok").unlink()
    project.fab("build", "--force", expect=3)
    assert "exit 1" in project.fab("build", expect=3)


def test_an_output_that_was_not_made_and_an_input_that_is_not_there_are_told(project: LocalProject) -> None:
    configure(project, "{command: 'true', inputs: [nosuch/*], outputs: [made, 'also/**']}")
    said = project.fab("push", expect=3)
    assert "warning: deploy.build[0].inputs: nothing matches nosuch/*, so it always runs" in said
    assert "did not make made, also/**" in said
    assert project.host.logins == 0


def test_an_output_outside_the_project_is_refused(project: LocalProject) -> None:
    configure(project, "{command: 'true', outputs: [../made], input: [a]}")
    said = project.fab("build", expect=2)
    assert "deploy.build[0].outputs: must be a path inside the release" in said
    assert "deploy.build[0].input: unknown key; did you mean inputs?" in said


def test_a_build_is_told_where_it_goes(project: LocalProject) -> None:
    subprocess.run(["git", "init", "-q"], cwd=project.directory, check=True)
    commit = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qm", "x", "fabfile.py"]
    subprocess.run(["git", "add", "fabfile.py"], cwd=project.directory, check=True)
    subprocess.run(commit, cwd=project.directory, check=True)
    configure(project, "'echo \"told $DEPLOY_STAGE $DEPLOY_APP $DEPLOY_REVISION\"'")
    assert re.search(r"here: told local tiny [0-9a-f]{7}-dirty", project.fab("build"))


def test_secrets_of_the_environment_are_not_shown(
    project: LocalProject, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NPM_TOKEN", "sentinel-5d1e")
    configure(project, '\'echo "using $NPM_TOKEN from https://me:sentinel-77@npm.example/"; test -z "$NPM_TOKEN"\'')
    said = project.fab("build", expect=3) + "".join(log.read_text() for log in cache.rglob("*.log"))
    assert "using *** from https://***@npm.example/" in said
    assert "sentinel" not in said


def test_a_build_that_takes_too_long_is_ended_with_its_children(project: LocalProject) -> None:
    configure(project, "{command: '(sleep 3; touch late) & wait', timeout: 0.5}")
    assert "took longer than 0.5 s" in project.fab("build", expect=3)
    time.sleep(3.2)
    assert not (project.directory / "late").exists()


def test_a_build_that_leaves_something_running_does_not_hold_up_the_deploy(project: LocalProject) -> None:
    configure(project, "'(sleep 30; touch late) & echo done'")
    start = time.monotonic()
    assert "here: done" in project.fab("build")
    assert time.monotonic() - start < 15


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_a_build_with_its_children(project: LocalProject, number: int) -> None:
    configure(project, "'trap \"echo asked > asked; exit 1\" TERM; touch begun; (sleep 4; touch late) & wait'")
    process = subprocess.Popen(
        [FAB, "deploy"], cwd=project.directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    while not (project.directory / "begun").exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    process.send_signal(number)
    said, _ = process.communicate(timeout=20)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert (project.directory / "asked").exists()
    assert project.host.logins == 0
    time.sleep(4.2)
    assert not (project.directory / "late").exists()
