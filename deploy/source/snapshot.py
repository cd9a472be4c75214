"""A snapshot of the code: exactly what will travel, its digest, and its revision. Knows no host."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import BuildError, ConfigurationError
from ..hostside import tree
from ..hostside.failure import Failure
from . import ignoring, links, workingtree
from .commit import Commit
from .workingtree import WorkingTree

SHOWN = 10
"""Names that a message lists."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The code as it was looked at.

    :ivar root: the local directory.
    :ivar entries: everything that travels, sorted by path.
    :ivar digest: SHA-256 over the entries; the host computes the same over what arrived.
    :ivar revision: the commit in short, with ``-dirty`` where the tree has changes, or the digest in short.
    :ivar changes: the paths in which what travels differs from the commit, those that are gone included.
    :ivar doubt: why nothing is known of a commit, where there should be one.
    :ivar commit: what *root* was made of; None for a working tree.
    :ivar kept: the files that the repository of the commit keeps as they are.
    """

    root: Path
    entries: tuple[tree.Entry, ...]
    digest: str
    revision: str
    changes: tuple[str, ...] = ()
    doubt: str = ""
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


def take(
    root: Path,
    exclude: Sequence[str] = (),
    shared: Sequence[str] = (),
    built: Sequence[str] = (),
    *,
    gitignore: bool = False,
) -> Snapshot:
    """Look at the tree below *root*.

    :param exclude: patterns, as in a .gitignore, besides those of its .deployignore files.
    :param shared: paths that are links to shared things on the host, so whatever lies there stays behind.
    :param built: paths that travel whatever leaves them out: see :func:`deploy.source.outputs.below`.
    :param gitignore: leave behind what git ignores; outside of a repository what .gitignore files name.
    :raises ConfigurationError: *root* is no directory, or a pattern is none.
    :raises BuildError: something in it cannot travel or be read.
    """
    if not root.is_dir():
        raise ConfigurationError("is not a directory", where=f"deploy.source.path: {root}")
    known, doubt = _working_tree(root, gitignore)
    names = (".gitignore", ignoring.FILE) if gitignore and known is None else (ignoring.FILE,)
    rules = ignoring.Rules(root, exclude, shared, built, names)
    if known:
        rules.ignore(known.ignored)
    try:
        entries = _entries(root, _paths(root, rules, repositories=gitignore))
    except OSError as error:
        raise BuildError(f"cannot be read: {error.strerror}", where=str(error.filename)) from None
    _assert_inside(root, entries)
    digest = tree.digest(entries)
    if known is None or not known.commit:
        return Snapshot(root, entries, digest, digest[:7], doubt=doubt)
    changes = tuple(path for path in known.changed if not rules.leave_with_parents(path))
    return Snapshot(root, entries, digest, known.commit + ("-dirty" if changes else ""), changes)


def revision(root: Path) -> str:
    """The commit that *root* is a working tree of, before anybody looked at what travels; '' where it is none."""
    known, _ = _working_tree(root, False)
    if known is None or not known.commit:
        return ""
    return known.commit + ("-dirty" if known.changed else "")


def _working_tree(root: Path, gitignore: bool) -> tuple[WorkingTree | None, str]:
    """What git says, and why it says nothing where it should."""
    try:
        return workingtree.look(root, ignored=gitignore), ""
    except BuildError as error:
        if gitignore:
            raise
        return None, error.what


def _entries(root: Path, paths: Iterator[str]) -> tuple[tree.Entry, ...]:
    entries, refused = [], []
    for path in paths:
        try:
            entries.append(tree.entry(str(root), path))
        except Failure as failure:
            refused.append(failure.what)
    if refused:
        raise BuildError(
            f"it has what cannot travel: {listed(refused)}",
            where=str(root),
            hint=f"remove it, or name it in {ignoring.FILE} or deploy.source.exclude",
        )
    return tuple(sorted(entries))


def _assert_inside(root: Path, entries: Sequence[tree.Entry]) -> None:
    leaving = [f"{shown(item.path)} -> {shown(item.value)}" for item in links.leaving(entries)]
    if leaving:
        raise BuildError(
            f"links leave the tree, and would point at something else on a host: {listed(leaving)}",
            where=str(root),
            hint="make them relative links within the tree, put what they point at in their place, name them in "
            f"deploy.shared where they belong to the host, or in {ignoring.FILE} or deploy.source.exclude",
        )


def shown(path: str) -> str:
    """A path for a message: as it is, unless it would do something to the terminal."""
    return path if path.isprintable() else ascii(path)


def listed(names: Sequence[str]) -> str:
    """Some of the names, and how many there are besides."""
    more = [f"and {len(names) - SHOWN} more"] if len(names) > SHOWN else []
    return ", ".join([*names[:SHOWN], *more])


def files(count: int) -> str:
    """``1 file``, ``3 files``."""
    return f"{count} file" if count == 1 else f"{count} files"


def _paths(root: Path, rules: ignoring.Rules, *, repositories: bool) -> Iterator[str]:
    """What does not stay behind.

    :param repositories: ask repositories within the tree, such as submodules, what they ignore.
    """
    for directory, names, others in os.walk(root, onerror=_raise):
        prefix = os.path.relpath(directory, root)
        start = "" if prefix == "." else f"{prefix}/"
        rules.enter(start.rstrip("/"), others)
        if repositories and start and ".git" in names + others:
            inner = workingtree.look(Path(directory), ignored=True)
            rules.ignore(start + path for path in (inner.ignored if inner else ()))
        kept = []
        for name in names:
            path = start + name
            link = (Path(directory) / name).is_symlink()
            if not rules.leave(path, directory=not link):
                kept.append(name)
                yield path
        names[:] = kept
        for name in others:
            if not rules.leave(start + name, directory=False):
                yield start + name


def _raise(error: OSError) -> None:
    raise error
