"""The svn strategy: a revision exported here; its files are sent as they are. Knows no host."""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from ..errors import BuildError, ConfigurationError
from . import command
from .commit import Commit, Exported

# svn asks nobody: who may read is in its own store of credentials, and never on a command line.
_SVN = ("svn", "--non-interactive")


def look_up(root: Path, revision: str) -> Commit:
    """What *revision* names of the working copy *root*: a number, ``HEAD``, or a path such as ``tags/v1``.

    Without one it is what is checked out (``BASE``), for which no server is asked.

    :raises ConfigurationError: there is no svn, no working copy, or no such revision.
    """
    command.assert_installed("svn")
    if not root.is_dir():
        raise ConfigurationError("is not a directory", where=f"deploy.source.path: {root}")
    if not _told(["."], "url", root):
        found = command.attempt([*_SVN, "info", "."], directory=root)
        raise ConfigurationError(
            "is no working copy of Subversion that can be read",
            where=f"deploy.source.path: {root}",
            output=command.said(found),
            hint="svn checkout, or set deploy.source.strategy: auto",
        )
    out = _checked_out(root)
    if revision in ("", out.id):
        return out
    place = _place(root, revision)
    number = _told(place, "last-changed-revision", root)
    if revision.startswith("-") or not number:
        found = command.attempt([*_SVN, "info", *place], directory=root)
        raise ConfigurationError(
            f"{revision!r} names no revision of {_told(['.'], 'url', root)}",
            where="--revision",
            output=command.said(found),
            hint="a number (123), HEAD, or a path of the repository (tags/v1); is the server in reach?",
        )
    # What a path names is pinned by its number, or it could change while it is deployed.
    if pinned := re.fullmatch(r"(?:r|.+@)?(\d+)", revision):
        number = pinned[1]
    url = place[-1].rpartition("@")[0]
    return Commit(
        "svn", root, "", f"{url}@{number}", f"r{number}", revision, _seconds(_told(place, "last-changed-date", root))
    )


def _checked_out(root: Path) -> Commit:
    """The working copy as it was checked out; after a commit without an update it is of several revisions (`4:5`)."""
    told = _version(root)
    number = told.rstrip("MSP")
    url, time = _told(["."], "url", root), _told(["."], "last-changed-date", root)
    return Commit("svn", root, "", f"{url}@{number}", f"r{number.rpartition(':')[2]}", "", _seconds(time))


def _version(root: Path) -> str:
    """What the working copy is: `4`, `4:5` where it is of several revisions, with letters where it was changed.

    :raises BuildError: svn cannot say; a name that is not UTF-8, which it cannot hold, is told.
    """
    result = command.attempt(["svnversion", "--no-newline", "."], directory=root)
    if result.returncode and (odd := _unspeakable(root)):
        raise BuildError(
            f"Subversion cannot hold the name {odd!r}, which is not UTF-8",
            where=str(root),
            hint="rename it, or set deploy.source.strategy: auto, which sends what lies there",
        )
    if result.returncode:
        raise BuildError(f"svnversion failed (exit {result.returncode})", where=str(root), output=command.said(result))
    return result.stdout.decode()


def _unspeakable(root: Path) -> bytes:
    """The first path below *root* that is not UTF-8; empty where all are."""
    for above, directories, names in os.walk(os.fsencode(root)):
        directories[:] = sorted(name for name in directories if name != b".svn")
        for name in sorted([*directories, *names]):
            try:
                name.decode()
            except UnicodeDecodeError:
                return os.path.relpath(above + b"/" + name, os.fsencode(root))
    return b""


def _place(root: Path, revision: str) -> list[str]:
    """The words that name *revision* for svn; the last is an address with a peg revision."""
    if re.fullmatch(r".+://.+@\d+", revision):  # the full name of a release's revision
        return [revision]
    if re.fullmatch(r"r?\d+|HEAD", revision):
        number = revision.removeprefix("r")
        return [f"--revision={number}", f"{_told(['.'], 'url', root)}@{number}"]
    path = quote(revision.removeprefix("^").strip("/"))
    return [f"{_told(['.'], 'repos-root-url', root)}/{path}@HEAD"]


def _told(words: list[str], item: str, root: Path) -> str:
    result = command.attempt([*_SVN, "info", "--no-newline", f"--show-item={item}", *words], directory=root)
    return result.stdout.decode().strip() if result.returncode == 0 else ""


def _seconds(moment: str) -> int:
    return int(datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp())


def is_checked_out(root: Path, commit: Commit) -> bool:
    """Whether what lies below *root* is *commit*, changes aside.

    A number names the whole repository at some time: it is the same tree as long as nothing in it was changed.
    """
    if not commit.asked:
        return True
    told = _version(root)
    if not told.rstrip("M").isdigit() or commit.id.rpartition("@")[0] != _told(["."], "url", root):
        return False
    last = "last-changed-revision"
    return _told([commit.id], last, root) == _told(["."], last, root)


def uncommitted(root: Path, commit: Commit) -> int:
    """How many files below *root* are not as they are in *commit*, if that is what is checked out; else 0."""
    if not is_checked_out(root, commit):
        return 0
    lines = command.run([*_SVN, "status", "--ignore-externals", "."], directory=root).splitlines()
    return sum(1 for line in lines if line[:1] in b"ACDMR?!~" and line.strip())


def assert_signed(commit: Commit) -> str:
    """:raises ConfigurationError: always; the configuration refuses it before."""
    raise ConfigurationError("Subversion knows no signatures", where="deploy.source.verify")


def export(commit: Commit, directory: Path) -> Exported:
    """Export the revision into *directory*.

    :raises BuildError: svn cannot, or there are externals.
    """
    where = ["."] if not commit.asked else [commit.id]
    base = ["--revision=BASE"] if not commit.asked else []
    told = command.run([*_SVN, "propget", "--recursive", "svn:externals", *base, *where], directory=commit.top)
    if told.strip():
        raise BuildError(
            f"{commit.label} has externals (svn:externals), which are no part of it",
            where=str(commit.top),
            output=told.decode(errors="replace"),
            hint="set deploy.source.strategy: auto, which sends what is checked out",
        )
    line = [*_SVN, "export", "--quiet", "--force", "--ignore-externals", *base, *where, str(directory)]
    command.run(line, directory=commit.top)
    return Exported(directory)


def keeps(path: Path, name: str) -> bool:
    """No host has a repository that could."""
    return False
