"""The Pythons of this machine, by version."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import cache
from typing import Any


@cache
def find(python: str) -> str | None:
    """An interpreter of that major and minor version: the one that runs us, or ``pythonX.Y`` on PATH."""
    own = str(getattr(sys, "_base_executable", sys.executable))
    if python == f"{sys.version_info.major}.{sys.version_info.minor}":
        return own
    found = shutil.which(f"python{python}")
    # The name may be a version manager's, which answers only for versions that are switched on.
    return found if found and ask(found, "'%d.%d' % sys.version_info[:2]") == python else None


def ask(python: str, expression: str) -> Any:
    """What an interpreter says to *expression*; None where it does not start."""
    program = f"import json, sys, sysconfig; print(json.dumps({expression}))"
    command = [python, "-I", "-c", program]
    said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return json.loads(said.stdout) if said.returncode == 0 else None
