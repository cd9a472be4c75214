"""Wheels as they arrive: one after another on a stream, unpacked and compiled by all processors meanwhile."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from . import bytecode, disk, wheelstore
from .failure import Failure
from .layout import Layout
from .shapes import Wheel
from .wheelfile import stays_inside
from .workers import Workers

CHUNK = 1 << 18


def add_wheels(layout: Layout, wheels: list[Wheel], stream: Any) -> dict[str, Any]:
    """Take *wheels* from *stream*, verify them, and unpack and compile them into the store.

    :param wheels: ``filename``, ``sha256`` and ``size`` of each, in the order in which they come.
    :raises Failure: one is damaged, or no wheel; what was done with before is in the store, of the rest nothing.
    """
    disk.sweep(layout.path("wheels"))
    try:
        with Workers({"unpack": wheelstore.unpack, "compile": wheelstore.compile_share}) as workers:
            arrivals = _Arrivals(layout, workers)
            for wheel in wheels:
                arrivals.take(wheel, stream)
            arrivals.finish()
    finally:
        disk.sweep(layout.path("wheels"))
    return {}


class _Arrivals:
    """The wheels that are under way: sent, being unpacked, being compiled."""

    def __init__(self, layout: Layout, workers: Workers) -> None:
        self._layout = layout
        self._workers = workers
        self._compiled: dict[str, dict[str, str]] = {}
        self._left: dict[str, int] = {}
        self._taken: set[str] = set()

    def take(self, wheel: Wheel, stream: Any) -> None:
        """Read one wheel, and leave the rest to the workers."""
        filename, sha256 = wheel["filename"], wheel["sha256"]
        plain = os.path.basename(filename) == filename and stays_inside(filename) and filename.isprintable()
        if not plain or not wheelstore.is_hash(sha256) or wheel["size"] < 0:
            raise Failure(f"{filename!a} is no wheel's name, or its hash or size is none", kind="refused")
        if sha256 in self._taken:
            raise Failure(f"{filename} is sent twice", kind="refused")
        self._taken.add(sha256)
        path = self._place(f"{sha256}.whl")
        _receive(wheel, stream, path)
        self._workers.submit(["unpack", path, filename, self._place(sha256)])
        self._collect(wait=False)

    def _place(self, name: str) -> str:
        return self._layout.path("wheels", disk.PARTIAL + name)

    def finish(self) -> None:
        while self._collect(wait=True):
            pass

    def _collect(self, wait: bool) -> bool:
        """Take what the workers have done, and give them what follows from it; whether there was anything."""
        ended = self._workers.finished(wait)
        for task, result in ended:
            if task[0] == "unpack":
                self._unpacked(task[1], task[3], result)
            else:
                sha256, compiled = result
                self._compiled[sha256].update(compiled)
                self._left[sha256] -= 1
                self._admit_if_done(sha256)
        return bool(ended)

    def _unpacked(self, path: str, partial: str, sources: list[tuple[str, str, int]]) -> None:
        os.unlink(path)
        sha256 = os.path.basename(partial)[len(disk.PARTIAL) :]
        shares = bytecode.shares(sources)
        self._compiled[sha256] = {}
        self._left[sha256] = len(shares)
        for share in shares:
            self._workers.submit(["compile", sha256, os.path.join(partial, "tree"), share])
        self._admit_if_done(sha256)

    def _admit_if_done(self, sha256: str) -> None:
        if not self._left[sha256]:
            wheelstore.admit(self._layout.base, sha256, self._place(sha256), self._compiled.pop(sha256))


def _receive(wheel: Wheel, stream: Any, path: str) -> None:
    digest = hashlib.sha256()
    left = wheel["size"]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as output:
        while left:
            chunk = stream.read(min(left, CHUNK))
            if not chunk:
                raise Failure("the connection ended in the middle of a file", kind="cut")
            digest.update(chunk)
            output.write(chunk)
            left -= len(chunk)
    if digest.hexdigest() != wheel["sha256"]:
        what = f"{wheel['filename']} was damaged on the way: it is not what the manifest names"
        raise Failure(what, "deploy again", "corrupt")
