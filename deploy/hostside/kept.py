"""What is kept of the host program between two runs: itself, and what Python made of its sources.

Compiling the sources takes several times as long as most of what is asked, and a zipapp has no place for the outcome.
So it lies beside it, in a file of the interpreter's own, which begins with the digest of what follows: a file that is
damaged or cut short is as good as none, and nothing of it need be on the disk for sure. The loader reads it
(``deploy/host/bootstrap.py``). Each module's code is packed by itself, because a run needs a few of them only.
"""

from __future__ import annotations

import contextlib
import hashlib
import marshal
import os

from . import disk


class Program:
    """The program that runs.

    :param path: where it is kept, '' where it is not to be.
    :param made_path: where what Python made of it is kept.
    :param data: the zipapp.
    :param known: whether it lies there already.
    :param made: name → code of each module that was imported, as :mod:`marshal` writes it; growing.
    :param had: how many of them lie there already.
    """

    def __init__(self, path: str, made_path: str, data: bytes, known: bool, made: dict[str, bytes], had: int) -> None:
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
            if not self._path or (self._known and len(self._made) == self._had):
                return
            place = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if _is_private(place):
                    self._keep_in(place)
            finally:
                os.close(place)

    def _keep_in(self, place: int) -> None:
        if not self._known:
            _write(place, os.path.basename(self._path), self._data)
            self._known = True
        if len(self._made) > self._had:
            made = marshal.dumps(self._made)
            _write(place, os.path.basename(self._made_path), hashlib.sha256(made).digest() + made)
            self._had = len(self._made)


running = Program("", "", b"", True, {}, 0)
"""The loader puts the real one here; what runs from files of its own keeps nothing."""


def _is_private(place: int) -> bool:
    """Whether nobody else may write to an open directory: what lies there is run."""
    look = os.fstat(place)
    return look.st_uid == os.geteuid() and not look.st_mode & 0o022


def _write(place: int, name: str, data: bytes) -> None:
    temporary = f"{disk.PARTIAL}{name}.{os.getpid()}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=place)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(temporary, flags, 0o644, dir_fd=place)
    try:
        with open(descriptor, "wb") as stream:
            stream.write(data)
        os.rename(temporary, name, src_dir_fd=place, dst_dir_fd=place)
    except OSError:
        os.unlink(temporary, dir_fd=place)
        raise
