"""What the kernel allows all hosts of this machine together: raised while there are fleets, and then put back."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tests.fleet.network import LOCKS

INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
LEAST = 1024
"""Each systemd takes some, the hosts' root counts as ours, and the usual 128 are gone with two dozen hosts."""


class Allowance:
    """Held by a run as long as it has hosts. A run that is killed lets go of it; the next to end puts back what was."""

    def __init__(self) -> None:
        LOCKS.mkdir(mode=0o700, exist_ok=True)
        with _guarded() as former:
            self._holding = (LOCKS / "inotify.held").open("a")
            fcntl.flock(self._holding, fcntl.LOCK_SH)
            now = INOTIFY.read_text()
            if int(now) < LEAST:
                former.truncate(0)
                former.write(now)
                INOTIFY.write_text(f"{LEAST}\n")

    def release(self) -> None:
        with _guarded() as former, self._holding:
            try:
                fcntl.flock(self._holding, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return  # other runs go on
            former.seek(0)
            if was := former.read():
                INOTIFY.write_text(was)
                former.truncate(0)


@contextmanager
def _guarded() -> Iterator[IO[str]]:
    """The file that holds what was allowed before, for one run at a time."""
    with (LOCKS / "inotify.former").open("a+") as former:
        fcntl.flock(former, fcntl.LOCK_EX)
        yield former
