"""The shared libraries that a bundle expects of a host: what its compiled files need, less what its wheels carry.

A wheel is looked into once; what was found lies beside it in the wheelhouse. Knows no host.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from ..errors import BuildError
from . import elf
from .create import Bundle
from .elf import Needs
from .target import Target

SCHEMA = 1

_IN_MEMORY = 64 << 20
"""Bytes of an unpacked file that are kept in memory; a larger one goes to a temporary file."""

# The loader and the library that every program on such a system has open already.
_OWN = {
    "glibc": re.compile(
        r"(libc|libm|libpthread|libdl|librt|libutil|libresolv|libanl|libmvec|libBrokenLocale|libthread_db)\.so\.\d+(\.\d+)?"
        r"|ld-linux[\w-]*\.so\.\d+|ld64\.so\.\d+|linux-(vdso|gate)\S*"
    ),
    "musl": re.compile(r"libc\.so|libc\.musl-\w+\.so\.1|ld-musl-\w+\.so\.1"),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A library that a host has to have.

    :ivar soname: for example ``libpq.so.5``.
    :ivar by: who needs it: ``psycopg2 (_psycopg….so)``, each once.
    :ivar paths: absolute directories that the files which need it are told to look in first.
    """

    soname: str
    by: tuple[str, ...]
    paths: tuple[str, ...]


def of_bundle(bundle: Bundle) -> list[Wanted]:
    """The libraries that a host must have to load what is compiled in *bundle*, sorted by name.

    :raises BuildError: a wheel of the bundle cannot be read.
    """
    target = bundle.manifest.target
    if target.system != "linux":
        return []
    files: list[tuple[str, str, Needs]] = []
    for wheel in bundle.manifest.wheels:
        known = of_wheel(bundle, wheel.sha256, bundle.path(wheel))
        files += [(wheel.name, path, needs) for path, needs in known.items() if _counts(needs, target)]
    carried = {PurePosixPath(path).name for _, path, _ in files} | {needs.soname for _, _, needs in files}
    return wanted(files, carried, target.libc)


def wanted(files: list[tuple[str, str, Needs]], carried: set[str], libc: str) -> list[Wanted]:
    """What *files* (each a wheel's name, a path in it, what it needs) want beside *carried* and *libc* itself."""
    by: dict[str, dict[str, None]] = {}
    paths: dict[str, dict[str, None]] = {}
    for name, path, needs in files:
        for soname in needs.needed:
            # A name with a slash is a path, which the loader takes as it is.
            if soname in carried or PurePosixPath(soname).name in carried or _OWN[libc or "glibc"].fullmatch(soname):
                continue
            by.setdefault(soname, {})[f"{name} ({_short(path)})"] = None
            paths.setdefault(soname, {}).update(dict.fromkeys(p for p in needs.paths if p.startswith("/")))
    return [Wanted(soname, tuple(by[soname]), tuple(paths[soname])) for soname in sorted(by)]


def _counts(needs: Needs, target: Target) -> bool:
    """Whether *target* can load the file at all: some wheels carry files for other machines, or for another libc."""
    if needs.machine != target.machine and needs.machine != _family(target.machine):
        return False
    musl = any(soname.startswith(("libc.musl-", "ld-musl-")) for soname in needs.needed)
    glibc = "libc.so.6" in needs.needed
    return not (musl if target.libc == "glibc" else glibc)


def _family(machine: str) -> str:
    """The name that :mod:`.elf` has for machines which it cannot tell apart."""
    families = {"i386": "i686", "i586": "i686", "armv6l": "armv7l", "armv8l": "armv7l", "ppc64": "ppc64le"}
    return families.get(machine, machine)


def _short(path: str) -> str:
    """``_psycopg….so`` for ``psycopg2/_psycopg.cpython-311-x86_64-linux-gnu.so``."""
    name = PurePosixPath(path).name
    return re.sub(r"\.(cpython|pypy)\S*\.so$|\.abi3\.so$", "….so", name)


def of_wheel(bundle: Bundle, sha256: str, path: Path) -> Mapping[str, Needs]:
    """The compiled files of a wheel; remembered in the wheelhouse by the wheel's hash.

    :raises BuildError: it cannot be read.
    """
    remembered = bundle.wheelhouse.needs(sha256)
    try:
        if remembered is not None and remembered["schema"] == SCHEMA:
            return {
                each["path"]: Needs(each["machine"], each["soname"], tuple(each["needed"]), tuple(each["paths"]))
                for each in remembered["files"]
            }
    except (KeyError, TypeError):
        pass
    found = dict(look_into(path))
    files = [{"path": name, **asdict(needs)} for name, needs in found.items()]
    bundle.wheelhouse.remember_needs(sha256, json.dumps({"schema": SCHEMA, "files": files}))
    return found


def look_into(path: Path) -> Iterator[tuple[str, Needs]]:
    """The compiled files of the wheel *path*: where they lie in it, what they need.

    :raises BuildError: it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                with archive.open(info) as stream:
                    if stream.read(len(elf.MAGIC)) != elf.MAGIC:
                        continue
                with archive.open(info) as stream, _seekable(stream) as copy:
                    if needs := elf.read(copy):
                        yield info.filename, needs
    except Exception as error:  # zipfile and its decompressors have no common one
        raise BuildError(f"the wheel cannot be read: {error}", where=str(path), hint="remove it") from None


@contextlib.contextmanager
def _seekable(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    """A copy of *stream*: to go back in an archive is to unpack it again."""
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as copy:
        shutil.copyfileobj(stream, copy, 1 << 20)
        copy.seek(0)
        yield copy
