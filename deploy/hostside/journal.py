"""`.deploy/journal.jsonl`: who deployed what, when, and how it ended; one line each, only ever appended to."""

from __future__ import annotations

import json
import os
from typing import Any

from .layout import Layout
from .releases import now


def append(layout: Layout, entry: dict[str, Any]) -> dict[str, Any]:
    """Add one line; O_APPEND keeps lines of two writers whole."""
    line = json.dumps({"time": now(), **entry}, sort_keys=True) + "\n"
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
    descriptor = os.open(layout.path(".deploy", "journal.jsonl"), flags, 0o644)
    with open(descriptor, "w", encoding="utf-8") as stream:
        stream.write(line)
    return {}
