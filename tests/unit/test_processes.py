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
