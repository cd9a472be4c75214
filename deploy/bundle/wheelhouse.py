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
from collections.abc import Mapping
from pathlib import Path

from packaging.utils import parse_wheel_filename

from ..errors import BuildError
from ..masking import masked
from .manifest import Manifest, Wheel
from .target import Target


def default_root() -> Path:
    """The user's cache folder (XDG Base Directory specification; ~/Library/Caches on macOS)."""
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "fabric-wheelhouse"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "fabric-wheelhouse"


def sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def described(path: Path, source: str, source_sha256: str) -> Wheel:
    """A wheel of the wheelhouse, for a manifest."""
    name, version, _, _ = parse_wheel_filename(path.name)
    return Wheel(path.name, path.parent.name, path.stat().st_size, name, str(version), source, source_sha256)


def _kind(filename: str) -> str:
    return "wheels" if filename.endswith(".whl") else "sdists"


class Wheelhouse:
    """``wheels/<sha256>/<filename>``, ``bundles/<lock>-<target>.json``, ``built/<source>-<target>.json``.

    Beside a wheel lies ``origin.json``: where it came from. ``sdists/<sha256>/<filename>`` are kept as wheels are;
    ``downloads/`` holds what is not complete, ``exports/`` what other tools made of their lock files.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or default_root()

    def add(self, path: Path) -> str:
        """Take a wheel in (the file is moved); its SHA-256."""
        value = sha256(path)
        folder = self.root / "wheels" / value
        folder.mkdir(parents=True, exist_ok=True)
        path.chmod(0o644)
        self._replace(path, folder / path.name)
        return value

    def part(self, key: str) -> Path:
        """Where a download lies until it is complete."""
        return self.root / "downloads" / f"{key}.part"

    def take(self, part: Path, filename: str, value: str) -> Path:
        """Take in a wheel or a source distribution that was downloaded, verified and synced; its path."""
        folder = self.root / _kind(filename) / value
        folder.mkdir(parents=True, exist_ok=True)
        part.chmod(0o644)
        part.rename(folder / filename)
        return folder / filename

    def file(self, value: str, filename: str) -> Path | None:
        """A wheel or source distribution of that SHA-256, if it is here and whole."""
        path = self.root / _kind(filename) / value / filename
        return path if path.is_file() and sha256(path) == value else None

    def origin(self, value: str) -> dict[str, str]:
        """Where a wheel came from; empty where nobody wrote it down.

        ``index`` and ``url``; and ``sdist``, its file name, where the wheel was built from one. Or ``git`` (the URL),
        ``commit``, ``tree`` and ``subdirectory``. Or ``tree`` alone for a directory of the machine.
        """
        try:
            document = json.loads((self.root / "wheels" / value / "origin.json").read_text())
        except (OSError, ValueError):
            return {}
        return document if isinstance(document, dict) else {}

    def remember_origin(self, value: str, origin: Mapping[str, str]) -> None:
        """Write down where a wheel came from, without credentials."""
        document = {key: masked(text) for key, text in origin.items()}
        self._write(self.root / "wheels" / value / "origin.json", json.dumps(document, sort_keys=True))

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

    def remember(self, manifest: Manifest) -> None:
        self._write(self._bundle_path(manifest.lock_sha256, manifest.target), manifest.to_json())

    def built(self, sdist_sha256: str, target: Target) -> Path | None:
        """The wheel that was built from a source for *target*, if it is here.

        :param sdist_sha256: of the source distribution, or what stands for a commit or a directory.
        """
        try:
            document = json.loads((self.root / "built" / f"{sdist_sha256}-{target.name}.json").read_text())
            return self.wheel(document["wheel"])
        except (OSError, ValueError, KeyError):
            return None

    def remember_built(self, sdist_sha256: str, target: Target, wheel_sha256: str) -> None:
        document = {"wheel": wheel_sha256, "sdist": sdist_sha256}
        self._write(self.root / "built" / f"{sdist_sha256}-{target.name}.json", json.dumps(document))

    def workspace(self) -> tempfile.TemporaryDirectory[str]:
        """A directory beside the wheels, so that taking one in is a rename."""
        self.root.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix=".partial-", dir=self.root)

    def _bundle_path(self, lock_sha256: str, target: Target) -> Path:
        return self.root / "bundles" / f"{lock_sha256}-{target.name}.json"

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
