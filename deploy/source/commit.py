"""A commit: what a release is made of where version control says so. Runs no command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..host.connection import Host


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit of a local repository.

    :ivar kind: ``git``, ``hg`` or ``svn``.
    :ivar top: the top of the working copy.
    :ivar prefix: the part of it that is deployed, relative to the top; '' for all of it.
    :ivar id: its full name.
    :ivar short: its name for people and for the release.
    :ivar asked: the tag, branch or revision that was asked for; '' for what is checked out.
    :ivar time: when it was made, in seconds since 1970.
    """

    kind: str
    top: Path
    prefix: str
    id: str
    short: str
    asked: str
    time: int

    @property
    def label(self) -> str:
        """What people are told: the short name, and what was asked for where that is another one."""
        return f"{self.short} ({self.asked})" if self.asked and not self.id.startswith(self.asked) else self.short


@dataclass(frozen=True, slots=True)
class Exported:
    """The files of a commit, laid out in a directory.

    :ivar directory: holds the tree of the whole repository.
    :ivar kept: by path, what the repository calls the content that it keeps; it keeps none of submodules.
    :ivar lacking: by path, why something is not there as it ought to be; an error only where it is to travel.
    """

    directory: Path
    kept: Mapping[str, str] = field(default_factory=dict)
    lacking: Mapping[str, str] = field(default_factory=dict)


class Versions(Protocol):
    """What a version control does on this machine: the modules `git`, `hg` and `svn`."""

    def look_up(self, root: Path, revision: str) -> Commit: ...
    def is_checked_out(self, root: Path, commit: Commit) -> bool: ...
    def uncommitted(self, root: Path, commit: Commit) -> int: ...
    def assert_signed(self, commit: Commit) -> str: ...
    def export(self, commit: Commit, directory: Path) -> Exported: ...
    def keeps(self, path: Path, name: str) -> bool: ...


class Carrier(Protocol):
    """What brings a commit into a repository on a host: the modules `git` and `hg`."""

    def form(self, commit: Commit) -> str: ...
    def send(self, host: Host, commit: Commit, path: str, identifier: str, tool: str) -> int: ...
