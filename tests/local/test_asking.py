"""What a host program was asked for and has not begun when its connection is given up is not begun any more."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fabric import Config

from deploy.host.connection import Host
from deploy.host.login import Access
from tests.local.conftest import LoopbackHost

OWNER = {"user": "u", "host": "h", "pid": 1, "message": ""}
LOCK: dict[str, Any] = {"token": "t" * 32, "owner": OWNER, "expiry": 600}


@pytest.fixture
def reached(tmp_path: Path, host: LoopbackHost) -> Iterator[Host]:
    (tmp_path / "srv/.deploy").mkdir(parents=True)
    made = Host(
        host.address,
        name="host",
        base_path=str(tmp_path / "srv"),
        deploy_user="",
        python=sys._base_executable,
        config=Config(),
        access=Access(known_hosts=(tmp_path / "client/known_hosts",), identity=str(tmp_path / "client/id_ed25519")),
    )
    yield made
    made.close()


@contextmanager
def held_up(reached: Host, operation: str, **arguments: Any) -> Iterator[None]:
    """Ask for something that waits for a guard, and give the connection up; what is done inside comes first."""
    folder = Path(reached.base_path) / ".deploy"
    with (folder / "lock.guard").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        session = reached.new_session()
        session.ask([(operation, arguments)])
        assert programs(folder)
        session.close()
        # Another channel is opened behind it, as by whoever takes back what was done: the server knows by now.
        reached.run("true")
        yield
    deadline = time.monotonic() + 30
    while programs(folder):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def programs(folder: Path) -> list[str]:
    """The host programs that keep themselves there."""
    found = subprocess.run(["pgrep", "-f", str(folder)], capture_output=True, text=True, check=False)
    return found.stdout.split()


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
    of_somebody = lock.read_text()
    lock.unlink()
    with held_up(reached, "break_lock", user="u", host="h", force=True):
        lock.write_text(of_somebody)
    assert lock.read_text() == of_somebody
    with held_up(reached, "unlock", token=LOCK["token"]):
        pass
    assert not lock.exists(), "who took it may let go of it whenever that comes"
