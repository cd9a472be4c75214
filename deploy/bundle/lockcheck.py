"""What a lock file asks for, and what a manifest gives: what is lacking, what is another file, what is too much."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from packaging.utils import canonicalize_version

from .locks.direct import COMMIT
from .locks.model import Git, Pin, Tree
from .manifest import Manifest, Wheel

# What is built from a tree or a repository has no line with a hash in the lock file, and not always a name.
_WITHOUT_HASH = frozenset({"vcs", "path"})


def problems(pins: Iterable[Pin], manifest: Manifest, trees: Mapping[Path, str] | None = None) -> list[str]:
    """In what the bundle is not the one that the pins (of its target) ask for; each names the package.

    :param trees: digests of the directories among the pins.
    """
    found = []
    pins = list(pins)
    asked = {pin.name: pin for pin in pins if pin.name}
    given = {wheel.name: wheel for wheel in manifest.wheels}
    for name, pin in sorted(asked.items()):
        wheel = given.get(name)
        if wheel is None:
            found.append(f"it lacks {pin.label}")
        elif pin.version and canonicalize_version(pin.version) != canonicalize_version(wheel.version):
            found.append(f"it has {name} {wheel.version}, and {pin.version} is locked")
        elif not _is_made_of(pin, wheel, trees or {}):
            found.append(f"its {name} {wheel.version} is made of {_other(pin)}")
    found += [
        f"its {wheel.filename} does not fit {manifest.target.name}"
        for wheel in manifest.wheels
        if not manifest.target.fits(wheel.filename)
    ]
    nameless = [pin for pin in pins if not pin.name]
    found += [
        f"it has {name} {wheel.version}, which is not in the lock file"
        for name, wheel in sorted(given.items())
        if name not in asked and not any(_is_made_of(pin, wheel, trees or {}) for pin in nameless)
    ]
    return found


def _is_made_of(pin: Pin, wheel: Wheel, trees: Mapping[Path, str]) -> bool:
    origin = wheel.origin
    if isinstance(pin.source, Tree):
        return origin.kind == "path" and trees.get(pin.source.path, origin.sha256) == origin.sha256
    if isinstance(pin.source, Git):
        moving = not COMMIT.fullmatch(pin.source.reference)
        return origin.kind == "vcs" and (moving or origin.revision == pin.source.reference)
    return origin.kind not in _WITHOUT_HASH and (not pin.hashes or origin.sha256 in pin.hashes)


def _other(pin: Pin) -> str:
    if isinstance(pin.source, Tree):
        return "another directory"
    return "another commit" if isinstance(pin.source, Git) else "a file that is not in the lock file"
