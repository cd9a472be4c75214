"""A snapshot of the code: exactly what will travel, its digest, and its revision. Knows no host."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pathspec import GitIgnoreSpec

from ..errors import BuildError, ConfigurationError
from ..hostside import tree
from ..hostside.failure import Failure
from .commit import Commit

# Never part of a release: what belongs to version control, to this machine, or is a secret.
NEVER = (
    ".git", ".hg", ".hgtags", ".svn", ".bzr", "CVS", "_darcs", ".jj",
    ".venv", "__pycache__", "*.pyc", "*.pyo", ".env", ".DS_Store", ".release.json",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The code as it was looked at.

    :ivar root: the local directory.
    :ivar entries: everything that travels, sorted by path.
    :ivar digest: SHA-256 over the entries; the host computes the same over what arrived.
    :ivar revision: the commit in short, with ``-dirty`` where the tree has changes, or the digest in short.
    :ivar commit: what *root* was made of; None for a working tree.
    :ivar kept: the files that the repository of the commit keeps as they are.
    """

    root: Path
    entries: tuple[tree.Entry, ...]
    digest: str
    revision: str
    commit: Commit | None = None
    kept: frozenset[str] = frozenset()

    @property
    def short(self) -> str:
        """For the release's name: letters and digits only."""
        return self.revision.partition("-")[0]

    @property
    def size(self) -> int:
        """Bytes in all files."""
        return sum((self.root / item.path).lstat().st_size for item in self.entries if item.kind in "fx")


def take(root: Path, exclude: Sequence[str] = (), shared: Sequence[str] = (), built: Sequence[str] = ()) -> Snapshot:
    """Look at the tree below *root*.

    :param exclude: patterns, as in a .gitignore.
    :param shared: paths that are links to shared things on the host, so whatever lies there stays behind.
    :param built: paths that travel although a pattern excludes them: see :func:`deploy.source.outputs.below`.
    :raises ConfigurationError: *root* is no directory, or a pattern is none.
    :raises BuildError: something in it cannot travel or be read.
    """
    if not root.is_dir():
        raise ConfigurationError("is not a directory", where=f"deploy.source.path: {root}")
    # Of two patterns the last one counts, so what never goes cannot be called back by a "!".
    patterns = GitIgnoreSpec.from_lines([*map(_valid, exclude), *NEVER])
    try:
        paths = {*_paths(root, patterns, frozenset(shared)), *_may_travel(built, frozenset(shared))}
        entries = tuple(sorted(tree.entry(str(root), path) for path in paths))
    except Failure as failure:
        raise BuildError(failure.what, where=str(root), hint=failure.hint) from None
    except OSError as error:
        raise BuildError(f"cannot be read: {error.strerror}", where=str(error.filename)) from None
    digest = tree.digest(entries)
    return Snapshot(root, entries, digest, revision(root) or digest[:7])


def _valid(pattern: str) -> str:
    try:
        GitIgnoreSpec.from_lines([pattern])
    except (ValueError, re.error):
        raise ConfigurationError(f"{pattern!r} is no pattern of a .gitignore", where="deploy.source.exclude") from None
    return pattern


def _paths(root: Path, patterns: GitIgnoreSpec, shared: frozenset[str]) -> Iterator[str]:
    for directory, names, files in os.walk(root, onerror=_raise):
        prefix = os.path.relpath(directory, root)
        start = "" if prefix == "." else f"{prefix}/"
        kept = []
        for name in names:
            path = start + name
            link = (Path(directory) / name).is_symlink()
            if path not in shared and not patterns.match_file(path if link else path + "/"):
                kept.append(name)
                yield path
        names[:] = kept
        for name in files:
            if start + name not in shared and not patterns.match_file(start + name):
                yield start + name


def _may_travel(built: Sequence[str], shared: frozenset[str]) -> Iterator[str]:
    never = GitIgnoreSpec.from_lines(NEVER)
    for path in built:
        above = (path, *map(str, PurePosixPath(path).parents))
        if not shared.intersection(above) and not any(never.match_file(each) for each in above[:-1]):
            yield path


def _raise(error: OSError) -> None:
    raise error


def revision(root: Path) -> str:
    """The commit that *root* is a working tree of, '' where it is none."""
    commit = _git(root, "rev-parse", "--short=7", "HEAD")
    # A directory that its repository ignores has nothing to do with the commit.
    if not commit or _git(root, "check-ignore", "."):
        return ""
    dirty = _git(root, "status", "--porcelain", "--untracked-files=normal", "--", ".")
    return f"{commit}-dirty" if dirty else commit


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""
