"""The steps of the host program: each change of what is durable, told by the interpreter just before it happens.

The program knows nothing of it: Python raises an audit event (PEP 578) for every rename, link, directory, removal,
change of mode, and file that is opened to be written. So a step that is new is a step here, and nobody has to name it.
Standard library only, Python 3.9: this file is copied to hosts, too.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

# Event → where its paths are among the arguments, and where the directory descriptors that they are relative to.
EVENTS: dict[str, tuple[tuple[int, int], ...]] = {
    "os.mkdir": ((0, 2),),
    "os.rename": ((0, 2), (1, 3)),
    "os.link": ((0, 2), (1, 3)),
    "os.symlink": ((1, 2),),
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),),
    "os.utime": ((0, 3),),
    "os.truncate": ((0, -1),),
    "os.setxattr": ((0, -1),),
    "open": ((0, -1),),
}
NEW = "new"
READING = ("read", "list", "stat", "readlink")
"""The verbs of calls that change nothing; :func:`watch` does not tell of them, :mod:`failing` does."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Step(NamedTuple):
    """A change that is about to happen.

    *verb* is the call (``rename``, ``mkdir``, ``write``...); *paths* are absolute; *detail* is the target of a
    symbolic link, or ``append`` where a file is opened to be added to.
    """

    verb: str
    paths: tuple[str, ...]
    detail: str = ""

    def name(self, base: str) -> str:
        """In words that are the same in every deploy: no identifier, hash or process in it, and trees in one word."""
        return f"{self.verb} {' to '.join(_place(path, base) for path in self.paths)}"


def _place(path: str, base: str) -> str:
    parts = os.path.relpath(path, base).split("/")
    told = []
    for part in parts[:2]:
        part = re.sub(r"\d{8}T\d{6}Z-\w+", "RELEASE", part)
        part = re.sub(r"[0-9a-f]{32,}", "HASH", part)
        told.append(re.sub(r"\.\d+$|(?<=\.partial-)\w{8}$|\.[0-9a-f]{8}(?=\.gone$)", "", part))
    if parts[2:] in (["wheel.json"], [".venv.json"], [".release.json"], [".venv"]):
        told.append(parts[2])
    elif parts[2:]:
        told.append("…")
    return "/".join(told)


def watch(base: str, reached: Callable[[Step], None]) -> None:
    """From now on, in this process and in all that are forked from it, call *reached* before each step below *base*.

    What it raises is what the step raises. It cannot be undone.
    """
    inside = base.rstrip("/") + "/"
    busy = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal busy
        wanted = EVENTS.get(event)
        if wanted is None or busy or (event == "open" and not _writes(arguments)):
            return
        busy = True  # what is done here raises events of its own
        try:
            paths = tuple(_path(arguments[path], arguments[folder] if folder >= 0 else -1) for path, folder in wanted)
            if any(path == base or path.startswith(inside) for path in paths):
                verb = "write" if event == "open" else event.partition(".")[2]
                detail = os.fsdecode(arguments[0]) if event == "os.symlink" else ""
                if event == "open" and not arguments[2] & os.O_TRUNC:
                    detail = "append"
                reached(Step(verb, paths, detail))
        finally:
            busy = False

    sys.addaudithook(hook)


def _writes(arguments: tuple[Any, ...]) -> bool:
    path, _mode, flags = arguments
    return not isinstance(path, int) and bool(flags & WRITING)


def _path(value: Any, folder: int) -> str:
    if isinstance(value, int):
        return os.readlink(f"/proc/self/fd/{value}")
    text = os.fsdecode(value)
    if not os.path.isabs(text) and folder >= 0:
        return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), text)
    return os.path.normpath(os.path.join("/", text))
