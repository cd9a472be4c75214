"""What is out of use is removed by a process that nobody waits for, that may be killed, and that is not alone."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.hostside import disk, erasing, releases, removal, setup
from deploy.hostside.layout import Layout

# The host program, whose removals begin by telling who they are, and go on when they are let.
PROGRAM = """
import os, sys
from deploy.hostside import disk, erasing, server
remove = erasing.erase
def held_up(path):
    if disk.is_set_aside(os.path.basename(path)) and not os.path.exists(sys.argv[1]):
        with open(sys.argv[1], "w") as remover: remover.write(str(os.getpid()))
        open(sys.argv[2]).close()
    return remove(path)
erasing.erase = held_up
server.serve()
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    import getpass

    made = Layout(str(tmp_path / "srv/app"))
    setup.make(made, getpass.getuser())
    return made


def fill(layout: Layout, kind: str, name: str, files: int = 3) -> Path:
    """Something that nothing refers to."""
    place = Path(layout.path(kind, name))
    for number in range(files):
        (place / str(number % 17)).mkdir(parents=True, exist_ok=True)
        (place / str(number % 17) / str(number)).touch()
    return place


class Held:
    """A clean-up by the host program, whose remover is held up."""

    def __init__(self, layout: Layout, directory: Path) -> None:
        self._told, self._gate = directory / "told", directory / "gate"
        os.mkfifo(self._gate)
        request = json.dumps({"base": layout.base, "ops": [["cleanup", {"keep": 1}]]})
        command = [sys.executable, "-c", PROGRAM, str(self._told), str(self._gate)]
        # It ends when all who could write to its standard output and error are gone.
        ended = subprocess.run(
            command, input=request + "\n", capture_output=True, text=True, timeout=60, cwd=Path.cwd(), check=True
        )
        assert ended.stderr == ""
        self.result: dict[str, Any] = json.loads(ended.stdout)["result"]
        wait_until(lambda: self._told.exists() and self._told.read_text())
        self.pid = int(self._told.read_text())

    def let_go(self) -> None:
        self._gate.write_text("")


