"""What the commands of ``build`` make, as far as it is there: it travels whatever leaves it out of the source."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..config import Settings


def outputs(settings: Settings) -> list[str]:
    """What ``build`` names as outputs, each once: files, directories and globs, relative to the fabfile.

    Every strategy has to take them along, those that push a commit too: what :func:`below` finds of them is laid over
    the exported tree. They are made anew by each run, so this is to be asked after the commands have run.
    """
    return list(dict.fromkeys(path for build in settings.build for path in build.outputs))


def below(root: Path, directory: Path, patterns: Sequence[str]) -> list[str]:
    """What *patterns* match below *root*: paths relative to it, directories with all that is in them, sorted.

    :param root: the source.
    :param directory: the fabfile's, where the patterns start.
    """
    found: set[str] = set()
    start, source = directory.resolve(), root.resolve()
    for path in expanded(start, patterns):
        # Not resolved: a link is part of a release as a link.
        inner = Path(os.path.relpath(start / path, source))
        if inner.parts and inner.parts[0] != ".." and not any((source / above).is_symlink() for above in inner.parents):
            found.update(map(str, (inner, *inner.parents[:-1])))
    return sorted(found)


def lay_over(root: Path, tree: Path, paths: Iterable[str]) -> None:
    """Copy *paths* of the source into *tree*, an exported commit of it; what is made counts, not what was committed."""
    for path in paths:
        source, target = root / path, tree / path
        directory = source.is_dir() and not source.is_symlink()
        if not directory or target.is_symlink() or target.is_file():
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
        if directory:
            target.mkdir(parents=True, exist_ok=True)
        elif source.is_symlink() or source.is_file():
            shutil.copy2(source, target, follow_symlinks=False)


def expanded(directory: Path, patterns: Iterable[str]) -> set[str]:
    """All paths that *patterns* match, relative to *directory*; of a directory, all that is in it."""
    found: set[str] = set()
    for pattern in patterns:
        for path in matches(directory, pattern):
            found.add(path)
            if (directory / path).is_dir() and not (directory / path).is_symlink():
                for above, names, files in os.walk(directory / path):
                    found.update(os.path.relpath(Path(above) / name, directory) for name in names + files)
    return found


def matches(directory: Path, pattern: str) -> list[str]:
    """The paths that one pattern names, relative to *directory*; a name that is there is no glob, whatever is in it."""
    if os.path.lexists(directory / pattern):
        return [os.path.normpath(pattern)]
    # Not Path.glob(), which passes over hidden files before Python 3.13 and knows no "..".
    found = glob.glob(pattern, root_dir=directory, recursive=True, include_hidden=True)  # noqa: PTH207
    return [os.path.normpath(path) for path in found if os.path.lexists(directory / path)]  # `no/**` gives `no/`
