"""A bundle as one file that can be carried: a tar archive with everything that is needed where no index is.

In this order: ``manifest.json``, ``statement.json`` and ``statement.json.sig`` where it is signed, ``sbom.cdx.json``,
``wheels/<filename>``. The same bundle gives the same bytes (POSIX.1-2001 pax, no times, no owners, no compression:
wheels are compressed already).
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from ..errors import BuildError, ConfigurationError
from . import inspect, sbom, signing
from .create import Bundle
from .fitness import assert_all_fit
from .manifest import Manifest, Wheel
from .wheelhouse import Wheelhouse

MANIFEST = "manifest.json"
STATEMENT = "statement.json"
SIGNATURE = "statement.json.sig"
BILL = "sbom.cdx.json"

MAX_DOCUMENT = 32 << 20
"""Bytes that a document in the file may have."""

MAX_SIGNATURE = 64 << 10

_CHUNK = 1 << 20


def write(bundle: Bundle, path: Path) -> None:
    """Write *bundle* to *path*: the whole file or none.

    :raises BuildError: a wheel in the wheelhouse is damaged.
    :raises ConfigurationError: there cannot be written.
    """
    manifest = bundle.manifest
    try:
        bill = bundle.wheelhouse.bill(manifest).read_text()
    except OSError:
        bill = sbom.document(manifest, sbom.time_stamp())
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".partial-", delete=False) as stream:
            try:
                with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
                    _add(archive, MANIFEST, manifest.to_json().encode())
                    if bundle.signature:
                        _add(archive, STATEMENT, signing.statement(manifest))
                        _add(archive, SIGNATURE, bundle.signature.encode("ascii", "replace"))
                    _add(archive, BILL, bill.encode())
                    for wheel in manifest.wheels:
                        _add_wheel(archive, wheel, bundle.path(wheel))
                stream.flush()
                os.fsync(stream.fileno())
                os.fchmod(stream.fileno(), 0o644)
                Path(stream.name).rename(path)
            except BaseException:
                Path(stream.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise ConfigurationError(f"cannot be written: {error.strerror}", where=str(path)) from None


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    archive.addfile(_member(name, len(content)), io.BytesIO(content))


def _add_wheel(archive: tarfile.TarFile, wheel: Wheel, path: Path) -> None:
    with path.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != wheel.sha256:
            raise BuildError("the wheel is damaged", where=str(path), hint="fab create-bundle makes it again")
        stream.seek(0)
        archive.addfile(_member(f"wheels/{wheel.filename}", wheel.size), stream)


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o644
    return member


def is_archive(path: Path) -> bool:
    """Whether *path* could be an exported bundle: a file that is a tar archive."""
    try:
        return path.is_file() and tarfile.is_tarfile(path)
    except OSError:
        return False


def read_manifest(path: Path) -> Manifest:
    """The manifest in an exported bundle; nothing else of the file is looked at.

    :raises BuildError: it is none.
    """
    with _Archive(path) as archive:
        return archive.manifest()


def take(
    path: Path,
    wheelhouse: Wheelhouse,
    check: Callable[[Manifest, str], None] = lambda manifest, signature: None,
    accept: Collection[str] = (),
    warn: Callable[[str], None] = lambda text: None,
) -> Bundle:
    """Verify an exported bundle and take it into *wheelhouse*: all of it or nothing.

    That a wheel was built from some source is believed within this bundle, and not for others: so it is not remembered.

    :param check: is given the manifest and the signature ('' where there is none) before a wheel is read; it may raise.
    :param accept: projects whose wheels are only warned about where inspection finds something.
    :raises BuildError: it is no bundle, is damaged or incomplete, holds what does not belong there or does not fit.
    """
    with _Archive(path) as archive, wheelhouse.workspace() as space:
        manifest = archive.manifest()
        signature = archive.signature(manifest)
        bill = archive.bill(manifest)
        check(manifest, signature)
        before = _known(wheelhouse, manifest)
        files = archive.wheels(manifest, Path(space))
        assert_all_fit(((wheel, inspect.read(file)) for wheel, file in files), manifest.target, accept, warn)
        for wheel, file in files:
            wheelhouse.add(file, wheelhouse.origin(wheel.sha256) or wheel.origin)
        if before != manifest or signature:
            wheelhouse.remember(manifest, bill, signature)
    return Bundle(manifest, wheelhouse, before == manifest, wheelhouse.signature(manifest))


def _known(wheelhouse: Wheelhouse, manifest: Manifest) -> Manifest | None:
    try:
        return wheelhouse.bundle(manifest.lock_sha256, manifest.target)
    except BuildError:
        return None  # altered: it is replaced


class _Archive:
    """An exported bundle that is read from its beginning to its end, once; what it says of itself is not trusted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next: tarfile.TarInfo | None = None

    def __enter__(self) -> _Archive:
        try:
            # "r:" takes no compressed file: what is small must not become large.
            self._archive = tarfile.open(self._path, "r:")
        except tarfile.TarError:
            raise self._refused("this is no exported bundle") from None
        except OSError as error:
            raise ConfigurationError(f"cannot be read: {error.strerror}", where=str(self._path)) from None
        self._advance()
        return self

    def __exit__(self, *exception: object) -> None:
        self._archive.close()

    def manifest(self) -> Manifest:
        content = self._document(MANIFEST, MAX_DOCUMENT)
        if content is None:
            raise self._refused("this is no exported bundle: it does not begin with a manifest")
        return Manifest.from_json(content.decode(errors="replace"), f"{self._path}: {MANIFEST}")

    def signature(self, manifest: Manifest) -> str:
        statement = self._document(STATEMENT, MAX_SIGNATURE)
        if statement is None:
            return ""
        content = self._document(SIGNATURE, MAX_SIGNATURE)
        if content is None:
            raise self._refused(f"it has {STATEMENT} and no {SIGNATURE}")
        if statement != signing.statement(manifest):
            raise self._refused("the manifest was altered: it is not what was signed")
        return content.decode("ascii", "replace")

    def bill(self, manifest: Manifest) -> str:
        content = (self._document(BILL, MAX_DOCUMENT) or b"").decode(errors="replace")
        if content != sbom.document(manifest, sbom.stamp_of(content)):
            raise self._refused(f"{BILL} is lacking, or is not that of the manifest")
        return content

    def wheels(self, manifest: Manifest, directory: Path) -> list[tuple[Wheel, Path]]:
        """Every wheel of the manifest as a file in *directory*, verified; nothing else may be left in the archive."""
        expected = {f"wheels/{wheel.filename}": wheel for wheel in manifest.wheels}
        found = []
        while self._next is not None:
            wheel = expected.pop(self._next.name, None)
            if wheel is None:
                raise self._refused(f"it holds {self._next.name!r}, which its manifest does not name")
            found.append((wheel, self._wheel(wheel, directory / wheel.filename)))
        if expected:
            names = ", ".join(f"{wheel.name} {wheel.version}" for wheel in expected.values())
            raise self._refused(f"it lacks {names}")
        return found

    def _wheel(self, wheel: Wheel, path: Path) -> Path:
        assert self._next is not None
        if self._next.size != wheel.size:
            raise self._refused(f"{wheel.filename} has {self._next.size} bytes, and the manifest says {wheel.size}")
        digest = hashlib.sha256()
        with path.open("xb") as output:
            for chunk in self._chunks():
                digest.update(chunk)
                output.write(chunk)
        if digest.hexdigest() != wheel.sha256:
            raise self._refused(f"{wheel.filename} is damaged: it is not the file that the manifest names")
        self._advance()
        return path

    def _document(self, name: str, limit: int) -> bytes | None:
        """The next member, if it has that name."""
        if self._next is None or self._next.name != name:
            return None
        if self._next.size > limit:
            raise self._refused(f"{name} has {self._next.size} bytes; {limit} are allowed")
        content = b"".join(self._chunks())
        self._advance()
        return content

    def _chunks(self) -> Iterator[bytes]:
        """The content of the member, bit by bit."""
        assert self._next is not None
        stream = self._archive.extractfile(self._next)
        assert stream is not None  # it is a plain file
        try:
            while chunk := stream.read(_CHUNK):
                yield chunk
        except (tarfile.TarError, OSError):
            raise self._refused("the file is damaged or cut off") from None

    def _advance(self) -> None:
        """Go to the next member; only plain files are taken."""
        try:
            self._next = self._archive.next()
        except (tarfile.TarError, OSError, ValueError):
            raise self._refused("the file is damaged or cut off") from None
        if self._next is not None and (not self._next.isreg() or self._next.issparse()):
            raise self._refused(f"{self._next.name!r} in it is no plain file")

    def _refused(self, what: str) -> BuildError:
        return BuildError(what, where=str(self._path), hint="nothing was taken in; export the bundle again")
