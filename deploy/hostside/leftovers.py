"""What a run that died while it put a file left in `shared/`: it may hold secrets, and goes with the next deploy."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator

from . import disk
from .layout import Layout

PREFIX = disk.PARTIAL + "put."
"""How the name of a file that is being put begins; nothing else in `shared/` is ours to remove."""


@contextlib.contextmanager
def alone(layout: Layout, how: int = 0) -> Iterator[None]:
    """Put files while nobody else does.

    :param how: ``fcntl.LOCK_NB`` to raise BlockingIOError instead of waiting.
    """
    descriptor = os.open(layout.path("shared"), os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | how)
        yield
    finally:
        os.close(descriptor)


def there(layout: Layout) -> list[str]:
    """The files that are being put just now, or were by one that died; read-only."""
    shared = layout.path("shared")
    try:
        return [os.path.join(shared, name) for name in os.listdir(shared) if name.startswith(PREFIX)]
    except OSError:
        return []


def remove(layout: Layout) -> None:
    """Who calls is :func:`alone`."""
    for path in there(layout):
        disk.remove(path)


def sweep(layout: Layout) -> None:
    """Remove what is left, unless somebody is putting a file just now."""
    if not there(layout):
        return
    with contextlib.suppress(BlockingIOError), alone(layout, fcntl.LOCK_NB):
        remove(layout)
