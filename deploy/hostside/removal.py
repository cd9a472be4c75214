"""What is out of use is removed when nobody waits for it.

A venv is ten thousand files; who deploys need not watch them go. Taking something out of use is one rename, under the
deploy lock; removing it needs no lock, as nothing else is ever made of that name. A process that outlives the request
does it. While it is at work it holds a lock on the directory of venvs, so that whoever comes meanwhile leaves it alone;
when it was killed, the kernel lets go of that, and who comes next does the rest.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import warnings
from collections.abc import Iterator

from . import disk, turns
from .layout import Layout

KINDS = ("releases", "venvs", "wheels")
"""The directories whose content comes and goes: what is made there is unfinished first, and set aside at its end."""

NICENESS = 15


def pending(layout: Layout) -> list[str]:
    """What was set aside and is there still."""
    found = []
    for kind in KINDS:
        with contextlib.suppress(OSError):
            found += [layout.path(kind, name) for name in os.listdir(layout.path(kind)) if disk.is_set_aside(name)]
    return found


def going_on(layout: Layout) -> bool:
    """Whether a process is at work on it; read-only."""
    try:
        with _directory(layout) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system without such locks
    return False


def resume(layout: Layout) -> None:
    """Remove what one that was ended has left.

    :raises OSError: something cannot be removed; the rest is.
    """
    if pending(layout) and not going_on(layout):
        now(layout)


def now(layout: Layout) -> None:
    """Remove what was set aside, and wait for it.

    :raises OSError: something cannot be removed; the rest is.
    """
    paths = pending(layout)
    for directory in sorted({os.path.dirname(path) for path in paths}):
        disk.sync_directory(directory)  # or a power cut could bring back a name with half of what it had
    problems = []
    for path in paths:
        try:
            disk.remove(path)
        except OSError as error:
            problems.append(error)
    if problems:
        raise problems[0]


def afterwards(layout: Layout) -> None:
    """Have what was set aside removed by a process of its own, of low priority, that outlives this one."""
    if not pending(layout):
        return
    with _directory(layout) as descriptor, warnings.catch_warnings():
        # The lock belongs to the open file, which the processes share: it is held from here to the remover's end.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # or else another one is at work: two do no harm
        warnings.simplefilter("ignore", DeprecationWarning)  # the child touches nothing that a thread may hold
        try:
            child = os.fork()
        except OSError:  # no process to be had
            now(layout)
            return
        if child:
            os.waitpid(child, 0)
            return
        # From here on nothing may return into the parent's work, nor clean up what is the parent's.
        try:
            os.setsid()
            if not os.fork():
                _let_go()
                os.nice(NICENESS)
                now(layout)
        finally:
            os._exit(0)


def _let_go() -> None:
    """Leave standard input, output and error: where one stays open, the SSH channel does not end. And let others
    change what lies here."""
    turns.leave()
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)


@contextlib.contextmanager
def _directory(layout: Layout) -> Iterator[int]:
    descriptor = os.open(layout.path("venvs"), os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
