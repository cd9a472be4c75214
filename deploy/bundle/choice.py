"""Which of an index's files a requirement takes, for a target. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import (
    BuildTag,
    canonicalize_name,
    canonicalize_version,
    parse_sdist_filename,
    parse_wheel_filename,
)

from .locks.model import File, Pin
from .target import Target


@dataclass(frozen=True, slots=True)
class Choice:
    """The files that a requirement can take, best first; or why there is none."""

    files: tuple[File, ...] = ()
    reason: str = ""


def project(filename: str) -> tuple[str, str] | None:
    """The project and the version that a file's name says; None where it is no distribution."""
    if "/" in filename or "\0" in filename:
        return None
    try:
        if filename.endswith(".whl"):
            name, version, _, _ = parse_wheel_filename(filename)
            return name, str(version)
        if filename.endswith((".tar.gz", ".zip")):
            found, release = parse_sdist_filename(filename)
            return found, str(release)
    except ValueError:
        # Old source distributions are named in other ways, name with dots among them.
        pass
    stem, dot, _ = filename.partition(".tar")
    if not dot and filename.endswith((".zip", ".tgz")):
        stem, dot = filename.rpartition(".")[0], "."
    legacy, dash, number = stem.rpartition("-")
    return (canonicalize_name(legacy), number) if dot and dash else None


def is_wheel(file: File) -> bool:
    return file.filename.endswith(".whl")


def choose(pin: Pin, files: Iterable[File], target: Target) -> Choice:
    """The files of *pin* that fit *target* and that the lock file allows: wheels by their tags, then source.

    A file whose place says no hash comes after those whose hash is known to be the right one.
    """
    own = [(file, found) for file in files if (found := project(file.filename)) and found[0] == pin.name]
    if not own:
        return Choice(reason="no index has it")
    wanted = canonicalize_version(pin.version)
    same = [file for file, found in own if canonicalize_version(found[1]) == wanted]
    if not same:
        return Choice(reason="no index has that version")
    fitting = [file for file in same if not is_wheel(file) or target.fits(file.filename)]
    if not fitting:
        return Choice(reason=f"no file of it fits {target.name}")
    runs = [file for file in fitting if _runs(file.requires_python, target)]
    if not runs:
        return Choice(reason=f"it needs Python {fitting[0].requires_python}, and the target has {target.python}")
    allowed = [file for file in runs if not pin.hashes or not file.sha256 or file.sha256 in pin.hashes]
    if not allowed:
        return Choice(reason="a file is not the one that was locked: no index has one of the lock file's hashes")
    return Choice(tuple(sorted(allowed, key=lambda file: _order(pin, file, target))))


def _order(pin: Pin, file: File, target: Target) -> tuple[bool, bool, int, tuple[int, str], str]:
    unknown = bool(pin.hashes) and not file.sha256
    if not is_wheel(file):
        return unknown, True, 0, (0, ""), file.filename
    build: BuildTag = parse_wheel_filename(file.filename)[2]
    number, rest = build or (0, "")
    return unknown, False, target.rank(file.filename), (-number, rest), file.filename


def _runs(requires: str, target: Target) -> bool:
    """Whether a Python of the target's series is allowed; of the series, because its last number is seldom known."""
    try:
        specifier = SpecifierSet(requires)
    except InvalidSpecifier:
        return True
    known = target.markers()["python_full_version"]
    return any(specifier.contains(version, prereleases=True) for version in (known, f"{target.python}.99"))
