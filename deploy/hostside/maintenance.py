"""Maintenance as it is noted on a host: by the page that it shows meanwhile, or by what balancers were at before.

Somebody who makes or removes the file by hand does the same.
"""

from __future__ import annotations

import os
import time
from typing import Any

from . import disk
from .failure import Failure
from .layout import Layout


def since(layout: Layout, file: str) -> str:
    """Since when it is on; '' where it is off.

    :param file: absolute, or below the base path.
    """
    try:
        changed = os.lstat(layout.path(file)).st_mtime
    except OSError:
        return ""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(changed))


def put(layout: Layout, file: str, text: str) -> dict[str, bool]:
    """Switch it on, with *text* to show or to note; whether anything changed."""
    path = layout.path(file)
    try:
        with open(disk.open_file(path), encoding="utf-8", errors="replace") as stream:
            if stream.read() == text:
                return {"changed": False}
    except OSError:
        pass
    if not os.path.isdir(os.path.dirname(path)):
        hint = "make the directory, or name another file in deploy.maintenance.file; fab setup makes shared/"
        raise Failure(f"{path} cannot be made: there is no {os.path.dirname(path)}", hint)
    disk.write_atomically(path, text)
    return {"changed": True}


def note(layout: Layout, file: str, document: dict[str, Any]) -> dict[str, bool]:
    """As :func:`put`, with what :func:`noted` gives back."""
    disk.write_json(layout.path(file), document)
    return {"changed": True}


def noted(layout: Layout, file: str) -> dict[str, Any]:
    """What was noted; empty where it is off."""
    return disk.read_json(layout.path(file), "Closed") or {}


def remove(layout: Layout, file: str) -> dict[str, bool]:
    """Switch it off; whether anything changed."""
    path = layout.path(file)
    was_there = os.path.lexists(path)
    disk.remove(path)
    return {"changed": was_there}
