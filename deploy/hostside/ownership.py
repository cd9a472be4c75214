"""What other users own below the base path, where it is in a deploy's or a clean-up's way: read-only."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any

from . import erasing, removal
from .erasing import Left
from .layout import Layout

_WRITTEN = ("lock.guard", "journal.jsonl")
"""What is written in its place; all else in `.deploy/` is replaced by a rename, which asks nobody but the directory."""


def look(layout: Layout) -> dict[str, Any]:
    """What is in the way.

    :returns: ``unwritable``, files and their owners; ``kept``, as :func:`removal.told`: directories in releases and
        venvs that only root can empty when their time comes.
    """
    written = [layout.path(".deploy", name) for name in _WRITTEN]
    unwritable = [
        [path, erasing.owner(os.stat(path).st_uid)]
        for path in [*written, layout.path("repo")]
        if os.path.exists(path) and not os.access(path, os.W_OK)
    ]
    places = [layout.path(kind) for kind in removal.KINDS]
    return {"unwritable": unwritable, "kept": removal.told(left for place in places for left in _foreign(place))}


def _foreign(directory: str) -> Iterator[Left]:
    """The directories in *directory* that hold something, and that we may take nothing from."""
    try:
        entries = [entry for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for entry in entries:
        uid = entry.stat(follow_symlinks=False).st_uid
        if uid == os.getuid() or os.access(entry.path, os.W_OK | os.X_OK):
            yield from _foreign(entry.path)
        elif not _is_empty(entry.path):
            yield Left(entry.path, erasing.owner(uid), errno.EACCES)


def _is_empty(directory: str) -> bool:
    try:
        return not os.listdir(directory)
    except OSError:
        return False
