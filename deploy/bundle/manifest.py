"""The manifest of a bundle: which wheels, for which target, from which lock file, from where.

The digest is SHA-256 over ``{"target": NAME, "wheels": [[FILENAME, SHA256, SIZE], ...]}``, wheels sorted, as JSON with
sorted keys and no spaces. A host computes it again before it uses a wheel. The document is described by
``docs/bundle.schema.json``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from ..errors import BuildError, ConfigurationError
from .target import Target

SCHEMA = 2

KINDS = ("index", "sdist", "vcs", "path")
BUILDERS = ("", "native", "zig", "host", "container", "repair")

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PYTHON = re.compile(r"3\.\d{1,3}")
_NAME = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a wheel came from: filled in by what obtains it.

    :ivar kind: ``index`` (a published wheel), ``sdist`` (a published source distribution), ``vcs`` or ``path``.
    :ivar sha256: of what was obtained: the wheel itself, the source distribution, or the source tree.
    :ivar index: URL of the index it was found in, '' where that is not known.
    :ivar url: of the file or the repository, '' where that is not known; credentials are cut out.
    :ivar revision: the commit, for ``vcs``.
    :ivar builder: ``native``, ``zig``, ``host``, ``container``, ``repair`` (of a published wheel), or '' as published.
    :ivar tools: version of each tool that made the wheel, by its name.
    :ivar grafted: libraries of the building machine that were copied into the wheel, by their path there.
    """

    kind: str
    sha256: str
    index: str = ""
    url: str = ""
    revision: str = ""
    builder: str = ""
    tools: dict[str, str] = field(default_factory=dict)
    grafted: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # A manifest is exported, signed and shown: a password in it would be everybody's.
        object.__setattr__(self, "index", without_credentials(self.index))
        object.__setattr__(self, "url", without_credentials(self.url))
        object.__setattr__(self, "grafted", tuple(self.grafted))

    @property
    def words(self) -> str:
        """For people: ``index https://example.org/simple``, ``sdist, built by native``."""
        place = self.index or self.url
        made = f", built by {self.builder}" if self.builder else ""
        return f"{self.kind}{' ' + place if place else ''}{'@' + self.revision if self.revision else ''}{made}"


def without_credentials(url: str) -> str:
    """*url* without user and password."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


@dataclass(frozen=True, slots=True)
class Wheel:
    """One file of a bundle; *size* in bytes."""

    filename: str
    sha256: str
    size: int
    name: str
    version: str
    origin: Origin


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

    @property
    def sha256(self) -> str:
        """Of the document: more than the digest, for it covers where everything came from."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all wheels."""
        return sum(wheel.size for wheel in self.wheels)

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
        """Read a manifest of this schema or an older one.

        :raises BuildError: it is no manifest, of a newer schema, or not the one its digest names.
        """
        try:
            document: dict[str, Any] = json.loads(text)
            schema = document["schema"]
            if not isinstance(schema, int):
                raise ValueError(f"schema {schema!r} is no number")
            if schema > SCHEMA:
                raise BuildError(
                    f"the manifest has schema {schema}; this version knows {SCHEMA}",
                    where=where,
                    hint="upgrade fabric-wheelhouse",
                )
            target = _target(document["target"], schema)
            wheels = tuple(_wheel(row, schema) for row in document["wheels"])
            manifest = cls(target, document["lock_sha256"], wheels, document["tool"])
            _check(manifest)
            claimed = document["digest"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ConfigurationError) as error:
            raise BuildError(
                f"this is no manifest ({error})", where=where, hint="remove it and create the bundle again"
            ) from None
        if manifest.digest != claimed:
            raise BuildError("the manifest was altered: its digest does not match", where=where, hint="remove it")
        return manifest


def _target(document: dict[str, Any], schema: int) -> Target:
    if schema > 1 or "markers" in document:
        return Target.from_document(document)
    # Schema 1 said at first no more of a target than the configuration does.
    kind = {"glibc": "manylinux", "musl": "musllinux", "": "macosx"}[document["libc"]]
    major, minor = document["version"]
    return Target.parse({"python": document["python"], "platform": f"{kind}_{major}_{minor}_{document['machine']}"})


def _wheel(row: dict[str, Any], schema: int) -> Wheel:
    row = dict(row)
    # Schema 1 knew no more than these two of an origin.
    origin = {"kind": row.pop("source"), "sha256": row.pop("source_sha256")} if schema == 1 else row.pop("origin")
    return Wheel(**row, origin=Origin(**origin))


def _check(manifest: Manifest) -> None:
    """Refuse what would lead out of the wheelhouse, is not what its name says, or would play with a terminal.

    :raises ValueError: the first thing that is wrong.
    """
    target = manifest.target
    if not _SHA256.fullmatch(manifest.lock_sha256):
        raise ValueError(f"lock_sha256 is {manifest.lock_sha256!r}")
    if not _PYTHON.fullmatch(target.python) or not all(0 <= number < 1000 for number in target.version):
        raise ValueError(f"the target is {target!r}")
    if not _NAME.fullmatch(target.name):
        raise ValueError(f"the target is {target.name!r}")
    texts = [manifest.tool, target.libc, *target.ext_suffixes, *(word for pair in target.environment for word in pair)]
    if not all(text.isprintable() for text in texts):
        raise ValueError("it has what cannot be shown")
    names = set()
    for wheel in manifest.wheels:
        _check_wheel(wheel)
        if wheel.name in names:
            raise ValueError(f"{wheel.name} is in it twice")
        names.add(wheel.name)


def _check_wheel(wheel: Wheel) -> None:
    try:
        name, version, _, _ = parse_wheel_filename(wheel.filename)
    except InvalidWheelFilename as error:
        raise ValueError(str(error)) from None
    plain = wheel.filename.isprintable() and not {"/", "\\"} & set(wheel.filename)
    if not plain or len(wheel.filename.encode()) > 255:
        raise ValueError(f"{wheel.filename!r} is no file name")
    if (name, str(version)) != (wheel.name, wheel.version):
        raise ValueError(f"{wheel.filename} is not {wheel.name!r} {wheel.version!r}")
    if not _SHA256.fullmatch(wheel.sha256) or not _SHA256.fullmatch(wheel.origin.sha256):
        raise ValueError(f"{wheel.filename} has no SHA-256")
    if type(wheel.size) is not int or wheel.size < 0:
        raise ValueError(f"{wheel.filename} has the size {wheel.size!r}")
    origin = wheel.origin
    if origin.kind not in KINDS or origin.builder not in BUILDERS:
        raise ValueError(f"{wheel.filename} has an origin that is not known: {origin.kind!r} {origin.builder!r}")
    words = [origin.index, origin.url, origin.revision, *origin.tools.keys(), *origin.tools.values(), *origin.grafted]
    if not all(word.isprintable() for word in words):
        raise ValueError(f"{wheel.filename} has an origin that cannot be shown")
    if origin.kind == "index" and not origin.builder and origin.sha256 != wheel.sha256:
        raise ValueError(f"{wheel.filename} is not the file that was published")


def digest(target: str, wheels: Iterable[Wheel]) -> str:
    listed = sorted([wheel.filename, wheel.sha256, wheel.size] for wheel in wheels)
    canonical = json.dumps({"target": target, "wheels": listed}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
