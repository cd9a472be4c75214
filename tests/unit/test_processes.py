"""Which release a process runs: what is said of a service that is down, hidden or nonsense."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.hostside import processes
from deploy.hostside.layout import Layout

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "releases/r1").mkdir(parents=True)
    (tmp_path / "releases/r2").mkdir()
    return Layout(str(tmp_path))


@pytest.fixture
def runs_r1(layout: Layout) -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], cwd=layout.release("r1"), stdin=subprocess.PIPE
    ) as process:
        yield process.pid


def verdict(layout: Layout, release: str = "r1", **service: object) -> str:
    return str(processes.prove(layout, {"manager": "signal", **service}, release, 0.1)["verdict"])


def test_a_process_proves_the_release_that_it_works_in(layout: Layout, runs_r1: int) -> None:
    assert verdict(layout, "r1", pid=runs_r1) == "proven"
    assert verdict(layout, "r2", pid=runs_r1) == "stale"


@pytest.mark.parametrize("content", ["", "0", "-1", "no number", "999999999999999999999", "4194305"])
def test_a_pidfile_without_a_process_means_down(layout: Layout, content: str) -> None:
    Path(layout.path("tiny.pid")).write_text(content)
    assert verdict(layout, pidfile="tiny.pid") == "down"


def test_a_pidfile_that_is_not_there_means_down(layout: Layout) -> None:
    assert verdict(layout, pidfile="tiny.pid") == "down"


def test_a_manager_that_says_that_nothing_runs_is_believed(layout: Layout) -> None:
    assert verdict(layout, pid=0) == "down"


def test_without_a_number_it_cannot_be_known(layout: Layout) -> None:
    assert verdict(layout) == "unknown"


MAPS = """\
import mmap, sys
with open(sys.argv[1]) as file:
    module = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
print(flush=True)
input()
"""


def test_modules_of_another_ones_venv_are_no_proof(layout: Layout) -> None:
    """What a reload leaves that follows `current` for the code and keeps the venv it began with."""
    module, link = Path(layout.path("venvs/old/module.so")), Path(layout.path("releases/r1/.venv"))
    module.parent.mkdir(parents=True)
    module.write_text("compiled")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", MAPS, str(module)], cwd=layout.release("r1"), **pipes) as process:
        assert process.stdout and process.stdout.readline()
        link.symlink_to("../../venvs/old")
        assert verdict(layout, "r1", pid=process.pid) == "proven"
        link.unlink()
        link.symlink_to("../../venvs/new")
        result = processes.prove(layout, {"manager": "signal", "pid": process.pid}, "r1", 0.1)
    assert result["verdict"] == "stale"
    assert "r1 with modules of another one's venv (old)" in result["detail"]
