"""What is kept of the host program between two runs: itself, and what Python made of its sources.

Compiling the sources takes several times as long as most of what is asked, and a zipapp has no place for the outcome.
So it lies beside it, in a file of the interpreter's own, which begins with the digest of what follows: a file that is
damaged or cut short is as good as none, and nothing of it need be on the disk for sure. The loader reads it
(``deploy/host/bootstrap.py``).
"""

from __future__ import annotations

import contextlib
import hashlib
import marshal
import os
from typing import Any

from . import disk


class Program:
    """The program that runs.

    :param path: where it is kept, '' where it is not to be.
    :param made_path: where what Python made of it is kept.
    :param data: the zipapp.
    :param known: whether it lies there already.
    :param made: name → code of each module that was imported, growing.
    :param had: how many of them lie there already.
    """

    def __init__(self, path: str, made_path: str, data: bytes, known: bool, made: dict[str, Any], had: int) -> None:
        self._path = path
        self._made_path = made_path
        self._data = data
        self._known = known
        self._made = made
        self._had = had
        self.names = frozenset(map(os.path.basename, (path, made_path)))

    def keep(self) -> None:
        """Keep what is not kept yet, as soon as there is a directory for it; without one the program runs on."""
        with contextlib.suppress(OSError):
            if not self._path or not os.path.isdir(os.path.dirname(self._path)):
                return
            if not self._known:
                _write(self._path, self._data)
                self._known = True
            if len(self._made) > self._had:
                made = marshal.dumps(self._made)
                _write(self._made_path, hashlib.sha256(made).digest() + made)
                self._had = len(self._made)


running = Program("", "", b"", True, {}, 0)
"""The loader puts the real one here; what runs from files of its own keeps nothing."""


def _write(path: str, data: bytes) -> None:
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f"{disk.PARTIAL}{name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    try:
        with open(descriptor, "wb") as stream:
            stream.write(data)
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
