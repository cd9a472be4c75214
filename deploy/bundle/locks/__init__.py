"""Lock files, whatever their format: what they pin for a target. Opens no connection."""

from __future__ import annotations

from pathlib import Path

from . import exported, pylock, requirements
from .direct import project_name
from .model import File, Git, LockFile, Pin, Terms, Tree

__all__ = ["File", "Git", "LockFile", "Pin", "Terms", "Tree", "project_name", "read"]


def read(path: Path, terms: Terms, cache: Path) -> LockFile:
    """Read a lock file; its name says its format.

    :param cache: where what another tool's exporter wrote is kept, so that it runs once for a lock file.
    :raises ConfigurationError: there is no such file, or it needs a tool that is not installed.
    :raises BuildError: naming every requirement that has no pin or no hash.
    """
    if path.name in exported.EXPORTERS:
        return exported.read(path, terms, cache)
    if path.suffix == ".toml":
        return pylock.read(path, terms)
    return requirements.read(path, terms)
