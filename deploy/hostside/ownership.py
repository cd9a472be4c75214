"""What an application left in a release under another owner, so that the deploy user could not remove it: read-only."""

from __future__ import annotations

import os
import pwd

from .layout import Layout

KINDS = ("releases", "venvs")


def foreign(layout: Layout) -> list[tuple[str, str]]:
    """Directories that would outlive their release or venv, each with its owner; not what lies in them.

    A file of another owner goes with the directory that it is in. What matters is a directory that the deploy user may
    not write to and that is not empty, or may be not; an own one can be opened again.
    """
    if os.geteuid() == 0:
        return []
    found: list[tuple[str, str]] = []
    for kind in KINDS:
        _look(layout.path(kind), found)
    return found


def _look(directory: str, found: list[tuple[str, str]]) -> None:
    try:
        with os.scandir(directory) as entries:
            below = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for entry in below:
        try:
            uid = entry.stat(follow_symlinks=False).st_uid
            if uid == os.geteuid() or os.access(entry.path, os.W_OK | os.X_OK) or not _holds_something(entry.path):
                _look(entry.path, found)
            else:
                found.append((entry.path, _name(uid)))
        except OSError:
            continue  # gone meanwhile


def _holds_something(directory: str) -> bool:
    try:
        return bool(os.listdir(directory))
    except PermissionError:
        return True


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
