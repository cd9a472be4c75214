"""What lies in a directory, told the same way of the source here and of a release on a host, so that they compare.

Standard library only, Python 3.9: it is run on hosts, too.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple


class Thing(NamedTuple):
    """*kind* is ``file``, ``directory``, ``link`` or what else it is; *value* a file's SHA-256 or a link's target."""

    kind: str
    mode: int
    value: str


Tree = dict[str, Thing]


def look(root: str, leave: Collection[str] = ()) -> Tree:
    """Everything below *root*, but for what has one of the names *leave* at its top."""
    found = {}
    for directory, names, files in os.walk(root):
        if directory == root:
            names[:] = [name for name in names if name not in leave]
            files = [name for name in files if name not in leave]
        for name in names + files:
            path = os.path.join(directory, name)
            found[os.path.relpath(path, root)] = _thing(path)
    return found


def _thing(path: str) -> Thing:
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        return Thing("link", 0, os.readlink(path))
    if stat.S_ISREG(mode):
        digest = hashlib.sha256()
        with open(path, "rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
        return Thing("file", stat.S_IMODE(mode), digest.hexdigest())
    return Thing("directory" if stat.S_ISDIR(mode) else oct(mode), stat.S_IMODE(mode), "")


def of_release(machine: Any, release: str) -> Tree:
    """A release on a host, but for what every release gets: its venv, its record and the links to shared things."""
    said = machine.run(f"exec python3 - {release}/.", input=Path(__file__).read_text()).stdout
    tree = {path: Thing(*thing) for path, thing in json.loads(said).items()}
    for path, target in ((".env", "../../shared/.env"), ("data", "../../shared/data")):
        assert tree.pop(path) == Thing("link", 0, target)
    return tree


def of_source(directory: Path, leave: Collection[str]) -> Tree:
    """What a release of *directory* has to be: what its owner may enter or execute is 0755, the rest 0644."""
    return {
        path: thing if thing.kind == "link" else thing._replace(mode=_released(thing))
        for path, thing in look(str(directory), leave).items()
    }


def _released(thing: Thing) -> int:
    return 0o755 if thing.kind == "directory" or thing.mode & stat.S_IXUSR else 0o644


def differences(one: Tree, other: Tree) -> list[str]:
    """The paths that are not the same in both, and how."""
    paths = sorted(one.keys() | other.keys())
    return [f"{path!r}: {one.get(path)} {other.get(path)}" for path in paths if one.get(path) != other.get(path)]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(look(sys.argv[1], (".venv", ".release.json"))))
