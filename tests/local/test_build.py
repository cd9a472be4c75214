"""Commands of ``build`` run here, before any host is touched."""

from __future__ import annotations

import time

from tests.local.conftest import LocalProject


def test_what_is_built_travels(project: LocalProject) -> None:
    project.configure(extra="  build: [\"echo made > 'a b.txt'\", {command: cat 'a b.txt', timeout: 60}]\n")
    assert "would run here: cat 'a b.txt'" in project.fab("--dry", "deploy")
    assert not (project.directory / "a b.txt").exists()
    assert "here: made" in project.fab("deploy")
    assert (project.base / "current/a b.txt").read_text() == "made\n"


def test_a_failing_build_touches_no_host(project: LocalProject) -> None:
    project.configure(extra="  build: ['echo why; exit 7', touch later]\n")
    for task in ("deploy", "push", "build"):
        said = project.fab(task, expect=3)
        assert "exit 7" in said and "| why" in said
    assert project.host.logins == 0
    assert not (project.directory / "later").exists()


def test_a_build_that_takes_too_long_is_ended_with_its_children(project: LocalProject) -> None:
    project.configure(extra="  build: [{command: '(sleep 3; touch late) & wait', timeout: 0.5}]\n")
    assert "took longer than 0.5 s" in project.fab("build", expect=3)
    time.sleep(3.2)
    assert not (project.directory / "late").exists()
