"""What a bundle is asked for: a lock file on its terms, and the source on this machine that belongs to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import lockcheck, locks, trees
from .locks.model import Git, LockFile, Pin, Terms, Tree, distinct
from .manifest import Manifest
from .target import Target
from .wheelhouse import Wheelhouse

ITSELF = "the app itself"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A lock file on its terms, and the digest that stands for all that is wanted.

    :ivar trees: digests of the directories that are built.
    :ivar sha256: the lock file's; together with the trees' where there are any.
    """

    locked: LockFile
    terms: Terms
    trees: Mapping[Path, str]
    sha256: str

    def pins(self, target: Target) -> tuple[Pin, ...]:
        """What the lock file pins for *target*, and the app where it is a package.

        :raises BuildError: a project is pinned twice, or the lock file is not for such a target.
        """
        pins = list(self.locked.select(target))
        if self.terms.package is not None:
            itself = Tree(self.terms.package)
            pins = [pin for pin in pins if pin.source != itself]
            pins.append(Pin(locks.project_name(itself.path), "", frozenset(), ITSELF, None, itself))
        return distinct(pins, target, self.locked.path)

    def problems(self, manifest: Manifest) -> list[str]:
        """In what a bundle is not the one that is wanted; each names the package."""
        return lockcheck.problems(self.pins(manifest.target), manifest, self.trees)

    def source_key(self, source: Git | Tree) -> str:
        """What a wheel that was built from *source* is remembered under."""
        if isinstance(source, Tree):
            return self.trees[source.path]
        return hashlib.sha256(f"git {source.reference} {source.subdirectory}".encode()).hexdigest()


def wanted(lock: Path, terms: Terms, wheelhouse: Wheelhouse) -> Wanted:
    """Read a lock file, and hash the directories that it names.

    :raises ConfigurationError: there is no such file, or a directory cannot be built.
    :raises BuildError: naming every requirement that has no pin or no hash.
    """
    locked = locks.read(lock, terms, wheelhouse.root / "exports")
    digests = {}
    for directory in (*locked.trees, *([terms.package] if terms.package else [])):
        trees.assert_package(directory)
        digests[directory] = trees.digest(directory)
    value = locked.sha256
    if digests:
        # By their content: the same source in another folder makes the same bundle.
        value = hashlib.sha256(json.dumps([value, sorted(digests.values())]).encode()).hexdigest()
    return Wanted(locked, terms, digests, value)
