"""What a lock file asks for, and what a manifest gives: what is lacking, what is another file, what is too much."""

from __future__ import annotations

from collections.abc import Iterable

from .lockfile import Pin
from .manifest import Manifest

# What is built from the application's own tree or repository has no line with a hash in the lock file.
_WITHOUT_HASH = frozenset({"vcs", "path"})


def problems(pins: Iterable[Pin], manifest: Manifest) -> list[str]:
    """In what the bundle is not the one that the pins (of its target) ask for; each names the package."""
    found = []
    asked = {pin.name: pin for pin in pins}
    given = {wheel.name: wheel for wheel in manifest.wheels}
    for name, pin in sorted(asked.items()):
        wheel = given.get(name)
        if wheel is None:
            found.append(f"it lacks {name} {pin.version}")
        elif pin.version and pin.requirement.specifier and not pin.requirement.specifier.contains(wheel.version, True):
            found.append(f"it has {name} {wheel.version}, and {pin.version} is locked")
        elif wheel.origin.kind not in _WITHOUT_HASH and wheel.origin.sha256 not in pin.hashes:
            found.append(f"its {name} {wheel.version} is made of a file that is not in the lock file")
    found += [
        f"its {wheel.filename} does not fit {manifest.target.name}"
        for wheel in manifest.wheels
        if not manifest.target.fits(wheel.filename)
    ]
    found += [
        f"it has {name} {wheel.version}, which is not in the lock file"
        for name, wheel in sorted(given.items())
        if name not in asked and wheel.origin.kind not in _WITHOUT_HASH
    ]
    return found
