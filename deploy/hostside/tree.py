"""What a tree of code is: its entries and the one digest that names it.

The same code digests the working tree on the laptop and the release on the host, so that the two can be compared.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import zlib
from collections.abc import Iterable
from typing import NamedTuple

from . import looking, shapes
from .failure import Failure

LARGEST = 1 << 28
"""Bytes that the list of a tree's entries may have."""

SHORT = 24
"""Hexadecimal digits of a hash that tell two files apart."""


class Entry(NamedTuple):
    """One thing in a tree.

    *path* is relative, with forward slashes; *kind* is ``d`` (directory), ``f`` (file), ``x`` (executable
    file) or ``l`` (symbolic link); *value* is the SHA-256 of a file's content, or the target of a link.
    """

    path: str
    kind: str
    value: str


def file_digest(path: str) -> str:
    """SHA-256 of a file's content, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


# (device, inode, size, time) → SHA-256, of files that this process has read: what a push links and then verifies is
# read once. For the program's short life only, so a time that stands still is no danger.
_read: dict[tuple[int, int, int, int], str] = {}


def _known_digest(path: str, look: os.stat_result) -> str:
    key = (look.st_dev, look.st_ino, look.st_size, look.st_mtime_ns)
    if key not in _read:
        _read[key] = file_digest(path)
    return _read[key]


def remember(descriptor: int, digest: str) -> None:
    """What is in an open file that this process has just written: it need not be read again.

    :param digest: of the bytes that were written; to be called when nothing of the file changes any more.
    """
    look = os.fstat(descriptor)
    _read[look.st_dev, look.st_ino, look.st_size, look.st_mtime_ns] = digest


def entry(root: str, path: str) -> Entry:
    """Look at one path below *root*.

    :raises Failure: it is a socket, a device or a pipe.
    """
    full = os.path.join(root, path)
    look = os.lstat(full)
    mode = look.st_mode
    if stat.S_ISLNK(mode):
        return Entry(path, "l", os.readlink(full))
    if stat.S_ISDIR(mode):
        return Entry(path, "d", "")
    if stat.S_ISREG(mode):
        return Entry(path, "x" if mode & stat.S_IXUSR else "f", _known_digest(full, look))
    named = path if path.isprintable() else ascii(path)
    raise Failure(f"{named} is {_kind(mode)}, neither a file, a directory nor a link", "exclude it from the source")


def _kind(mode: int) -> str:
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a named pipe" if stat.S_ISFIFO(mode) else "a device"


def walk(root: str) -> list[Entry]:
    """Every entry below *root*, in no particular order.

    :raises OSError: a directory cannot be listed.
    """
    entries = []
    for directory, names, files in looking.walk(root):
        prefix = os.path.relpath(directory, root)
        for name in names + files:
            entries.append(entry(root, name if prefix == "." else f"{prefix}/{name}"))
    return entries


def pack(entries: Iterable[Entry]) -> str:
    """A whole tree as a short text: who receives it looks which files are there already.

    Of a hash the beginning is enough for that, because the tree that comes of it is compared with the one digest.
    """
    rows = [(item.path, item.kind, item.value if item.kind == "l" else item.value[:SHORT]) for item in entries]
    return base64.b85encode(zlib.compress(json.dumps(rows).encode(), 6)).decode()


def unpack(text: str) -> list[Entry]:
    """The entries of :func:`pack`, with hashes of :data:`SHORT` digits.

    :raises Failure: it is none that :func:`pack` makes.
    """
    try:
        packed = zlib.decompressobj()
        rows = json.loads(packed.decompress(base64.b85decode(text), LARGEST))
    except (ValueError, RecursionError, zlib.error) as error:
        raise Failure(f"the list of files cannot be read: {error}", kind="refused") from None
    if wrong := shapes.misfit(rows, "list[tuple[str, str, str]]"):
        raise Failure(f"the list of files cannot be read: it{wrong}", kind="refused")
    return [Entry(*row) for row in rows]


def digest(entries: Iterable[Entry]) -> str:
    """One name for a whole tree: SHA-256 over kind, path and value of every entry, sorted by path."""
    total = hashlib.sha256()
    for item in sorted(entries):
        for field in (item.kind, item.path, item.value):
            total.update(os.fsencode(field) + b"\0")
    return total.hexdigest()
