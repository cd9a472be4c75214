"""Whether a command of ``build`` has to run: what it reads and makes, compared with how its last good run left them.

What is remembered lies in the user's cache folder, not in the tree: a fresh clone builds once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from ..config import Build
from ..errors import BuildError
from ..hostside import tree
from . import outputs

KEPT = 100
"""How many commands of a project are remembered."""

# They change without anything having changed.
_NO_INPUTS = {".git", ".hg", ".svn", "__pycache__"}


@dataclass(frozen=True, slots=True)
class Look:
    """What a command reads and makes, as it lies there now.

    :ivar inputs: one digest of all that the inputs match, '' where some match nothing.
    :ivar outputs: one digest of all that the outputs match, '' where some match nothing.
    """

    inputs: str
    outputs: str


def look(directory: Path, build: Build) -> Look:
    """Read everything that *build* names; what it makes is no input of it.

    :raises BuildError: something cannot be read.
    """
    made = outputs.expanded(directory, build.outputs)
    read = {
        path
        for path in outputs.expanded(directory, build.inputs) - made
        if not _NO_INPUTS.intersection(Path(path).parts)
    }
    return Look(
        "" if lacking(directory, build.inputs) else _digest(directory, read),
        "" if lacking(directory, build.outputs) else _digest(directory, made),
    )


def lacking(directory: Path, patterns: Iterable[str]) -> list[str]:
    """The patterns that match nothing."""
    return [pattern for pattern in patterns if not outputs.matches(directory, pattern)]


def _digest(directory: Path, paths: Iterable[str]) -> str:
    try:
        return tree.digest(entry for path in paths if (entry := _entry(directory, path)))
    except OSError as error:
        raise BuildError(f"cannot be read: {error.strerror}", where=str(error.filename)) from None


def _entry(directory: Path, path: str) -> tree.Entry | None:
    """Always read: a build may keep the time and the size of what it changes."""
    full = directory / path
    try:
        mode = full.lstat().st_mode
        if stat.S_ISLNK(mode):
            return tree.Entry(path, "l", os.readlink(full))  # noqa: PTH115 - as text, not as a path
        if stat.S_ISREG(mode):
            return tree.Entry(path, "x" if mode & stat.S_IXUSR else "f", tree.file_digest(str(full)))
    except FileNotFoundError:
        return None
    # Its content is told by the entries below it; sockets and the like have none.
    return tree.Entry(path, "d", "")


class Memory:
    """How the last good run of one command left its inputs and outputs.

    :param folder: the project's, in the cache.
    :param stage: a command is told it, so each stage has a run of its own.
    """

    def __init__(self, folder: Path, stage: str, build: Build) -> None:
        told = [stage, build.command, build.inputs, build.outputs]
        self._file = folder / f"{hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]}.json"

    def is_fresh(self, found: Look) -> bool:
        """Whether nothing changed since."""
        try:
            known = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return bool(found.inputs and found.outputs) and known == asdict(found)

    def forget(self) -> None:
        """Before it runs: one that is killed in the middle must not be taken for done."""
        self._file.unlink(missing_ok=True)

    def remember(self, found: Look) -> None:
        """After it went well."""
        partial = self._file.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(asdict(found)), encoding="utf-8")
        partial.replace(self._file)
        keep_newest(self._file.parent, "*.json", KEPT)


def keep_newest(folder: Path, pattern: str, count: int) -> None:
    """Remove all but the newest *count* files; two runs may do so at once."""
    dated = []
    for path in folder.glob(pattern):
        with contextlib.suppress(FileNotFoundError):
            dated.append((path.stat().st_mtime_ns, path))
    for _, path in sorted(dated)[:-count]:
        path.unlink(missing_ok=True)
