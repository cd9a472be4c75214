"""The manifest of a bundle: which wheels, for which target, from which lock file, from where.

The digest is SHA-256 over ``{"target": NAME, "wheels": [[FILENAME, SHA256, SIZE], ...]}``, wheels sorted, as JSON with
sorted keys and no spaces. A host computes it again before it uses a wheel.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import BuildError
from .target import Target

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Wheel:
    """One file of a bundle.

    :ivar source: ``index`` (as upstream published it) or ``sdist`` (built here).
    :ivar source_sha256: of what it was made from: the wheel itself, or the source distribution.
    """

    filename: str
    sha256: str
    size: int
    name: str
    version: str
    source: str
    source_sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle holds. Named by its digest."""

    target: Target
    lock_sha256: str
    wheels: tuple[Wheel, ...]
    tool: str

    @property
    def digest(self) -> str:
        return digest(self.target.name, self.wheels)

    def to_json(self) -> str:
        document = {
            "schema": SCHEMA,
            "digest": self.digest,
            "target": self.target.document(),
            "lock_sha256": self.lock_sha256,
            "tool": self.tool,
            "wheels": [asdict(wheel) for wheel in self.wheels],
        }
        return json.dumps(document, indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> Manifest:
        """Read a manifest.

        :raises BuildError: it is no manifest, of a newer schema, or not the one its digest names.
        """
        try:
            document: dict[str, Any] = json.loads(text)
            schema = document["schema"]
            if schema > SCHEMA:
                raise BuildError(
                    f"the manifest has schema {schema}; this version knows {SCHEMA}",
                    where=where,
                    hint="upgrade fabric-wheelhouse",
                )
            target = Target.from_document(document["target"])
            wheels = tuple(Wheel(**wheel) for wheel in document["wheels"])
            manifest = cls(target, document["lock_sha256"], wheels, document["tool"])
            claimed = document["digest"]
        except (ValueError, KeyError, TypeError) as error:
            raise BuildError(
                f"this is no manifest ({error})", where=where, hint="remove it and create the bundle again"
            ) from None
        if manifest.digest != claimed:
            raise BuildError("the manifest was altered: its digest does not match", where=where, hint="remove it")
        return manifest


def digest(target: str, wheels: Iterable[Wheel]) -> str:
    listed = sorted([wheel.filename, wheel.sha256, wheel.size] for wheel in wheels)
    canonical = json.dumps({"target": target, "wheels": listed}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
