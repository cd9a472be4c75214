"""What is different between two bundles, and what that costs to send. Computes, and reads nothing."""

from __future__ import annotations

from dataclasses import dataclass

from .manifest import Manifest, Wheel


@dataclass(frozen=True, slots=True)
class Difference:
    """From one bundle to another.

    :ivar changed: the former and the new wheel of a package: another version, or another file of the same one.
    :ivar to_send: bytes that a host with the former bundle has to be sent for the new one.
    """

    added: tuple[Wheel, ...]
    removed: tuple[Wheel, ...]
    changed: tuple[tuple[Wheel, Wheel], ...]
    to_send: int

    @property
    def nothing(self) -> bool:
        return not (self.added or self.removed or self.changed)


def compare(former: Manifest, new: Manifest) -> Difference:
    """The difference between two manifests, packages in the order of their names."""
    before = {wheel.name: wheel for wheel in former.wheels}
    after = {wheel.name: wheel for wheel in new.wheels}
    there = {wheel.sha256 for wheel in former.wheels}
    return Difference(
        added=tuple(after[name] for name in sorted(after.keys() - before.keys())),
        removed=tuple(before[name] for name in sorted(before.keys() - after.keys())),
        changed=tuple(
            (before[name], after[name])
            for name in sorted(before.keys() & after.keys())
            if before[name].sha256 != after[name].sha256
        ),
        to_send=sum(wheel.size for wheel in new.wheels if wheel.sha256 not in there),
    )
