"""Turn a lock file into a bundle for one target: what is here is reused, what is lacking is fetched or built."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename

from ..errors import BuildError
from ..version import __version__
from . import inspect, lockcheck
from .build import Building
from .lockfile import LockFile, Pin
from .manifest import Manifest, Origin, Wheel
from .target import Target
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


def known_bundle(lock: Path, target: Target, *, wheelhouse: Wheelhouse) -> Bundle | None:
    """The bundle of this lock file and target, if it was made before and is whole. Opens no connection."""
    manifest = _remembered(LockFile.read(lock), target, wheelhouse, _nobody)
    return Bundle(manifest, wheelhouse, True, wheelhouse.signature(manifest)) if manifest else None


def create_bundle(
    lock: Path,
    target: Target,
    *,
    wheelhouse: Wheelhouse,
    building: Building | None = None,
    accept: Collection[str] = (),
    progress: Hear = _nobody,
    say: Hear = _nobody,
    warn: Hear = _nobody,
) -> Bundle:
    """The bundle of *lock* for *target*; made where it is not there yet.

    :param building: how wheels are built from source; None for the builders of this machine.
    :param accept: projects whose wheels are only warned about where inspection finds something.
    :param progress: told of each package as it becomes ready.
    :param say: told of each wheel that was built, by which builder, and what was grafted.
    :param warn: told of what lay in the wheelhouse, was not what it should be, and is made again.
    :raises ConfigurationError: there is no such lock file.
    :raises BuildError: a requirement has no pin or hash, a file cannot be fetched or built, or does not fit.
    """
    locked = LockFile.read(lock)
    if manifest := _remembered(locked, target, wheelhouse, warn):
        return Bundle(manifest, wheelhouse, True, wheelhouse.signature(manifest))
    pins = locked.select(target)
    ready: dict[str, Wheel] = {}
    for pin in pins:
        if (path := wheelhouse.find(pin.hashes, target)) is not None and _whole(path, warn):
            ready[pin.name] = _wheel(path, wheelhouse, "index", path.parent.name)
            progress(f"{pin.name} {pin.version}: here already")
            continue
        for sdist in sorted(pin.hashes):
            if (path := wheelhouse.built(sdist, target)) is not None and _whole(path, warn):
                ready[pin.name] = _wheel(path, wheelhouse, "sdist", sdist)
                progress(f"{pin.name} {pin.version}: built before")
                break
    lacking = [pin for pin in pins if pin.name not in ready]
    if lacking:
        ready |= _obtain(lacking, locked, target, wheelhouse, building or Building(), progress, say)
    _inspect(ready.values(), target, wheelhouse, {canonicalize_name(name) for name in accept}, warn)
    wheels = tuple(sorted(ready.values(), key=lambda wheel: wheel.filename))
    manifest = Manifest(target, locked.sha256, wheels, f"fabric-wheelhouse {__version__}")
    wheelhouse.remember(manifest)
    return Bundle(manifest, wheelhouse, False, wheelhouse.signature(manifest))


def _remembered(locked: LockFile, target: Target, wheelhouse: Wheelhouse, warn: Hear) -> Manifest | None:
    try:
        manifest = wheelhouse.bundle(locked.sha256, target)
    except BuildError as error:
        warn(f"{error.where}: {error.what}; the bundle is made again")
        return None
    if manifest and (problems := lockcheck.problems(locked.select(target), manifest)):
        # It may have been imported: what a manifest says of its lock file is not taken on trust.
        warn(f"bundle {manifest.digest[:12]}: {'; '.join(problems)}; the bundle is made again")
        return None
    return manifest


def _whole(path: Path, warn: Hear) -> bool:
    """Whether a wheel of the wheelhouse is the one that its directory names; a damaged one is removed."""
    if sha256(path) == path.parent.name:
        return True
    warn(f"{path}: the wheel is damaged; it is fetched or built again")
    path.unlink(missing_ok=True)
    return False


def _inspect(
    wheels: Iterable[Wheel], target: Target, wheelhouse: Wheelhouse, accept: Collection[str], warn: Hear
) -> None:
    """Look into every wheel, fetched or built.

    :raises BuildError: naming every package, file and reason.
    """
    refused = []
    for wheel in wheels:
        path = wheelhouse.root / "wheels" / wheel.sha256 / wheel.filename
        for problem in inspect.problems(wheelhouse.contents(path), target):
            line = f"{wheel.name} {wheel.version}: {problem}"
            if wheel.name in accept:
                warn(f"{line}; accepted by deploy.accept_wheels")
            else:
                refused.append(line)
    if refused:
        raise BuildError(
            f"wheels that do not fit {target.name}, or are not what their names say:\n  " + "\n  ".join(refused),
            hint="lock another version, or name the project in deploy.accept_wheels where you know better",
        )


def _obtain(
    pins: list[Pin],
    locked: LockFile,
    target: Target,
    wheelhouse: Wheelhouse,
    building: Building,
    progress: Hear,
    say: Hear,
) -> dict[str, Wheel]:
    from . import fetch
    from .pip import unreachable

    pip = _native_pip(target, building)
    with wheelhouse.workspace() as space:
        directory = Path(space)
        try:
            if pip is not None:
                files = fetch.fetch(pins, locked.sources, [], directory, pip)
            else:
                files = _fetch_foreign(pins, locked, target, directory, building)
        except BuildError as error:
            if not unreachable(error.output):
                raise
            names = ", ".join(f"{pin.name} {pin.version}" for pin in pins)
            raise BuildError(
                f"not in the wheelhouse, and no index is in reach: {names}",
                where=str(locked.path),
                output=error.output,
                hint="is the index in reach? Without one: fab bundle.import FILE, of a bundle made for this lock file",
            ) from None
        obtained = {}
        by_name = {pin.name: pin for pin in pins}
        for path in files:
            name, version = _project(path)
            pin = by_name.get(name)
            if pin is None:
                raise BuildError(f"{path.name} was not asked for")
            value = sha256(path)
            if value not in pin.hashes:
                raise BuildError(
                    f"{path.name} has a hash that is not in the lock file: {value}", where=str(locked.path)
                )
            if path.suffix == ".whl":
                obtained[name] = _take(path, target, wheelhouse, _index(locked))
                progress(f"{name} {version}: fetched")
            else:
                progress(f"{name} {version}: building from source")
                hear = partial(_tell, progress, f"{name} {version}")
                obtained[name], how = _built(path, value, target, wheelhouse, building, locked, directory / name, hear)
                say(f"{name} {version}: built from source by {how}")
    lacking = sorted(set(by_name) - set(obtained))
    if lacking:
        raise BuildError(f"no file was found for {', '.join(lacking)}", where=str(locked.path))
    return obtained


def _tell(progress: Hear, name: str, text: str) -> None:
    progress(f"{name}: {text}")


def _native_pip(target: Target, building: Building) -> list[str] | None:
    """pip's words for a local Python whose wheels fit *target*; None where there is none."""
    from . import pip
    from .builders.native import Native
    from .interpreters import find

    python = find(target.python)
    # A machine like the target that may not build natively still fetches as a foreign one does.
    if python is None or Native().unfit(target) or "native" not in building.names or not pip.supports(target.python):
        return None
    return pip.local_pip() if target.python == Target.local().python else pip.for_interpreter(python)


