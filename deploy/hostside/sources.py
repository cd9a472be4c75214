"""The Python files of a release, and what each of them imports; a file that was read before is not read again."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from . import disk, statements, tree, workers
from .statements import Found, Import

LARGEST = 4 << 20
"""Bytes; a larger file is data, and would take minutes and gigabytes to parse."""

AT_ONCE = 40
"""Files that one task reads."""

# What runs where one develops, not on a server, and imports what is installed there.
_DEVELOPMENT = re.compile(r"(fabfile|setup|conftest|noxfile|tests|test_.*|.*_test)\.py")
_SKIPPED = {"node_modules", "__pycache__", "tests", "test"}
_SKIPPED_AT_TOP = {"docs", "fabfile"}


def paths(release: str) -> Iterator[str]:
    """The files that are looked at, relative to *release*; links are not followed."""
    for directory, names, files in os.walk(release):
        prefix = os.path.relpath(directory, release)
        start = "" if prefix == "." else prefix + "/"
        skipped = _SKIPPED if start else _SKIPPED | _SKIPPED_AT_TOP
        names[:] = sorted(name for name in names if name not in skipped)
        for name in sorted(files):
            if name.endswith(".py") and not _DEVELOPMENT.fullmatch(name):
                yield start + name


def read_all(release: str, remembered: dict[str, Any]) -> tuple[dict[str, Found], dict[str, Any]]:
    """What each file says, by its path.

    :param remembered: what this function returned as its second value before.
    """
    keys: dict[str, str] = {}
    for path in paths(release):
        entry = tree.entry(release, path)
        if entry.kind != "l":
            # The same content may be a package's and a module's.
            keys[path] = ("package " if _is_package(path) else "") + entry.value
    unread = [path for path, key in keys.items() if key not in remembered]
    tasks = [[release, unread[start : start + AT_ONCE]] for start in range(0, len(unread), AT_ONCE)]
    fresh = {keys[path]: found for share in workers.map_all("read", read, tasks) for path, found in share}
    known = {key: fresh.get(key) or remembered[key] for key in keys.values()}
    return {path: _found(known[key]) for path, key in keys.items()}, known


def read(release: str, share: list[str]) -> list[Any]:
    """What some files say, as JSON knows it: ``[path, [imports, binds, problem]]`` each."""
    said: list[Any] = []
    for path in share:
        workers.stop_if_orphaned()
        full = os.path.join(release, path)
        if os.path.getsize(full) > LARGEST:
            said.append([path, [[], None, f"1: it has more than {LARGEST >> 20} MiB"]])
            continue
        with open(disk.open_file(full), "rb") as stream:
            content = stream.read()
        found = statements.read_package(content) if _is_package(path) else statements.read(content)
        said.append([path, list(found)])
    return said


def _found(value: Any) -> Found:
    imports, binds, problem = value
    return Found([Import(*each) for each in imports], binds, problem)


def _is_package(path: str) -> bool:
    return path.rpartition("/")[2] == "__init__.py"
