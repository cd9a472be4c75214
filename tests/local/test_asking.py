"""What a host program was asked for and has not begun when its connection is given up is not begun any more."""

from __future__ import annotations

import fcntl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.host.connection import Host
from tests.local.conftest import LoopbackHost, reach

OWNER = {"user": "u", "host": "h", "pid": 1, "message": ""}
LOCK: dict[str, Any] = {"token": "t" * 32, "owner": OWNER, "expiry": 600}


@pytest.fixture
def reached(tmp_path: Path, host: LoopbackHost) -> Iterator[Host]:
    """Its interpreter writes a line below the base path when a host program has ended."""
    (tmp_path / "srv/.deploy").mkdir(parents=True)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n{sys._base_executable} "$@"\necho >> {tmp_path}/srv/ended\n')
    python.chmod(0o755)
    made = reach(host, tmp_path, str(python))
    yield made
    made.close()


@contextmanager
def held_up(reached: Host, operation: str, **arguments: Any) -> Iterator[None]:
    """Ask for something that waits for a guard, and give the connection up; what is done inside comes first."""
    before = ended(reached)
    with (Path(reached.base_path) / ".deploy/lock.guard").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        session = reached.new_session()
        session.ask([(operation, arguments)])
        session.close()
        # Another channel is opened behind it, as by whoever takes back what was done: the server knows by now.
        reached.run("true")
        yield
        assert ended(reached) == before
    await_ended(reached, before + 1)


def ended(reached: Host) -> int:
    """How many host programs have."""
    told = Path(reached.base_path) / "ended"
    return len(told.read_text()) if told.exists() else 0


def await_ended(reached: Host, count: int) -> None:
    deadline = time.monotonic() + 30
    while ended(reached) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_lock_that_nobody_waits_for_is_not_taken(reached: Host) -> None:
    lock = Path(reached.base_path) / ".deploy/lock.json"
    with held_up(reached, "lock", **LOCK):
        pass
    assert not lock.exists()
    reached.call("lock", **LOCK)
    assert lock.exists()


def test_a_lock_that_was_to_be_broken_before_it_was_taken_is_left_alone(reached: Host) -> None:
    lock = Path(reached.base_path) / ".deploy/lock.json"
    taking = reached.new_session()
    taking.batch([("lock", LOCK)])
    taking.close()
    await_ended(reached, 1)
    of_somebody = lock.read_text()
    lock.unlink()
    with held_up(reached, "break_lock", user="u", host="h", force=True):
        lock.write_text(of_somebody)
    assert lock.read_text() == of_somebody
    with held_up(reached, "unlock", token=LOCK["token"]):
        pass
    assert not lock.exists(), "who took it may let go of it whenever that comes"
