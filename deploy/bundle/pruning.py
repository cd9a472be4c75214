"""What of the wheelhouse nobody needs: decided by :func:`plan`, done by :func:`prune`."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from .wheelhouse import Kept, Wheelhouse

GRACE_S = 24 * 3600
"""What is younger may belong to a bundle that is being made right now, so it stays."""


@dataclass(frozen=True, slots=True)
class Leavings:
    """What may go.

    :ivar wheels: directories of wheels.
    :ivar rest: records of builds whose wheel goes, and what killed runs left.
    :ivar size: bytes of the wheels.
    """

    bundles: tuple[Kept, ...]
    wheels: tuple[Path, ...]
    rest: tuple[Path, ...]
    size: int

    @property
    def nothing(self) -> bool:
        return not (self.bundles or self.wheels or self.rest)


def plan(wheelhouse: Wheelhouse, locks: Collection[str], keep: int, now: float) -> Leavings:
    """What neither the last *keep* bundles nor those of *locks* need.

    A manifest that cannot be read needs nothing, and goes once it is old enough.

    :param locks: hashes of lock files whose bundles stay, however old they are.
    :param now: seconds since 1970.
    """
    bundles = wheelhouse.bundles()
    readable = [kept for kept in bundles if kept.manifest is not None]
    newest = {kept.path for kept in readable[:keep]}
    going, needed = [], set()
    for kept in bundles:
        wanted = kept.path in newest or (kept.manifest is not None and kept.manifest.lock_sha256 in locks)
        if not wanted and now - kept.made > GRACE_S:
            going.append(kept)
        elif kept.manifest is not None:
            needed |= {wheel.sha256 for wheel in kept.manifest.wheels}
    wheels = [
        folder
        for folder in sorted((wheelhouse.root / "wheels").glob("*"))
        if folder.name not in needed and _old(folder, now)
    ]
    gone = {folder.name for folder in wheels}
    rest = [path for path in sorted((wheelhouse.root / "built").glob("*.json")) if _made_wheel(path) in gone]
    rest += [path for path in sorted(wheelhouse.root.glob(".partial-*")) if _old(path, now)]
    rest += [path for path in sorted(wheelhouse.root.glob("*/.partial-*")) if _old(path, now)]
    # What was found out about wheels that go, and what other tools said of their lock files: all had again.
    for folder in ("needs", "inspected"):
        rest += [path for path in sorted((wheelhouse.root / folder).glob("*.json")) if path.stem in gone]
    rest += [path for path in sorted(wheelhouse.root.glob("exports/*")) if _old(path, now)]
    return Leavings(tuple(going), tuple(wheels), tuple(rest), sum(_size(folder) for folder in wheels))


def prune(wheelhouse: Wheelhouse, leavings: Leavings) -> None:
    """Remove what was planned: the bundles first, so that none is left without its wheels."""
    for kept in leavings.bundles:
        wheelhouse.forget(kept)
    for path in (*leavings.wheels, *leavings.rest):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _old(path: Path, now: float) -> bool:
    try:
        return now - path.stat().st_mtime > GRACE_S
    except FileNotFoundError:
        return False


def _size(folder: Path) -> int:
    size = 0
    for path in folder.glob("*"):
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


def _made_wheel(path: Path) -> str:
    try:
        return str(json.loads(path.read_text())["wheel"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
