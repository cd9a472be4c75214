"""The Pythons of this machine, by version."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

# Where pyenv and uv keep theirs, under the user's home; a name on PATH answers only for the version switched on.
_KEPT = (
    ".pyenv/versions/{python}.*/bin/python{python}",
    ".local/share/uv/python/cpython-{python}.*/bin/python{python}",
)


@cache
def find(python: str) -> str | None:
    """An interpreter of that major and minor version: the one that runs us, on PATH, or of pyenv or uv."""
    own = str(getattr(sys, "_base_executable", sys.executable))
    if python == f"{sys.version_info.major}.{sys.version_info.minor}":
        return own
    found = [shutil.which(f"python{python}"), *map(str, _kept(python))]
    return next((path for path in found if path and ask(path, "'%d.%d' % sys.version_info[:2]") == python), None)


def _kept(python: str) -> list[Path]:
    """The newest first."""
    paths = [path for pattern in _KEPT for path in Path.home().glob(pattern.format(python=python))]
    return sorted(paths, key=lambda path: [int(part) for part in re.findall(r"\d+", path.parts[-3])], reverse=True)


def ask(python: str, expression: str) -> Any:
    """What an interpreter says to *expression*; None where it does not start."""
    program = f"import json, sys, sysconfig; print(json.dumps({expression}))"
    command = [python, "-I", "-c", program]
    said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return json.loads(said.stdout) if said.returncode == 0 else None