def wait_until(happened: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_answer_comes_and_the_channel_ends_before_what_is_out_of_use_is_removed(
    layout: Layout, tmp_path: Path
) -> None:
    for kind in removal.KINDS:
        fill(layout, kind, "old")
    held = Held(layout, tmp_path)
    assert held.result == {
        "releases": ["old"],
        "venvs": ["old"],
        "wheels": ["old"],
        "repository": 0,
        "problem": "",
        "left": {"count": 0, "first": [], "foreign": False},
    }
    assert os.getpriority(os.PRIO_PROCESS, held.pid) == removal.NICENESS
    assert os.getsid(held.pid) != os.getsid(0), "it has no terminal that could hang up"
    assert len(removal.pending(layout)) == 3
    assert not any(disk.finished(layout.path(kind)) for kind in removal.KINDS)
    assert not releases.unfinished(layout), "it is under way"
    releases.begin(layout, "r1")
    assert len(removal.pending(layout)) == 3, "a deploy does not do it for the one that is at work"
    held.let_go()
    wait_until(lambda: not removal.pending(layout))
    wait_until(lambda: not removal.going_on(layout))


def test_what_a_killed_remover_left_goes_with_the_next_deploy(layout: Layout, tmp_path: Path) -> None:
    fill(layout, "venvs", "old")
    held = Held(layout, tmp_path)
    os.kill(held.pid, signal.SIGKILL)
    wait_until(lambda: not removal.going_on(layout))
    assert releases.unfinished(layout)
    releases.begin(layout, "r1")
    assert not removal.pending(layout)


def test_a_thorough_clean_up_waits_and_does_it_itself(layout: Layout, tmp_path: Path) -> None:
    fill(layout, "venvs", "old")
    held = Held(layout, tmp_path)
    fill(layout, "venvs", "older")
    assert releases.cleanup(layout, keep=1, thorough=True)["venvs"] == ["older"]
    assert not removal.pending(layout)
    held.let_go()
    wait_until(lambda: not removal.going_on(layout))
    assert not releases.unfinished(layout)


def test_several_that_remove_the_same_do_each_other_no_harm(layout: Layout) -> None:
    for number in range(3):
        fill(layout, "venvs", f"old{number}", 1000)
        disk.set_aside(layout.path("venvs"), f"old{number}")
    program = "import sys; from deploy.hostside import layout, removal; removal.now(layout.Layout(sys.argv[1]))"
    several = [subprocess.Popen([sys.executable, "-c", program, layout.base]) for _ in range(3)]
    assert [process.wait(60) for process in several] == [0, 0, 0]
    assert os.listdir(layout.path("venvs")) == []


def test_what_cannot_be_removed_is_told_of_and_is_in_nobodys_way(layout: Layout, mocker: Any) -> None:
    fill(layout, "releases", "mine")
    fill(layout, "releases", "theirs")
    disk.set_aside(layout.path("releases"), "theirs")
    erase = erasing.erase

    def denied(path: str) -> list[erasing.Left]:
        return [erasing.Left(path, "ana", errno.EACCES)] if "theirs" in path else erase(path)

    mocker.patch("deploy.hostside.erasing.erase", denied)
    releases.begin(layout, "r1")
    gone = releases.cleanup(layout, keep=1)
    assert (gone["releases"], gone["problem"]) == (["mine"], "")
    assert (gone["left"]["count"], gone["left"]["foreign"]) == (1, True)
    path, why = gone["left"]["first"][0]
    assert ".partial-theirs." in path
    assert why == "it belongs to ana"
    wait_until(lambda: len(removal.pending(layout)) == 1)


def test_one_that_cannot_be_taken_out_of_use_does_not_keep_the_others(layout: Layout, mocker: Any) -> None:
    for name in ("a", "theirs", "z"):
        fill(layout, "releases", name)
    fill(layout, "venvs", "old")
    rename = os.rename

    def denied(source: str, target: str) -> None:
        if "theirs" in source:
            raise PermissionError(1, "Operation not permitted", source)
        rename(source, target)

    mocker.patch("deploy.hostside.disk.os.rename", denied)
    gone = releases.cleanup(layout, keep=1, thorough=True)
    assert (sorted(gone["releases"]), gone["venvs"]) == (["a", "z"], ["old"])
    assert gone["problem"] == f"permission denied: {layout.path('releases', 'theirs')}"
    assert not removal.pending(layout)


def test_what_lies_under_an_unfinished_name_and_cannot_be_removed_is_set_aside(layout: Layout, mocker: Any) -> None:
    erase = erasing.erase

    def denied(path: str) -> list[erasing.Left]:
        return [erasing.Left(path, "ana", errno.EACCES)] if ".partial-" in path else erase(path)

    mocker.patch("deploy.hostside.erasing.erase", denied)
    for identifier in ("r1", "r1", "r2"):
        fill(layout, "releases", f".partial-{identifier}")
        fill(layout, "venvs", ".partial-v1")
        fill(layout, ".", ".partial-repo")
        assert Path(releases.begin(layout, identifier)["partial"]).is_dir()
    assert len(removal.pending(layout)) >= 7
    mocker.patch("deploy.hostside.erasing.erase", erase)
    assert releases.cleanup(layout, keep=1, thorough=True)["left"]["count"] == 0
    assert not list(Path(layout.base).rglob(".partial-*"))


def test_root_removes_what_was_set_aside_and_nothing_else(layout: Layout, tmp_path: Path) -> None:
    for kind in removal.KINDS:
        fill(layout, kind, "old")
        fill(layout, kind, "kept")
        disk.set_aside(layout.path(kind), "old")
    outside = tmp_path / "outside"
    (outside / ".partial-x.gone").mkdir(parents=True)
    Path(layout.path("releases/.partial-link.gone")).symlink_to(outside)
    assert removal.as_root(layout)["count"] == 0
    assert not removal.pending(layout)
    assert [os.listdir(layout.path(kind)) for kind in removal.KINDS] == [["kept"]] * 3
    os.rename(layout.path("releases"), layout.path("moved"))
    Path(layout.path("releases")).symlink_to(outside)
    assert removal.as_root(layout)["count"] == 0
    assert (outside / ".partial-x.gone").is_dir(), "what lies behind a link is not below the base path"


def test_a_name_as_long_as_a_name_can_be_is_set_aside(layout: Layout) -> None:
    fill(layout, "releases", "ä" * 127)
    disk.set_aside(layout.path("releases"), "ä" * 127)
    removal.now(layout)
    assert os.listdir(layout.path("releases")) == []


def test_where_no_process_can_be_had_it_is_removed_at_once(layout: Layout, mocker: Any) -> None:
    fill(layout, "wheels", "old")
    mocker.patch("deploy.hostside.removal.os.fork", side_effect=BlockingIOError(11, "no"))
    assert releases.cleanup(layout, keep=1)["problem"] == ""
    assert os.listdir(layout.path("wheels")) == []
