"""What git says of a directory: the commit, what was changed since, and what it ignores. Reads; changes nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import BuildError

TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class WorkingTree:
    """A directory that belongs to a git repository.

    :ivar commit: in short; '' where there is none yet.
    :ivar changed: paths that differ from the commit or are unknown to it, those that are gone included.
    :ivar ignored: paths that git ignores; of a directory that is ignored as a whole only its own.
    """

    commit: str
    changed: tuple[str, ...]
    ignored: frozenset[str]


def look(root: Path, *, ignored: bool = False) -> WorkingTree | None:
    """Ask git about *root*; None where it is no working tree, or one whose repository ignores it.

    :param ignored: whether to ask for what is ignored, too.
    :raises BuildError: there is a repository, and git cannot or will not read it.
    """
    if not _has_repository(root):
        return None
    if "not a git repository" in _ask(root, "rev-parse").stderr:
        return None
    prefix = _said(root, "rev-parse", "--show-prefix").rstrip("\n")
    if prefix and _ask(root, "check-ignore", "-q", ".").returncode == 0:
        return None
    commit = _ask(root, "rev-parse", "--short=7", "--verify", "-q", "HEAD").stdout.strip()
    wanted = ["--ignored=matching"] if ignored else []
    said = _said(root, "status", "--porcelain=v1", "-z", "--untracked-files=all", *wanted, "--", ".")
    changes, left = [], set()
    for code, path in _status(said):
        path = path.removeprefix(prefix).rstrip("/")
        if code == "!!":
            left.add(path)
        else:
            changes.append(path)
    return WorkingTree(commit, tuple(sorted(changes)), frozenset(left))


def _has_repository(root: Path) -> bool:
    resolved = root.resolve()
    return any((directory / ".git").exists() for directory in (resolved, *resolved.parents))


def _status(said: str) -> Iterator[tuple[str, str]]:
    """The two letters and the path of each entry of ``git status --porcelain=v1 -z``."""
    fields = iter(said.split("\0"))
    for field in fields:
        if field:
            yield field[:2], field[3:]
            if field[0] in "RC":
                next(fields)  # where it was before


def _said(root: Path, *arguments: str) -> str:
    result = _ask(root, *arguments)
    if result.returncode:
        words = result.stderr.strip().splitlines() or [f"git ended with {result.returncode}"]
        raise BuildError(
            f"git does not read its repository: {words[0].removeprefix('fatal: ')}",
            where=str(root),
            hint="\n".join(line.strip() for line in words[1:] if line.strip()),
        )
    return result.stdout


def _ask(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Names are bytes; and a git that only looks shall not write its index meanwhile.
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        return subprocess.run(
            command,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise BuildError("there is a git repository, and no git on this machine", where=str(root)) from None
    except subprocess.TimeoutExpired:
        raise BuildError(f"git took longer than {TIMEOUT_S} s: git {arguments[0]}", where=str(root)) from None
