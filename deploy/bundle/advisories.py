"""Known vulnerabilities of packages, looked up in a local database of OSV records (Open Source Vulnerability format 1).

Such a database is a directory with one JSON file for each vulnerability, or a zip file of it as osv.dev exports it.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from ..errors import ConfigurationError

Pins = frozenset[tuple[str, str]]
"""Pairs of a canonical name and a version."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One vulnerability of one package.

    :ivar names: its identifier first, then its other names (CVE, GHSA, PYSEC).
    :ivar fixed: versions in which it is mended, as far as known.
    """

    package: str
    version: str
    names: tuple[str, ...]
    fixed: tuple[str, ...]


def search(database: Path, pins: Pins) -> tuple[list[Finding], int]:
    """The vulnerabilities of *pins*, and how many records were looked at.

    :raises ConfigurationError: there is no database, or something in it cannot be read: it might be what matters.
    """
    versions: dict[str, list[str]] = {}
    for name, version in sorted(pins):
        versions.setdefault(name, []).append(version)
    found: dict[Finding, None] = {}
    count = 0
    for where, content in _records(database):
        record = _parsed(where, content)
        count += 1
        if record.get("withdrawn"):
            continue
        try:
            found.update(dict.fromkeys(_findings(record, versions)))
        except (AttributeError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"this is no OSV record: {error}", where=where, hint="get the database again"
            ) from None
    if not count:
        raise ConfigurationError("there is no OSV record in it", where=str(database), hint="deploy.audit.database")
    return sorted(found, key=lambda finding: (finding.package, finding.names)), count


def _findings(record: Mapping[str, Any], versions: Mapping[str, Iterable[str]]) -> Iterator[Finding]:
    for affected in record.get("affected") or []:
        package = affected.get("package") or {}
        if str(package.get("ecosystem", "")).partition(":")[0] != "PyPI":
            continue
        name = canonicalize_name(str(package.get("name", "")))
        for version in versions.get(name, []):
            if is_affected(affected, version):
                names = (str(record["id"]), *(str(alias) for alias in record.get("aliases") or []))
                yield Finding(name, version, names, _fixed(affected))


def is_affected(affected: Mapping[str, Any], version: str) -> bool:
    """Whether a version is meant by an entry of ``affected`` (OSV format, "Evaluation").

    Where the entry's own versions cannot be compared, it is.
    """
    here = Version(version)
    for listed in affected.get("versions") or []:
        try:
            if Version(str(listed)) == here:
                return True
        except InvalidVersion:
            continue
    ranges = [each for each in affected.get("ranges") or [] if each.get("type") in ("ECOSYSTEM", "SEMVER")]
    return any(_within(each.get("events") or [], here) for each in ranges)


def _within(events: Iterable[Mapping[str, Any]], version: Version) -> bool:
    try:
        ordered = sorted(
            (Version("0.dev0") if str(bound) == "0" else Version(str(bound)), kind)
            for event in events
            for kind, bound in event.items()
        )
    except InvalidVersion:
        return True
    affected = False
    for bound, kind in ordered:
        if kind == "introduced" and version >= bound:
            affected = True
        elif (kind == "fixed" and version >= bound) or (kind == "last_affected" and version > bound):
            affected = False
    return affected


def _fixed(affected: Mapping[str, Any]) -> tuple[str, ...]:
    ranges = [each for each in affected.get("ranges") or [] if each.get("type") in ("ECOSYSTEM", "SEMVER")]
    events = [event for each in ranges for event in each.get("events") or []]
    return tuple(dict.fromkeys(str(event["fixed"]) for event in events if "fixed" in event))


def _records(database: Path) -> Iterator[tuple[str, bytes]]:
    """Every record with where it lies."""
    try:
        if database.is_dir():
            for path in sorted(database.rglob("*.json")):
                yield str(path), path.read_bytes()
            return
        with zipfile.ZipFile(database) as archive:
            for name in archive.namelist():
                if name.endswith(".json"):
                    yield f"{database}: {name}", archive.read(name)
    except Exception as error:  # zipfile and its decompressors have no common one
        raise ConfigurationError(
            f"the database of vulnerabilities cannot be read: {error}",
            where=str(database),
            hint="deploy.audit.database names a directory of OSV records, or a zip file of them",
        ) from None


def _parsed(where: str, content: bytes) -> dict[str, Any]:
    try:
        record = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"this is no OSV record: {error}", where=where, hint="get the database again"
        ) from None
    major = str(record.get("schema_version", "1.0.0")).partition(".")[0] if isinstance(record, dict) else ""
    if not isinstance(record, dict) or "id" not in record or major != "1":
        raise ConfigurationError("this is no OSV record of format 1", where=where, hint="get the database again")
    return record
