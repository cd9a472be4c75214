"""A wheel as a file: what the "Binary distribution format" of the PyPA specifications says is in it, checked."""

from __future__ import annotations

import base64
import csv
import email.parser
import hashlib
import os
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass

from .failure import Failure

UNRECORDED = ("RECORD", "RECORD.jws", "RECORD.p7s")


def record_digest(content: bytes) -> str:
    """A hash as RECORD writes it: urlsafe base64 without padding ("Recording installed projects")."""
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")


@dataclass(frozen=True)
class Contents:
    """What a wheel says of itself.

    :ivar dist_info: the name of its ``.dist-info`` directory.
    :ivar data: the name of its ``.data`` directory, whether it has one or not.
    :ivar pure: where the root of the archive goes: purelib, else platlib.
    """

    dist_info: str
    data: str
    pure: bool


class WheelFile:
    """An open wheel."""

    def __init__(self, path: str, filename: str) -> None:
        self.filename = filename
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise Failure(f"{filename} is no wheel: {error}", kind="corrupt") from None
        self.members = [info for info in self._archive.infolist() if not info.is_dir()]
        for info in self.members:
            self._check_name(info)
        self.contents = self._contents()
        self._record = self._read_record()

    def _check_name(self, info: zipfile.ZipInfo) -> None:
        parts = info.filename.split("/")
        if info.filename.startswith("/") or "\\" in info.filename or "\0" in info.filename or {"..", "."} & set(parts):
            raise Failure(f"{self.filename} holds a path that leaves the venv: {info.filename}", kind="corrupt")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise Failure(f"{self.filename} holds a symbolic link: {info.filename}", kind="corrupt")

    def _contents(self) -> Contents:
        tops = {info.filename.split("/")[0] for info in self.members}
        infos = [name for name in tops if name.endswith(".dist-info")]
        if len(infos) != 1:
            raise Failure(f"{self.filename} holds {len(infos)} .dist-info directories; a wheel has one", kind="corrupt")
        headers = email.parser.Parser().parsestr(self._text(f"{infos[0]}/WHEEL"))
        version = headers.get("Wheel-Version", "")
        if version.partition(".")[0] != "1":
            raise Failure(f"{self.filename} has wheel version {version or 'none'}; 1.x is understood", kind="corrupt")
        stem = infos[0][: -len(".dist-info")]
        return Contents(infos[0], f"{stem}.data", headers.get("Root-Is-Purelib", "").lower() == "true")

    def _text(self, name: str) -> str:
        try:
            return self._archive.read(name).decode("utf-8")
        except (KeyError, UnicodeDecodeError, zipfile.BadZipFile):
            raise Failure(f"{self.filename} lacks {name}", kind="corrupt") from None

    def _read_record(self) -> dict[str, str]:
        rows = csv.reader(self._text(f"{self.contents.dist_info}/RECORD").splitlines())
        return {row[0]: row[1] for row in rows if row}

    def recorded(self, name: str) -> str:
        """The hash that RECORD gives for a member.

        :raises Failure: it gives none, or one that is weaker than SHA-256.
        """
        value = self._record.get(name, "")
        if not value.startswith(("sha256=", "sha384=", "sha512=")):
            raise Failure(f"{self.filename}: RECORD has no hash for {name}", kind="corrupt")
        return value

    def files(self) -> Iterator[tuple[str, bytes, bool]]:
        """Every file: name, content, whether it is executable; each checked against RECORD.

        :raises Failure: a file is not what RECORD says, or is lacking.
        """
        unrecorded = {f"{self.contents.dist_info}/{name}" for name in UNRECORDED}
        seen = set()
        for info in self.members:
            name = info.filename
            if name in seen:
                raise Failure(f"{self.filename} holds {name} twice", kind="corrupt")
            seen.add(name)
            try:
                content = self._archive.read(info)
            except (zipfile.BadZipFile, zipfile.zlib.error, NotImplementedError, EOFError) as error:  # type: ignore[attr-defined]
                raise Failure(f"{self.filename}: {name} is damaged: {error}", kind="corrupt") from None
            if name not in unrecorded:
                algorithm, _, expected = self.recorded(name).partition("=")
                digest = base64.urlsafe_b64encode(hashlib.new(algorithm, content).digest()).decode().rstrip("=")
                if digest != expected.rstrip("="):
                    raise Failure(f"{self.filename}: {name} is not what RECORD says", kind="corrupt")
            yield name, content, bool((info.external_attr >> 16) & 0o111)
        lacking = set(self._record) - seen
        if lacking:
            raise Failure(f"{self.filename} lacks {min(lacking)}, which RECORD lists", kind="corrupt")


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
