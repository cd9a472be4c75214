"""What is there: what may not be looked at is never taken for something that is not, as `os.path` and `os.walk` do."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator


def kind(path: str) -> int:
    """What is at *path* itself, as in :func:`stat.S_IFMT`; 0 where nothing is.

    :raises OSError: that cannot be looked at.
    """
    try:
        return stat.S_IFMT(os.lstat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return 0


def is_directory(path: str) -> bool:
    """Whether *path* is a directory and no link to one.

    :raises OSError: that cannot be looked at: what may not be looked at is not to be taken for something that is gone.
    """
    return kind(path) == stat.S_IFDIR


def leads_somewhere(path: str) -> bool:
    """Whether *path*, or what it is a link to, is there.

    :raises OSError: that cannot be looked at.
    """
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def walk(root: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """As :func:`os.walk`, which without more passes over a directory that cannot be listed.

    :raises OSError: one cannot be.
    """

    def refuse(error: OSError) -> None:
        raise error

    return os.walk(root, onerror=refuse)
