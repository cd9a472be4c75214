"""What somebody gets to read who writes something wrong: one message, what to do, and never a traceback. No host."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.fab import FAB, fab
from tests.local.conftest import LocalProject

GOOD = """\
tasks: {executor_class: deploy.executor.Executor}
deploy:
  app: tiny
  base_path: /srv/tiny
  health: {url: "http://127.0.0.1/", timeout: 5}
  shared: {files: [.env]}
  target: local
  stages: {one: [one.invalid], two: {hosts: [two.invalid]}}
"""


class Misuse:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "fabfile.py").write_text("from deploy import ns\n")
        self.write(GOOD)

    def write(self, text: str, name: str = "fabric.yaml") -> None:
        (self.directory / name).write_text(text)

    def fab(self, *words: str, **environment: str) -> str:
        """What `fab` says; it must refuse, with the exit code of a configuration that is wrong."""
        code, said = fab(words, self.directory, {**os.environ, **environment}, at_most_s=60)
        assert "Traceback" not in said, said
        assert code == 2, said
        assert said.count("error: ") == 1, said
        return said


@pytest.fixture
def misuse(tmp_path: Path) -> Misuse:
    return Misuse(tmp_path)


def test_a_file_that_is_lacking_is_said(misuse: Misuse) -> None:
    (misuse.directory / "fabric.yaml").unlink()
    assert "there is no fabric.yaml beside the fabfile" in misuse.fab("deploy")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is no section deploy:\n"),
        ("# only a comment\n", "there is no section deploy:\n"),
        ("dploy: {stages: {}}\n", "there is no section deploy:; is dploy: meant to be it?"),
        ("deploy:\n", "deploy: is empty; it must be a mapping"),
        ("deploy: [a]\n", "deploy: must be a mapping"),
        ("deploy: {stages: }\n", "deploy.stages: is empty; it must be a mapping"),
        ("deploy: {stages: {}}\n", "no stages are configured"),
        ("deploy: {stags: {one: [a]}}\n", "deploy.stags: unknown key; did you mean stages?"),
        ("deploy: {stages: {1: [a]}}\n", "deploy.stages.1 is read as int, and a key must be text"),
        ("deploy: {stages: {on: [a]}}\n", "deploy.stages.True is read as bool, and a key must be text"),
        ("deploy:\n\tapp: x\n", "it cannot be read"),
        ("- a\n", "it must be a mapping with a section deploy:"),
        ("tasks:\ndeploy: {}\n", "tasks: is empty; it must be a mapping"),
        (GOOD.replace("executor.Ex", "executr.Ex"), "did you mean deploy.executor.Executor?"),
        (GOOD + "  health_timeout: 3\n", "two keys have one name in the environment, FABRIC_DEPLOY_HEALTH_TIMEOUT"),
        (GOOD + "  identity: nosuch\n", "deploy.identity: there is no file"),
        (GOOD + "  known_hosts: nosuch\n", "deploy.known_hosts: there is no file"),
        (GOOD + "  source: {path: nosuch}\n", "nosuch: is not a directory"),
    ],
)
def test_a_wrong_file_is_one_message(misuse: Misuse, text: str, said: str) -> None:
    misuse.write(text)
    assert said in misuse.fab("deploy", FABRIC_DEPLOY_STAGE="one")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["deploy"], "which stage? There are: one, two"),
        (["one", "deploy", "--limit", "nowhere"], "nowhere is not in stage one; its hosts are: one.invalid"),
        (["one", "deploy", "--limit", ""], "--limit: it names no host"),
        (["one", "deploy", "--limit", " ,"], "--limit: it names no host"),
        (["-H", "", "one", "deploy"], "--limit: it names no host"),
        (["-H", "nowhere", "one", "deploy"], "nowhere is not in stage one"),
        (["-H", "one.invalid", "one", "deploy", "--limit", "one.invalid"], "-H and --limit mean the same"),
        (["one", "deploy", "--lock-wait", "many"], "--lock-wait: must be a whole number of seconds, not 'many'"),
        (["one", "deploy", "--lock-wait", "-5"], "--lock-wait: must be a whole number of seconds, not '-5'"),
        (["-f", "nosuch.yaml", "one", "deploy"], "nosuch.yaml: there is no such file"),
        (["one", "deploy", "-f", "nosuch.yaml"], "nosuch.yaml: there is no such file"),
        (["-f", "fabfile.txt", "one", "deploy"], "its name must end in"),
        (["one", "create-bundle"], "requirements.txt: the lock file cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_command_line_is_one_message(misuse: Misuse, words: list[str], said: str) -> None:
    assert said in misuse.fab(*words)


def test_maintenance_says_what_it_needs(misuse: Misuse) -> None:
    assert "maintenance: must be on or off, not 'maybe'" in misuse.fab("one", "maintenance", "maybe")
    assert "deploy.maintenance: it is not said who shows the page" in misuse.fab("one", "maintenance", "on")
    misuse.write(GOOD.replace("  target: local\n", "  target: local\n  maintenance: {page: ops/page.html}\n"))
    assert "ops/page.html cannot be read (No such file or directory)" in misuse.fab("one", "maintenance", "on")


def test_the_environment_chooses_a_stage_and_a_wrong_one_is_named(misuse: Misuse) -> None:
    assert "there is no stage 'tow'; there are: one, two; did you mean two?" in misuse.fab(
        "status", FABRIC_DEPLOY_STAGE="tow"
    )
    assert "does not fit its key" in misuse.fab("one", "status", FABRIC_DEPLOY_HEALTH_TIMEOUT="abc")
    assert "FABRIC_DEPLOY_SHARED_FILES" in misuse.fab("one", "status", FABRIC_DEPLOY_SHARED_FILES="a")


def test_another_file_is_laid_over_the_projects(misuse: Misuse) -> None:
    misuse.write("deploy: {keep_releases: many}\n", "other.yaml")
    assert "error: other.yaml: a problem in section deploy:\n  deploy.keep_releases" in misuse.fab(
        "-f", "other.yaml", "one", "deploy"
    )
    misuse.write("deploy: [", "other.yaml")
    assert "other.yaml: it cannot be read" in misuse.fab("-f", "other.yaml", "one", "deploy")


def test_a_reader_that_goes_away_does_not_stop_a_deploy(project: LocalProject) -> None:
    done = subprocess.run(
        ["sh", "-c", f"({FAB} deploy; echo $? > rc) | head -n 1"],
        cwd=project.directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.count("\n") == 1
    assert (project.directory / "rc").read_text() == "0\n", done.stderr
    assert done.stderr == ""
    assert project.version == "one"