def _fetch_foreign(
    pins: list[Pin], locked: LockFile, target: Target, directory: Path, building: Building
) -> list[Path]:
    """Wheels for a target that is not like this machine; source distributions of what has none.

    :raises BuildError: naming every requirement that has no wheel, where no builder could build one.
    """
    from . import build, fetch, pip

    choice = fetch.wheels_for(target)
    try:
        return fetch.fetch(pins, locked.sources, choice, directory, pip.local_pip())
    except BuildError as error:
        if not pip.nothing_fits(error.output):
            raise
    # pip stops at the first that has no wheel; people want to know all of them.
    files: list[Path] = []
    lacking: list[Pin] = []
    for pin in pins:
        try:
            files = fetch.fetch([pin], locked.sources, choice, directory, pip.local_pip())
        except BuildError as error:
            if not pip.nothing_fits(error.output):
                raise
            lacking.append(pin)
    if not building.able(target):
        raise build.cannot(target, [f"{pin.name} {pin.version}" for pin in lacking], building)
    for pin in lacking:
        files = fetch.fetch([pin], locked.sources, ["--no-binary=:all:"], directory, pip.local_pip())
    return files


def _built(
    sdist: Path,
    value: str,
    target: Target,
    wheelhouse: Wheelhouse,
    building: Building,
    locked: LockFile,
    space: Path,
    hear: Hear,
) -> tuple[Wheel, str]:
    """Build a wheel; it, and in words by whom and what was grafted."""
    from . import build

    made = build.build(sdist, target, space, building, options=locked.sources, hear=hear)
    builder = made.builder.partition(" ")[0]
    origin = Origin("sdist", value, _index(locked), builder=builder, tools=dict(made.tools), grafted=made.grafted)
    digest = wheelhouse.add(made.wheel, origin)
    wheelhouse.remember_built(value, target, digest)
    path = wheelhouse.root / "wheels" / digest / made.wheel.name
    grafted = f"; grafted: {', '.join(Path(each).name for each in made.grafted)}" if made.grafted else ""
    return _wheel(path, wheelhouse, "sdist", value), f"{made.builder}{grafted}"


def _take(path: Path, target: Target, wheelhouse: Wheelhouse, index: str) -> Wheel:
    if not target.fits(path.name):
        raise BuildError(f"{path.name} does not fit {target.name}")
    value = wheelhouse.add(path, Origin("index", sha256(path), index=index))
    return _wheel(wheelhouse.root / "wheels" / value / path.name, wheelhouse, "index", value)


def _wheel(path: Path, wheelhouse: Wheelhouse, kind: str, origin_sha256: str) -> Wheel:
    """A wheel of the wheelhouse, with where it came from: as it was kept, or as far as is known."""
    name, version, _, _ = parse_wheel_filename(path.name)
    value = path.parent.name
    origin = wheelhouse.origin(value)
    if origin is None or (origin.kind, origin.sha256) != (kind, origin_sha256):
        origin = Origin(kind, origin_sha256)
    return Wheel(path.name, value, path.stat().st_size, name, str(version), origin)


def _index(locked: LockFile) -> str:
    """The index that all files must have come from, where the lock file names one and no other place; '' else."""
    words = [word for option in locked.options for word in option.split("=", 1)]
    if any(word in ("--extra-index-url", "--find-links", "-f", "--no-index") for word in words):
        return ""
    found = [url for word, url in pairwise(words) if word in ("-i", "--index-url")]
    return found[0] if len(found) == 1 else ""


def _project(path: Path) -> tuple[str, str]:
    try:
        if path.suffix == ".whl":
            name, version, _, _ = parse_wheel_filename(path.name)
            return name, str(version)
        project, release = parse_sdist_filename(path.name)
        return project, str(release)
    except ValueError:
        # Old source distributions are named in other ways: name-version.tar.bz2, name with dots.
        stem = path.name.partition(".tar")[0].removesuffix(".zip")
        legacy, _, number = stem.rpartition("-")
        return canonicalize_name(legacy), number
