"""Turn a lock file into a bundle for one target: what is here is reused, what is lacking is fetched or built."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import BuildError
from ..version import __version__
from .build import Building
from .fitness import assert_all_fit
from .inspect import Contents
from .locks.model import Git, Pin, Terms, Tree
from .manifest import Manifest, Wheel
from .sources import Places
from .target import Target
from .wanted import Wanted, wanted
from .wheelhouse import Wheelhouse, sha256

Hear = Callable[[str], None]


def _nobody(_: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Bundle:
    """The wheels that satisfy a lock file for a target.

    :ivar reused: it was made before; nothing was fetched.
    :ivar signature: armored, '' where nobody signed it; whoever installs it verifies.
    """

    manifest: Manifest
    wheelhouse: Wheelhouse
    reused: bool
    signature: str = ""

    def path(self, wheel: Wheel) -> Path:
        return self.wheelhouse.root / "wheels" / wheel.sha256 / wheel.filename


def known_bundle(lock: Path, target: Target, *, wheelhouse: Wheelhouse, terms: Terms | None = None) -> Bundle | None:
    """The bundle of this lock file and target, if it was made before and is whole. Opens no connection."""
    asked = wanted(lock, terms or Terms(), wheelhouse)
    manifest = _remembered(asked, target, wheelhouse, _nobody)
    return Bundle(manifest, wheelhouse, True, wheelhouse.signature(manifest)) if manifest else None


def create_bundle(
    lock: Path,
    target: Target,
    *,
    wheelhouse: Wheelhouse,
    terms: Terms | None = None,
    places: Places | None = None,
    building: Building | None = None,
    accept: Collection[str] = (),
    progress: Hear = _nobody,
    say: Hear = _nobody,
    warn: Hear = _nobody,
) -> Bundle:
    """The bundle of *lock* for *target*; made where it is not there yet.

    :param terms: how the lock file is read; default: hashes are required.
    :param places: where files come from beside what the lock file says.
    :param building: how wheels are built from source; None for the builders of this machine.
    :param accept: projects whose wheels are only warned about where inspection finds something.
    :param progress: told of each package as it becomes ready.
    :param say: told of each wheel that was built, by which builder, and what was grafted.
    :param warn: told of what lay in the wheelhouse, was not what it should be, and is made again; and of what is not
        as it should be and let pass.
    :raises ConfigurationError: there is no such lock file.
    :raises BuildError: a requirement has no pin or hash, a file cannot be fetched or built, or does not fit.
    """
    asked = wanted(lock, terms or Terms(), wheelhouse)
    for warning in asked.locked.warnings:
        warn(warning)
    if manifest := _remembered(asked, target, wheelhouse, warn):
        # What is accepted may be less than when it was made; whoever accepted it was told then.
        assert_all_fit(_contents(manifest.wheels, wheelhouse), target, accept)
        return Bundle(manifest, wheelhouse, True, wheelhouse.signature(manifest))
    pins = asked.pins(target)
    ready = {pin: wheel for pin in pins if (wheel := _here(pin, asked, target, wheelhouse, progress, warn))}
    lacking = [pin for pin in pins if pin not in ready]
    if lacking:
        from .obtain import Hearers, Obtaining

        hear = Hearers(progress, say, warn)
        work = Obtaining(asked, target, wheelhouse, places or Places(), building or Building(), hear)
        ready |= work.obtain(lacking)
    assert_all_fit(_contents(ready.values(), wheelhouse), target, accept, warn)
    wheels = tuple(sorted(ready.values(), key=lambda wheel: wheel.filename))
    _assert_distinct(wheels, target, lock)
    manifest = Manifest(target, asked.sha256, wheels, f"fabric-wheelhouse {__version__}")
    wheelhouse.remember(manifest)
    return Bundle(manifest, wheelhouse, False, wheelhouse.signature(manifest))


def _remembered(asked: Wanted, target: Target, wheelhouse: Wheelhouse, warn: Hear) -> Manifest | None:
    try:
        manifest = wheelhouse.bundle(asked.sha256, target)
    except BuildError as error:
        warn(f"{error.where}: {error.what}; the bundle is made again")
        return None
    if manifest and (problems := asked.problems(manifest)):
        # It may have been imported: what a manifest says of its lock file is not taken on trust.
        warn(f"bundle {manifest.digest[:12]}: {'; '.join(problems)}; the bundle is made again")
        return None
    return manifest


def _here(pin: Pin, asked: Wanted, target: Target, wheelhouse: Wheelhouse, progress: Hear, warn: Hear) -> Wheel | None:
    """The wheel of a requirement, if it is in the wheelhouse."""
    if isinstance(pin.source, Git | Tree):
        keys: Sequence[str] = [asked.source_key(pin.source)]
        kind = "vcs" if isinstance(pin.source, Git) else "path"
    else:
        if (path := wheelhouse.find(pin.hashes, target)) is not None and _whole(path, warn):
            progress(f"{pin.label}: here already")
            return wheelhouse.described(path, "index", path.parent.name)
        keys, kind = sorted(pin.hashes), "sdist"
    for key in keys:
        if (path := wheelhouse.built(key, target)) is not None and _whole(path, warn):
            progress(f"{pin.label}: built before")
            origin = wheelhouse.origin(path.parent.name)
            # A repository is known by its commit, and its wheel says the hash of what was in it.
            value = origin.sha256 if kind == "vcs" and origin else key
            return wheelhouse.described(path, kind, value)
    return None


def _whole(path: Path, warn: Hear) -> bool:
    """Whether a wheel of the wheelhouse is the one that its directory names; a damaged one is removed."""
    if sha256(path) == path.parent.name:
        return True
    warn(f"{path}: the wheel is damaged; it is fetched or built again")
    path.unlink(missing_ok=True)
    return False


def _contents(wheels: Iterable[Wheel], wheelhouse: Wheelhouse) -> Iterator[tuple[Wheel, Contents]]:
    for wheel in wheels:
        yield wheel, wheelhouse.contents(wheelhouse.root / "wheels" / wheel.sha256 / wheel.filename)


def _assert_distinct(wheels: Sequence[Wheel], target: Target, lock: Path) -> None:
    """:raises BuildError: two sources turned out to be the same project."""
    names: dict[str, Wheel] = {}
    for wheel in wheels:
        other = names.setdefault(wheel.name, wheel)
        if other is not wheel:
            raise BuildError(
                f"{wheel.name} is there twice for {target.name}: {other.filename} and {wheel.filename}", where=str(lock)
            )
