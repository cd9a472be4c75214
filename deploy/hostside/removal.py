"""What is out of use is removed when nobody waits for it.

A venv is ten thousand files; who deploys need not watch them go. Taking something out of use is one rename, under the
deploy lock; removing it needs no lock, as nothing else is ever made of that name. A process that outlives the request
does it. While it is at work it holds a lock on the directory of venvs, so that whoever comes meanwhile leaves it alone;
when it was killed, the kernel lets go of that, and who comes next does the rest.

An application that runs as another user may have written into its release; of that, some can be removed by root alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from . import disk, erasing
from .erasing import Left
from .layout import Layout

KINDS = ("releases", "venvs", "wheels")
"""The directories whose content comes and goes: what is made there is unfinished first, and set aside at its end."""

NICENESS = 15

TOLD = 3
"""So much of what is in the way is told by name."""


def pending(layout: Layout) -> list[str]:
    """What was set aside and is there still."""
    found = []
    for directory in [layout.base, *map(layout.path, KINDS)]:
        with contextlib.suppress(OSError):
            found += [os.path.join(directory, name) for name in os.listdir(directory) if disk.is_set_aside(name)]
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


def resume(layout: Layout) -> list[Left]:
    """Remove what one that was ended has left; what is in the way."""
    return now(layout) if pending(layout) and not going_on(layout) else []


def now(layout: Layout) -> list[Left]:
    """Remove what was set aside, and wait for it; what is in the way."""
    paths = pending(layout)
    for directory in sorted({os.path.dirname(path) for path in paths}):
        disk.sync_directory(directory)  # or a power cut could bring back a name with half of what it had
    return [left for path in paths for left in erasing.erase(path)]


def as_root(layout: Layout) -> dict[str, Any]:
    """Remove what was set aside, and is in part other users': for root, who believes no path that others can change.

    :returns: what is in the way even so, as :func:`told`.
    """
    left: list[Left] = []
    with _opened(layout.base) as base:
        for kind in KINDS:
            with contextlib.suppress(OSError), _opened(kind, base) as directory:
                for name in filter(disk.is_set_aside, os.listdir(directory)):
                    left += erasing.erase_in(directory, name, layout.path(kind))
    return told(left)


def told(left: Iterable[Left]) -> dict[str, Any]:
    """What is in the way, in few words, for there may be thousands.

    :returns: the ``count``, the ``first`` ones (path and reason), and whether any of it is ``foreign``.
    """
    known = {each.path: each for each in left}.values()
    first = [[each.path, each.why] for each in itertools.islice(known, TOLD)]
    return {"count": len(known), "first": first, "foreign": any(each.foreign for each in known)}


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
            now(layout)  # what is in the way of it, the next clean-up tells
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
    """Leave standard input, output and error: where one stays open, the SSH channel does not end."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)


def _directory(layout: Layout) -> contextlib.AbstractContextManager[int]:
    return _opened(layout.path("venvs"))


@contextlib.contextmanager
def _opened(path: str, inside: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=inside)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
