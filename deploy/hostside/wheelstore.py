"""The host's store of wheels: each one verified, unpacked and byte-compiled once; venvs are links into it.

``wheels/<sha256>/tree/`` holds the files as they are in the archive, ``wheel.json`` what the wheel says of itself,
``bytecode-<tag>.json`` the hashes of the bytecode made for one interpreter.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import bytecode, disk, tree
from .failure import Failure
from .wheelfile import UNRECORDED, WheelFile, record_digest, write

# What this process has verified while unpacking it need not be read again.
_fresh: set[str] = set()


@dataclass(frozen=True)
class Stored:
    """A wheel in the store.

    :ivar tree: the directory with its files.
    :ivar bytecode: path below *tree* → hash, for the running interpreter.
    """

    sha256: str
    filename: str
    dist_info: str
    data: str
    pure: bool
    tree: str
    bytecode: dict[str, str]

    def record(self) -> list[list[str]]:
        """The rows of the wheel's own RECORD."""
        with open(os.path.join(self.tree, self.dist_info, "RECORD"), encoding="utf-8", newline="") as stream:
            return [row for row in csv.reader(stream) if row]


def folder(base: str, sha256: str) -> str:
    return os.path.join(base, "wheels", sha256)


def missing(base: str, wheels: Sequence[dict[str, Any]]) -> list[str]:
    """The SHA-256 of those of *wheels* that are not in the store."""
    return [wheel["sha256"] for wheel in wheels if not os.path.isfile(folder(base, wheel["sha256"]) + "/wheel.json")]


def add(base: str, filename: str, sha256: str, path: str) -> None:
    """Verify and unpack a wheel.

    :raises Failure: kind ``corrupt``; the file is not the one of that hash, or lies about what it holds.
    """
    if tree.file_digest(path) != sha256:
        raise Failure(
            f"{filename} was damaged on the way: it is not what the manifest names", "deploy again", "corrupt"
        )
    store = os.path.join(base, "wheels")
    partial = os.path.join(store, disk.PARTIAL + sha256)
    disk.discard(store, sha256)
    wheel = WheelFile(path, filename)
    root = os.path.join(partial, "tree")
    os.makedirs(root, 0o755)
    made = {""}
    for name, content, executable in wheel.files():
        parent = os.path.dirname(name)
        if parent not in made:
            os.makedirs(os.path.join(root, parent), 0o755, exist_ok=True)
            made.add(parent)
        write(os.path.join(root, name), content, executable)
    contents = wheel.contents
    disk.write_json(
        os.path.join(partial, "wheel.json"),
        {"filename": filename, "dist_info": contents.dist_info, "data": contents.data, "pure": contents.pure},
    )
    os.rename(partial, folder(base, sha256))
    _fresh.add(sha256)


def open_stored(base: str, sha256: str) -> Stored:
    """What the store knows of a wheel; its bytecode for the running interpreter may be lacking."""
    place = folder(base, sha256)
    document = disk.read_json(os.path.join(place, "wheel.json"))
    if document is None:
        raise Failure(f"wheel {sha256} is not in the store", "deploy again", "corrupt")
    compiled = disk.read_json(_bytecode_path(place)) or {}
    return Stored(sha256=sha256, tree=os.path.join(place, "tree"), bytecode=compiled, **document)


def _bytecode_path(place: str) -> str:
    return os.path.join(place, f"bytecode-{bytecode.cache_tag()}.json")


def verify(stored: Stored) -> None:
    """Read every file of a stored wheel and compare it with RECORD, bytecode with what was noted when it was made.

    :raises Failure: kind ``corrupt``, naming the wheel and the file.
    """
    if stored.sha256 in _fresh:
        return
    unrecorded = {f"{stored.dist_info}/{name}" for name in UNRECORDED}
    for name, expected, _size in stored.record():
        if name not in unrecorded:
            _compare(stored, name, expected)
    for name, expected in stored.bytecode.items():
        _compare(stored, name, expected)


def _compare(stored: Stored, name: str, expected: str) -> None:
    try:
        with open(os.path.join(stored.tree, name), "rb") as stream:
            content = stream.read()
    except FileNotFoundError:
        content = b""
    if expected.startswith("sha256=") and record_digest(content) != expected:
        raise Failure(f"{stored.filename} is damaged on this host: {name} is not what it was", kind="corrupt")


def compile_stored(base: str, wheels: Sequence[Stored]) -> None:
    """Make the bytecode that is lacking for the running interpreter, of all *wheels* at once."""
    lacking = [stored for stored in wheels if not os.path.isfile(_bytecode_path(folder(base, stored.sha256)))]
    sources = {os.path.join(stored.tree, name): stored for stored in lacking for name in _python_files(stored)}
    if not lacking:
        return
    by_wheel: dict[str, dict[str, str]] = {stored.sha256: {} for stored in lacking}
    for path, digest in bytecode.compile_all(list(sources)).items():
        sha256 = os.path.relpath(path, os.path.join(base, "wheels")).split(os.sep)[0]
        place = os.path.join(folder(base, sha256), "tree")
        by_wheel[sha256][os.path.relpath(path, place)] = digest
    for sha256, made in by_wheel.items():
        disk.write_atomically(_bytecode_path(folder(base, sha256)), json.dumps(made))


def _python_files(stored: Stored) -> list[str]:
    """The files that are compiled: what goes to purelib or platlib. Scripts are not."""
    libraries = (f"{stored.data}/purelib/", f"{stored.data}/platlib/")
    return [
        name
        for name, *_ in stored.record()
        if name.endswith(".py") and (not name.startswith(f"{stored.data}/") or name.startswith(libraries))
    ]


def remove(base: str, sha256: str) -> None:
    disk.discard(os.path.join(base, "wheels"), sha256)
    _fresh.discard(sha256)
