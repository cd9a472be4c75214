"""Counts its runs in shared/, and fails where the version says so."""

import os
import sys
from pathlib import Path

import markupsafe  # the venv is first on PATH, so this resolves

assert os.environ["SECRET"], markupsafe
log = Path("data/migrations")
log.open("a").write(Path("version.txt").read_text())
if "unmigratable" in Path("version.txt").read_text():
    sys.exit("no such column: guestbook_entry.colour")
