"""Turn a lock file into a bundle for one target: what is here is reused, what is lacking is fetched or built."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import BuildError
from ..version import __version__
from . import locks, trees
from .locks.model import Git, LockFile, Pin, Terms, Tree, distinct
from .manifest import Manifest, Wheel
from .sources import Places
from .target import Target
from .wheelhouse import Wheelhouse, described, sha256

Hear = Callable[[str], None]

ITSELF = "the app itself"


def _nobody(_: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Bundle:
    """The wheels that satisfy a lock file for a target.

    :ivar reused: it was made before; nothing was fetched.
    """

    manifest: Manifest
    wheelhouse: Wheelhouse
    reused: bool

    def path(self, wheel: Wheel) -> Path:
        return self.wheelhouse.root / "wheels" / wheel.sha256 / wheel.filename


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A lock file on its terms, and the digest that stands for all that is wanted.

    :ivar trees: digests of the directories that are built.
    """

    locked: LockFile
    terms: Terms
    trees: dict[Path, str]
    sha256: str

    def pins(self, target: Target) -> tuple[Pin, ...]:
        """What the lock file pins for *target*, and the app where it is a package."""
        pins = list(self.locked.select(target))
        if self.terms.package is not None:
            itself = Tree(self.terms.package)
            pins = [pin for pin in pins if pin.source != itself]
            pins.append(Pin(locks.project_name(itself.path), "", frozenset(), ITSELF, None, itself))
        return distinct(pins, target, self.locked.path)

    def source_key(self, source: Git | Tree) -> str:
        """What a wheel that was built from *source* is remembered under."""
        if isinstance(source, Tree):
            return self.trees[source.path]
        return hashlib.sha256(f"git {source.reference} {source.subdirectory}".encode()).hexdigest()


def known_bundle(lock: Path, target: Target, *, wheelhouse: Wheelhouse, terms: Terms | None = None) -> Bundle | None:
    """The bundle of this lock file and target, if it was made before and is whole. Opens no connection."""
    wanted = _wanted(lock, terms or Terms(), wheelhouse)
    manifest = _remembered(wanted, target, wheelhouse, _nobody)
    return Bundle(manifest, wheelhouse, reused=True) if manifest else None


def create_bundle(
    lock: Path,
    target: Target,
    *,
    wheelhouse: Wheelhouse,
    terms: Terms | None = None,
    places: Places | None = None,
    progress: Hear = _nobody,
    warn: Hear = _nobody,
) -> Bundle:
    """The bundle of *lock* for *target*; made where it is not there yet.

    :param terms: how the lock file is read; default: hashes are required.
    :param places: where files come from beside what the lock file says.
    :param progress: told of each package as it becomes ready.
    :param warn: told of what lay in the wheelhouse, was not what it should be, and is made again; and of what is not
        as it should be and let pass.
    :raises ConfigurationError: there is no such lock file.
    :raises BuildError: a requirement has no pin or hash, a file cannot be fetched or built, or does not fit.
    """
    wanted = _wanted(lock, terms or Terms(), wheelhouse)
    for warning in wanted.locked.warnings:
        warn(warning)
    if manifest := _remembered(wanted, target, wheelhouse, warn):
        return Bundle(manifest, wheelhouse, reused=True)
    pins = wanted.pins(target)
    ready = {pin: wheel for pin in pins if (wheel := _here(pin, wanted, target, wheelhouse, progress, warn))}
    lacking = [pin for pin in pins if pin not in ready]
    if lacking:
        from .obtain import Obtaining

        work = Obtaining(wanted.locked, target, wheelhouse, places or Places(), wanted.source_key, progress, warn)
        ready |= work.obtain(lacking)
    wheels = tuple(sorted(ready.values(), key=lambda wheel: wheel.filename))
    _assert_distinct(wheels, target, lock)
    manifest = Manifest(target, wanted.sha256, wheels, f"fabric-wheelhouse {__version__}")
    wheelhouse.remember(manifest)
    return Bundle(manifest, wheelhouse, reused=False)


def _wanted(lock: Path, terms: Terms, wheelhouse: Wheelhouse) -> _Wanted:
    locked = locks.read(lock, terms, wheelhouse.root / "exports")
    directories = [*locked.trees, *([terms.package] if terms.package else [])]
    digests = {}
    for directory in directories:
        trees.assert_package(directory)
        digests[directory] = trees.digest(directory)
    value = locked.sha256
    if digests:
        # By their content: the same source in another folder makes the same bundle.
        value = hashlib.sha256(json.dumps([value, sorted(digests.values())]).encode()).hexdigest()
    return _Wanted(locked, terms, digests, value)


def _remembered(wanted: _Wanted, target: Target, wheelhouse: Wheelhouse, warn: Hear) -> Manifest | None:
    try:
        return wheelhouse.bundle(wanted.sha256, target)
    except BuildError as error:
        warn(f"{error.where}: {error.what}; the bundle is made again")
        return None


def _here(
    pin: Pin, wanted: _Wanted, target: Target, wheelhouse: Wheelhouse, progress: Hear, warn: Hear
) -> Wheel | None:
    """The wheel of a requirement, if it is in the wheelhouse."""
    if isinstance(pin.source, Git | Tree):
        keys: Sequence[str] = [wanted.source_key(pin.source)]
        kind = "git" if isinstance(pin.source, Git) else "tree"
    else:
        if (path := wheelhouse.find(pin.hashes, target)) is not None and _whole(path, warn):
            progress(f"{pin.label}: here already")
            return described(path, "index", path.parent.name)
        keys, kind = sorted(pin.hashes), "sdist"
    for key in keys:
        if (path := wheelhouse.built(key, target)) is not None and _whole(path, warn):
            progress(f"{pin.label}: built before")
            return described(path, kind, key)
    return None


def _whole(path: Path, warn: Hear) -> bool:
    """Whether a wheel of the wheelhouse is the one that its directory names; a damaged one is removed."""
    if sha256(path) == path.parent.name:
        return True
    warn(f"{path}: the wheel is damaged; it is fetched or built again")
    path.unlink(missing_ok=True)
    return False


def _assert_distinct(wheels: Sequence[Wheel], target: Target, lock: Path) -> None:
    """:raises BuildError: two sources turned out to be the same project."""
    names: dict[str, Wheel] = {}
    for wheel in wheels:
        other = names.setdefault(wheel.name, wheel)
        if other is not wheel:
            raise BuildError(
                f"{wheel.name} is there twice for {target.name}: {other.filename} and {wheel.filename}", where=str(lock)
            )
