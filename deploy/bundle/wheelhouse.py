"""The wheelhouse: a local, content-addressed store of wheels, and of the manifests of the bundles made from them.

Files appear by rename, so a killed run leaves nothing half, and two runs may fill it at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from packaging.utils import parse_wheel_filename

from ..errors import BuildError
from . import inspect, sbom
from .inspect import Contents
from .manifest import Manifest, Origin, Wheel
from .target import Target


def default_root() -> Path:
    """The user's cache folder (XDG Base Directory specification; ~/Library/Caches on macOS)."""
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "fabric-wheelhouse"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "fabric-wheelhouse"


def sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class Kept:
    """A bundle that the wheelhouse remembers.

    :ivar path: of its manifest.
    :ivar manifest: None where it is damaged or of a newer schema.
    :ivar made: when, in seconds since 1970.
    """

    path: Path
    manifest: Manifest | None
    made: float


class Wheelhouse:
    """Wheels by their hash, bundles by lock file and target, and what was found out about either.

    ``wheels/<sha256>/<filename>``; ``bundles/<lock>-<target>-<its fingerprint>.json`` with its signature, ``.sig``,
    beside it, and its bill of materials in ``sboms/``; ``built/<sdist>-<target>.json``;
    ``needs/<wheel's sha256>.json`` and ``inspected/<wheel's sha256>.json``; ``exports/`` holds what other tools made of
    their lock files.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or default_root()

    def add(self, path: Path, origin: Origin | None = None) -> str:
        """Take a wheel in (the file is moved), and where it came from; its SHA-256."""
        value = sha256(path)
        folder = self.root / "wheels" / value
        folder.mkdir(parents=True, exist_ok=True)
        path.chmod(0o644)
        if origin is not None:
            self._write(folder / "origin.json", json.dumps(asdict(origin), sort_keys=True))
        self._replace(path, folder / path.name)
        return value

    def described(self, path: Path, kind: str, origin_sha256: str) -> Wheel:
        """A wheel that is here, for a manifest, with where it came from: as it was kept, or as far as is known."""
        name, version, _, _ = parse_wheel_filename(path.name)
        value = path.parent.name
        origin = self.origin(value)
        if origin is None or (origin.kind, origin.sha256) != (kind, origin_sha256):
            origin = Origin(kind, origin_sha256)
        return Wheel(path.name, value, path.stat().st_size, name, str(version), origin)

    def origin(self, value: str) -> Origin | None:
        """Where the wheel of that SHA-256 came from, as far as it was kept."""
        try:
            return Origin(**json.loads((self.root / "wheels" / value / "origin.json").read_text()))
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return None

    def wheel(self, value: str) -> Path | None:
        """The wheel of that SHA-256, if it is here."""
        try:
            return next((self.root / "wheels" / value).glob("*.whl"), None)
        except OSError:
            return None

    def find(self, hashes: frozenset[str], target: Target) -> Path | None:
        """The best wheel for *target* among *hashes*, if one is here."""
        here = [path for value in hashes if (path := self.wheel(value)) is not None and target.fits(path.name)]
        return min(here, key=lambda path: (target.rank(path.name), path.name), default=None)

    def bundle(self, lock_sha256: str, target: Target) -> Manifest | None:
        """The manifest made before for this lock file and target, if all its wheels are here and whole in size.

        :raises BuildError: there is one, and it was altered.
        """
        path = self._bundle_path(lock_sha256, target)
        try:
            manifest = Manifest.from_json(path.read_text(errors="replace"), str(path))
        except OSError:
            return None
        if (manifest.lock_sha256, manifest.target) != (lock_sha256, target):
            raise BuildError("the manifest is that of another lock file or target", where=str(path), hint="remove it")
        for wheel in manifest.wheels:
            with contextlib.suppress(OSError):
                if (self.root / "wheels" / wheel.sha256 / wheel.filename).stat().st_size == wheel.size:
                    continue
            return None
        return manifest

    def remember(self, manifest: Manifest, bill: str = "", signature: str = "") -> None:
        """Keep a manifest, its bill of materials (made here where none is given) and its signature.

        A signature that is there already stays where it is that of the same manifest.
        """
        path = self._bundle_path(manifest.lock_sha256, manifest.target)
        text = manifest.to_json()
        if signature:
            self._write(path.with_suffix(".sig"), signature)
        elif not path.is_file() or path.read_text(errors="replace") != text:
            path.with_suffix(".sig").unlink(missing_ok=True)
        self._write(self.bill(manifest), bill or sbom.document(manifest, sbom.time_stamp()))
        self._write(path, text)

    def sign(self, manifest: Manifest, signature: str) -> None:
        """Keep the signature of a manifest that is here."""
        self._write(self._bundle_path(manifest.lock_sha256, manifest.target).with_suffix(".sig"), signature)

    def signature(self, manifest: Manifest) -> str:
        """What was kept as the signature of a manifest, '' where there is none; not verified."""
        try:
            path = self._bundle_path(manifest.lock_sha256, manifest.target).with_suffix(".sig")
            return path.read_text(encoding="ascii", errors="replace")
        except OSError:
            return ""

    def bill(self, manifest: Manifest) -> Path:
        """Where the bill of materials of a manifest lies."""
        return self.root / "sboms" / f"{self._bundle_path(manifest.lock_sha256, manifest.target).stem}.cdx.json"

    def bundles(self) -> list[Kept]:
        """Every bundle that is remembered, the newest first."""
        kept = []
        for path in (self.root / "bundles").glob("*.json"):
            with contextlib.suppress(FileNotFoundError):
                try:
                    manifest = Manifest.from_json(path.read_text(errors="replace"), str(path))
                except BuildError:
                    manifest = None
                kept.append(Kept(path, manifest, path.stat().st_mtime))
        return sorted(kept, key=lambda each: (-each.made, each.path))

    def forget(self, kept: Kept) -> None:
        """Remove a bundle's manifest, signature and bill of materials; its wheels stay."""
        kept.path.unlink(missing_ok=True)
        kept.path.with_suffix(".sig").unlink(missing_ok=True)
        (self.root / "sboms" / f"{kept.path.stem}.cdx.json").unlink(missing_ok=True)

    def built(self, sdist_sha256: str, target: Target) -> Path | None:
        """The wheel that was built from a source for *target*, if it is here.

        :param sdist_sha256: of the source distribution, or what stands for a commit or a directory.
        """
        try:
            document = json.loads((self.root / "built" / f"{sdist_sha256}-{target.name}.json").read_text())
            return self.wheel(document["wheel"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def remember_built(self, sdist_sha256: str, target: Target, wheel_sha256: str) -> None:
        document = {"wheel": wheel_sha256, "sdist": sdist_sha256}
        self._write(self.root / "built" / f"{sdist_sha256}-{target.name}.json", json.dumps(document))

    def contents(self, wheel: Path) -> Contents:
        """What inspection reads of a wheel of this store; read once.

        :raises BuildError: it is no zip file.
        """
        path = self.root / "inspected" / f"{wheel.parent.name}.json"
        with contextlib.suppress(OSError):
            if (kept := Contents.from_json(path.read_text())) is not None and kept.filename == wheel.name:
                return kept
        contents = inspect.read(wheel)
        self._write(path, contents.to_json())
        return contents

    def needs(self, wheel_sha256: str) -> Any:
        """What was found out about a wheel's compiled files, as it was remembered; None where nothing was."""
        try:
            return json.loads((self.root / "needs" / f"{wheel_sha256}.json").read_text())
        except (OSError, ValueError, RecursionError):
            return None

    def remember_needs(self, wheel_sha256: str, text: str) -> None:
        self._write(self.root / "needs" / f"{wheel_sha256}.json", text)

    def workspace(self) -> tempfile.TemporaryDirectory[str]:
        """A directory beside the wheels, so that taking one in is a rename."""
        self.root.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=".partial-", dir=self.root)

    def _bundle_path(self, lock_sha256: str, target: Target) -> Path:
        return self.root / "bundles" / f"{lock_sha256}-{target.name}-{target.fingerprint}.json"

    def _write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".partial-", delete=False) as stream:
            stream.write(text)
        Path(stream.name).chmod(0o644)
        self._replace(Path(stream.name), path)

    @staticmethod
    def _replace(source: Path, destination: Path) -> None:
        with source.open("rb") as stream:
            os.fsync(stream.fileno())
        source.rename(destination)
