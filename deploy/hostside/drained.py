"""`.deploy/drained.json`: the balancers that this host was taken out of by a run, until one puts it back.

Written before a balancer is told: whatever dies then, the next run knows whom nobody but us took out.
"""

from __future__ import annotations

import os
from typing import Any

from . import disk
from .layout import Layout


def read(layout: Layout) -> list[str]:
    """Their names; none where nothing is noted."""
    noted = disk.read_json(_path(layout), "Drained") or {}
    return [str(place) for place in noted.get("balancers", [])]


def note(layout: Layout, balancers: list[str]) -> dict[str, Any]:
    """Note them, instead of what was noted; without any, nothing is left."""
    if balancers:
        disk.write_json(_path(layout), {"balancers": balancers})
    elif os.path.lexists(_path(layout)):
        disk.remove(_path(layout))
    return {}


def _path(layout: Layout) -> str:
    return layout.path(".deploy", "drained.json")
