"""What a host program was asked for and has not begun when its connection is given up is not begun any more."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import time
from pathlib import Path

from fabric import Config

from deploy.host.connection import Host
from deploy.host.login import Access
from tests.local.conftest import LoopbackHost

LOCK = (
    "lock",
    {"token": "t" * 32, "owner": {"user": "u", "host": "h", "pid": 1, "message": ""}, "expiry": 600},
)


def test_a_lock_that_nobody_waits_for_is_not_taken(tmp_path: Path, host: LoopbackHost) -> None:
    base = tmp_path / "srv"
    reached = Host(
        host.address,
        name="host",
        base_path=str(base),
        deploy_user="",
        python=sys._base_executable,
        config=Config(),
        access=Access(known_hosts=(tmp_path / "client/known_hosts",), identity=str(tmp_path / "client/id_ed25519")),
    )
    (base / ".deploy").mkdir(parents=True)
    with (base / ".deploy/lock.guard").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        session = reached.new_session()
        session.ask([LOCK])
        assert programs(base)
        session.close()
        # Another channel is opened behind it, as by whoever lets go of the lock: the server knows by now.
        reached.run("true")
    deadline = time.monotonic() + 30
    while programs(base):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not (base / ".deploy/lock.json").exists()
    reached.call(*LOCK[:1], **LOCK[1])
    assert (base / ".deploy/lock.json").exists()
    reached.close()


def programs(base: Path) -> list[str]:
    """The host programs that keep themselves there."""
    found = subprocess.run(["pgrep", "-f", f"{base}/.deploy"], capture_output=True, text=True, check=False)
    return found.stdout.split()
