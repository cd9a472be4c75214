"""Which virtual environments there are, and which wheels of the store they hold links into."""

from __future__ import annotations

import os
import stat

from . import disk, looking

MARKER = ".venv.json"


def path(base: str, name: str) -> str:
    return os.path.join(base, "venvs", name)


def exists(base: str, name: str) -> bool:
    """Whether the venv is there and complete.

    :raises OSError: that cannot be looked at.
    """
    return (
        looking.is_directory(path(base, name)) and looking.kind(os.path.join(path(base, name), MARKER)) == stat.S_IFREG
    )


def holders(base: str, sha256: str) -> list[str]:
    """The venvs that hold links into a stored wheel."""
    return [name for name, wheels in _inventory(base).items() if sha256 in wheels]


def _inventory(base: str) -> dict[str, list[str]]:
    found = {}
    for name in disk.finished(os.path.join(base, "venvs")):
        document = disk.read_json(os.path.join(path(base, name), MARKER), "Venv")
        if document is not None:
            found[name] = document["wheels"]
    return found


def unused(base: str, keep: set[str]) -> list[str]:
    """The venvs that are not in *keep*."""
    return [name for name in disk.finished(os.path.join(base, "venvs")) if name not in keep]


def unused_wheels(base: str) -> list[str]:
    """The wheels in the store that no venv holds."""
    held = {sha256 for wheels in _inventory(base).values() for sha256 in wheels}
    return [sha256 for sha256 in disk.finished(os.path.join(base, "wheels")) if sha256 not in held]
