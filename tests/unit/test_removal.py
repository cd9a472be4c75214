"""What is out of use is removed by a process that nobody waits for, that may be killed, and that is not alone."""

from __future__ import annotations

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

from deploy.hostside import disk, releases, removal, setup
from deploy.hostside.layout import Layout

# The host program, whose removals begin by telling who they are, and go on when they are let.
PROGRAM = """
import os, sys
from deploy.hostside import disk, server
remove = disk.remove
def held_up(path):
    if disk.is_set_aside(os.path.basename(path)) and not os.path.exists(sys.argv[1]):
        with open(sys.argv[1], "w") as remover: remover.write(str(os.getpid()))
        open(sys.argv[2]).close()
    remove(path)
disk.remove = held_up
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
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as asked:
            assert asked.stdin and asked.stdout and asked.stderr
            asked.stdin.write(request + "\n")
            asked.stdin.flush()
            self.result: dict[str, Any] = json.loads(asked.stdout.readline())["result"]
            asked.stdin.close()
            # These end when all who could write to its standard output and error are gone.
            assert asked.stdout.read() == ""
            assert asked.stderr.read() == ""
        assert asked.returncode == 0
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
    remove = disk.remove

    def denied(path: str) -> None:
        if "theirs" in path:
            raise PermissionError(13, "Permission denied", path)
        remove(path)

    mocker.patch("deploy.hostside.disk.remove", denied)
    releases.begin(layout, "r1")
    gone = releases.cleanup(layout, keep=1)
    assert gone["releases"] == ["mine"]
    assert "permission denied: " in gone["problem"]
    assert ".partial-theirs." in gone["problem"]
    wait_until(lambda: len(removal.pending(layout)) == 1)


def test_what_a_failed_run_left_and_nobody_may_remove_does_not_hold_up_the_next(layout: Layout, mocker: Any) -> None:
    remove = disk.remove

    def denied(path: str) -> None:
        if os.path.lexists(path) and "theirs" in path:
            raise PermissionError(1, "Operation not permitted", path)
        remove(path)

    mocker.patch("deploy.hostside.disk.remove", denied)
    for _ in range(2):
        fill(layout, "releases", ".partial-theirs")
        releases.begin(layout, "r1")
        fill(layout, "releases", "theirs")
        disk.discard(layout.path("releases"), "theirs")
    assert len(removal.pending(layout)) == 4
    mocker.patch("deploy.hostside.disk.remove", remove)
    assert releases.cleanup(layout, keep=1, thorough=True)["problem"] == ""
    assert not os.listdir(layout.path("releases"))


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
