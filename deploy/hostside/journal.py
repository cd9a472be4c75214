"""`.deploy/journal.jsonl`: who deployed what, when, and how it ended; one line each, only ever appended to."""

from __future__ import annotations

import json
import os
from typing import Any

from . import disk
from .layout import Layout
from .releases import now


def append(layout: Layout, entry: dict[str, Any]) -> dict[str, Any]:
    """Add one line; O_APPEND keeps lines of two writers whole."""
    line = json.dumps({"time": now(), **entry}, sort_keys=True) + "\n"
    descriptor = disk.open_own(layout.path(".deploy", "journal.jsonl"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with open(descriptor, "w", encoding="utf-8") as stream:
        stream.write(line)
    return {}
