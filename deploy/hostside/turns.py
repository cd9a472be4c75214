"""Who changes what lies below a base path does so alone.

The deploy lock lies on the primary host and expires, but a host program that a slow disk, or somebody's SIGSTOP, holds
up goes on where it was, also when its laptop was given up long ago and another deploy is at work on its host. So it
holds flock(2) on a file while it changes anything; the kernel lets go of it however the program ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from . import disk
from .failure import Failure
from .layout import Layout

WAIT_S = 20.0
"""For an operation that is still at work for a run that is no more: longer than what is killed at its next beat."""
_PAUSE_S = 0.05
_open: set[int] = set()
"""The descriptors of the file in this program."""


@contextmanager
def alone(layout: Layout) -> Iterator[None]:
    """Hold the file; what is not set up yet has none.

    :raises Failure: kind ``busy``; what an earlier run asked for is still at work.
    """
    try:
        descriptor = _opened(layout.path(".deploy", "work.guard"))
    except FileNotFoundError:
        yield
        return
    _open.add(descriptor)
    try:
        take(descriptor, layout)
        yield
    finally:
        _open.remove(descriptor)
        os.close(descriptor)


def _opened(path: str) -> int:
    try:
        return disk.open_own(path, os.O_RDONLY)
    except FileNotFoundError:
        return disk.open_own(path, os.O_RDONLY | os.O_CREAT)


def leave() -> None:
    """In a forked process that outlives the operation: have no part in what its parent holds."""
    for descriptor in _open:
        os.close(descriptor)


def take(descriptor: int, layout: Layout) -> None:
    """Hold an open file until it is closed.

    :raises Failure: kind ``busy``; somebody else does, and goes on doing it.
    """
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise _busy(descriptor, layout) from None
        time.sleep(_PAUSE_S)


def _busy(descriptor: int, layout: Layout) -> Failure:
    process = _holder(descriptor)
    named, end = (f" (process {process})", f"; to end it there: kill -KILL {process}") if process else ("", "")
    return Failure(
        f"what an earlier run asked for is still at work in {layout.base}{named}",
        f"wait for it, and retry{end}",
        "busy",
    )


def _holder(descriptor: int) -> int:
    """The process that holds the file, 0 where that cannot be told: see proc_locks(5)."""
    inode = os.fstat(descriptor).st_ino
    with contextlib.suppress(OSError, ValueError), open("/proc/locks", encoding="ascii", errors="replace") as stream:
        for words in map(str.split, stream):
            if words[1] == "FLOCK" and words[5].endswith(f":{inode}"):
                return int(words[4])
    return 0
