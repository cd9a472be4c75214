"""Run one command of the user's in a release: its directory, its venv first on PATH, its `.env` loaded.

    python3 hostside.pyz run BASE RELEASE COMMAND

This is what a person copies into a terminal, to see again what a deploy ran by :mod:`commands`.
"""

from __future__ import annotations

import os
import sys

from . import commands, dotenv
from .layout import Layout
from .sharedpaths import ENVIRONMENT


def run(base: str, identifier: str, command: str) -> None:
    """Become ``sh -c command`` in the release. Never returns."""
    layout = Layout(base)
    release = layout.release(identifier)
    os.umask(0o022)
    os.chdir(release)
    known = dotenv.read(os.path.join(release, ENVIRONMENT)).values
    sys.stdout.flush()
    os.execve("/bin/sh", ["sh", "-c", command], commands.environment(layout, identifier, known))
