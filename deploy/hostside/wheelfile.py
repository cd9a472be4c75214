"""A wheel as a file: what the "Binary distribution format" of the PyPA specifications says is in it, checked.

All that can be known to be wrong with a wheel is found here, before anything of it is in the store.
"""

from __future__ import annotations

import base64
import csv
import errno
import hashlib
import io
import os
import re
import stat
import zipfile
from collections.abc import Iterator
from typing import NamedTuple

from . import entrypoints
from .entrypoints import EntryPoint
from .failure import Failure

UNRECORDED = ("RECORD", "RECORD.jws", "RECORD.p7s")
SCHEMES = ("purelib", "platlib", "headers", "scripts", "data")
HASHES = ("sha256", "sha384", "sha512")

_LONGEST_NAME = 255
_LONGEST_PATH = 1024
"""Bytes of a path in a wheel; a system takes 4096 with all that is before it."""
_SHOWN = 200
_INFLATED = 100
"""So many times its own size a wheel may have unpacked, besides `_SPARE`; what is more is there to fill a disk."""
_SPARE = 64 << 20


def record_digest(content: bytes, algorithm: str = "sha256") -> str:
    """A hash as RECORD writes it: urlsafe base64 without padding ("Recording installed projects")."""
    digest = hashlib.new(algorithm, content).digest()
    return f"{algorithm}=" + base64.urlsafe_b64encode(digest).decode().rstrip("=")


def is_as_recorded(content: bytes, expected: str) -> bool:
    """Whether *content* has the hash *expected*, written as RECORD writes it."""
    algorithm = expected.partition("=")[0]
    return algorithm in HASHES and record_digest(content, algorithm) == expected.rstrip("=")


def project_name(text: str) -> str:
    """The name in a file's or directory's name, so that two spellings of it are equal (PyPA "Name normalization")."""
    return re.sub(r"[-_.]+", "-", text.split("-")[0]).lower()


