"""What stays behind: patterns of ignore files and of the configuration. Knows no git; who does hands over its paths."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pathspec import GitIgnoreSpec

from ..errors import ConfigurationError

FILE = ".deployignore"

# Never part of a release: what belongs to version control, to this machine, or is a secret.
NEVER = (
    ".git", ".hg", ".hgtags", ".svn", ".bzr", "CVS", "_darcs", ".jj",
    ".venv", "__pycache__", "*.pyc", "*.pyo", ".env", ".DS_Store", ".release.json",
)  # fmt: skip


class Rules:
    """Which paths below *root* stay behind. Directories are to be asked about before what is in them.

    Of several rules the last one counts: what git ignores or ``.gitignore`` files say, then ``.deployignore`` files,
    then the configuration; files in deeper directories after those above them. What was built travels nevertheless.
    What never goes cannot be called back.

    :param exclude: the patterns of the configuration.
    :param shared: paths that are links to shared things on the host, so whatever lies there stays behind.
    :param built: paths that travel whatever rule leaves them out, with the directories above them.
    :param files: the names of ignore files, in the order in which they count.
    :raises ConfigurationError: a pattern is none.
    """

    def __init__(
        self,
        root: Path,
        exclude: Sequence[str] = (),
        shared: Iterable[str] = (),
        built: Iterable[str] = (),
        files: Sequence[str] = (FILE,),
    ) -> None:
        self._root = root
        self._shared = frozenset(shared)
        self._built = frozenset(built)
        self._never = GitIgnoreSpec.from_lines(NEVER)
        self._configured = GitIgnoreSpec.from_lines([_valid(line, "deploy.source.exclude") for line in exclude])
        self._names = files
        self._read: dict[str, dict[str, GitIgnoreSpec]] = {name: {} for name in files}
        self._ignored: set[str] = set()

    def enter(self, directory: str, names: Iterable[str]) -> None:
        """Read the ignore files of *directory* ('' for the root), where *names* has some."""
        for name in self._names:
            if name in names:
                path = f"{directory}/{name}" if directory else name
                self._read[name][directory] = _patterns(self._root / path, path)

    def ignore(self, paths: Iterable[str]) -> None:
        """These are ignored, unless an ignore file or the configuration calls them back."""
        self._ignored.update(paths)

    def leave(self, path: str, *, directory: bool) -> bool:
        """Whether *path* stays behind."""
        asked = path + "/" if directory else path
        if path in self._shared or self._never.match_file(asked):
            return True
        if path in self._built:
            return False
        said = self._configured.check_file(asked).include
        for name in reversed(self._names):
            if said is None and self._read[name]:
                said = _deepest(self._read[name], path, asked)
        return self._is_ignored(path) if said is None else said

    def _is_ignored(self, path: str) -> bool:
        # A directory that is ignored as a whole may have been entered for what was built in it.
        return not self._ignored.isdisjoint((path, *_above(path)))

    def leave_with_parents(self, path: str) -> bool:
        """Whether *path*, which may be gone by now, stays behind because of itself or of a directory above it."""
        return self.leave(path, directory=False) or any(self.leave(each, directory=True) for each in _above(path))


def _above(path: str) -> list[str]:
    """The directories that *path* lies in, but for the root."""
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def _deepest(specs: dict[str, GitIgnoreSpec], path: str, asked: str) -> bool | None:
    """What the ignore file nearest to *path* says that says anything."""
    directory = path
    while directory:
        directory = directory.rpartition("/")[0]
        if directory in specs:
            relative = asked[len(directory) + 1 :] if directory else asked
            said = specs[directory].check_file(relative).include
            if said is not None:
                return said
    return None


def _patterns(path: Path, name: str) -> GitIgnoreSpec:
    # Names in it may be bytes of any kind, as names of files are; git does not mind an editor's BOM or CR either.
    lines = os.fsdecode(path.read_bytes().removeprefix(b"\xef\xbb\xbf")).split("\n")
    return GitIgnoreSpec.from_lines(
        [_valid(line.removesuffix("\r"), f"{name}:{number}") for number, line in enumerate(lines, 1)]
    )


def _valid(pattern: str, where: str) -> str:
    try:
        GitIgnoreSpec.from_lines([pattern])
    except (ValueError, re.error):
        raise ConfigurationError(f"{pattern!r} is no pattern of a .gitignore", where=where) from None
    return pattern