def stays_inside(name: str) -> bool:
    """Whether *name* is a path below where it is unpacked, on every system, and can be written on this one."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return not ("\\" in name or "\0" in name or {"..", ".", ""} & set(name.split("/")))


def library_path(data: str, name: str) -> str:
    """Where a file of a wheel goes below purelib or platlib, '' where it goes elsewhere.

    :param data: the name of the wheel's ``.data`` directory, '' where it has none.
    """
    if not data or not name.startswith(data + "/"):
        return name
    scheme, _, rest = name[len(data) + 1 :].partition("/")
    return rest if scheme in ("purelib", "platlib") else ""


class Member(NamedTuple):
    """A file of a wheel.

    :ivar digest: its hash as RECORD writes it.
    :ivar size: its size as RECORD writes it, in bytes; may be ''.
    """

    name: str
    content: bytes
    executable: bool
    digest: str
    size: str


class WheelFile:
    """An open wheel.

    :ivar dist_info: the name of its ``.dist-info`` directory.
    :ivar data: the name of its ``.data`` directory, '' where it has none.
    :ivar pure: where the root of the archive goes: purelib, else platlib.
    :ivar entry_points: the commands that it brings.
    :raises Failure: kind ``corrupt``; it is no wheel, or not one that can be installed safely.
    """

    def __init__(self, path: str, filename: str) -> None:
        self.filename = filename
        try:
            self._archive = zipfile.ZipFile(path)
        except Exception as error:
            raise self._broken("is no wheel", error) from None
        self._members = [info for info in self._archive.infolist() if not info.filename.endswith("/")]
        self._check_size(os.path.getsize(path))
        self._check_names()
        tops = {info.filename.partition("/")[0] for info in self._members if "/" in info.filename}
        self.dist_info = self._dist_info(tops)
        self.data = self._data(tops)
        self.pure = self._is_pure()
        self._record = self._read_record()
        self.entry_points = self._entry_points()

    def _corrupt(self, what: str) -> Failure:
        text = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in what)
        text = text if len(text) <= 2 * _SHOWN else f"{text[:_SHOWN]}...{text[-_SHOWN:]}"
        return Failure(f"{self.filename} {text}", kind="corrupt")

    def _broken(self, what: str, error: Exception) -> Exception:
        """What zipfile and its decompressors raise on what is no archive is of many kinds; *error* itself where it is
        the system's."""
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)):
            return error
        return self._corrupt(f"{what}: {error}")

    def _check_size(self, packed: int) -> None:
        unpacked = sum(info.file_size for info in self._members)
        if unpacked > _INFLATED * packed + _SPARE:
            raise self._corrupt(f"would take {unpacked} bytes unpacked, and has {packed}; no wheel does")

    def _check_names(self) -> None:
        names: set[str] = set()
        directories: set[str] = set()
        for info in self._members:
            name = info.filename
            if not stays_inside(name):
                raise self._corrupt(f"holds a path that leaves the venv: {name!r}")
            parts = name.split("/")
            lengths = [len(os.fsencode(part)) for part in parts]
            if max(lengths) > _LONGEST_NAME or sum(lengths) + len(lengths) > _LONGEST_PATH:
                raise self._corrupt(f"holds a path that is too long: {name}")
            if parts[-1] == "__pycache__" or any(bytecode.endswith(".pyc") for bytecode in _caches(parts[:-1])):
                raise self._corrupt(f"holds something else in a place of bytecode: {name}")
            if stat.S_ISLNK(info.external_attr >> 16):
                raise self._corrupt(f"holds a symbolic link: {name}")
            if name in names:
                raise self._corrupt(f"holds {name} twice")
            names.add(name)
            parent = name
            while (parent := parent.rpartition("/")[0]) and parent not in directories:
                directories.add(parent)
        if both := names & directories:
            raise self._corrupt(f"holds {min(both)} as a file and as a directory")

    def _dist_info(self, tops: set[str]) -> str:
        found = [name for name in tops if name.endswith(".dist-info")]
        if len(found) != 1:
            raise self._corrupt(f"holds {len(found)} .dist-info directories; a wheel has one")
        if project_name(found[0]) != project_name(self.filename):
            raise self._corrupt(f"holds {found[0]}, which is another project's")
        return found[0]

    def _data(self, tops: set[str]) -> str:
        found = [name for name in tops if name.endswith(".data")]
        if len(found) > 1 or any(project_name(name) != project_name(self.dist_info) for name in found):
            raise self._corrupt(f"holds {', '.join(sorted(found))}; a wheel has one .data directory, of its own name")
        for info in self._members:
            top, _, rest = info.filename.partition("/")
            if top in found and (rest.partition("/")[0] not in SCHEMES or "/" not in rest):
                raise self._corrupt(f"has a file for an unknown scheme: {info.filename}")
        return found[0] if found else ""

    def _is_pure(self) -> bool:
        import email.parser  # most who open this module open no wheel that is new

        headers = email.parser.Parser().parsestr(self._text("WHEEL"))
        version = headers.get("Wheel-Version", "").strip()
        if version.partition(".")[0] != "1":
            raise self._corrupt(f"has wheel version {version or 'none'}; 1.x is understood")
        return headers.get("Root-Is-Purelib", "").strip().lower() == "true"

    def _text(self, name: str) -> str:
        """A file of the ``.dist-info`` directory."""
        try:
            return self._content(self._archive.getinfo(f"{self.dist_info}/{name}")).decode("utf-8")
        except (KeyError, UnicodeDecodeError):
            raise self._corrupt(f"lacks {self.dist_info}/{name}, or it is no text") from None

    def _content(self, info: zipfile.ZipInfo) -> bytes:
        # Piece by piece: what is longer than the archive says is found out before all of it is in memory.
        piece = 1 << 20 if info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) else 1 << 12
        try:
            with self._archive.open(info) as stream:
                return b"".join(iter(lambda: stream.read(piece), b""))
        except Exception as error:
            raise self._broken(f"is damaged: {info.filename}", error) from None

    def _read_record(self) -> dict[str, tuple[str, str]]:
        record: dict[str, tuple[str, str]] = {}
        try:
            for row in csv.reader(io.StringIO(self._text("RECORD"), newline=""), strict=True):
                if not row or row[0].endswith("/"):
                    continue
                name, digest, size = row
                if record.setdefault(name, (digest, size)) != (digest, size):
                    raise self._corrupt(f"has a RECORD that lists {name} twice, with two hashes")
        except (ValueError, csv.Error):
            raise self._corrupt("has a RECORD that is not what the specification says") from None
        lacking = set(record) - {info.filename for info in self._members}
        if lacking:
            raise self._corrupt(f"lacks {min(lacking)}, which RECORD lists")
        return record

    def _entry_points(self) -> list[EntryPoint]:
        name = f"{self.dist_info}/entry_points.txt"
        if not any(info.filename == name for info in self._members):
            return []
        try:
            return entrypoints.parse(self._text("entry_points.txt"))
        except ValueError as error:
            raise self._corrupt(f"has an entry point that is none: {error}") from None

    def members(self) -> Iterator[Member]:
        """Every file, in the archive's order, each checked against RECORD; RECORD itself and its signatures are not
        among them.

        :raises Failure: a file is not what RECORD says, or has no hash there, or one weaker than SHA-256.
        """
        unrecorded = {f"{self.dist_info}/{name}" for name in UNRECORDED}
        for info in self._members:
            name = info.filename
            if name in unrecorded:
                continue
            digest, size = self._record.get(name, ("", ""))
            if digest.partition("=")[0] not in HASHES:
                raise self._corrupt(f"has a RECORD without a hash for {name}")
            content = self._content(info)
            if not is_as_recorded(content, digest):
                raise self._corrupt(f"is damaged: {name} is not what RECORD says")
            # Its size is not looked at by anybody, so it may be anything; a venv's RECORD is to be right.
            size = str(len(content)) if size else ""
            yield Member(name, content, bool((info.external_attr >> 16) & 0o111), digest, size)


def _caches(parts: list[str]) -> list[str]:
    """What is directly in a `__pycache__` on the way of a path."""
    return [inner for outer, inner in zip(parts, parts[1:]) if outer == "__pycache__"]


def write(path: str, content: bytes, executable: bool = False) -> None:
    """Make a new file with the mode that pip gives: 0644, or 0755."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o755 if executable else 0o644)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)
