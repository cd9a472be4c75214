"""`requirements.txt` with a pin and hashes for everything, as pip-tools, uv and poetry write it.

Format: pip's "Requirements File Format", and its "Hash-checking Mode".
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename

from ..target import Target
from . import direct, model
from .model import File, Pin, Terms, Tree

# Options that say where wheels come from.
SOURCES = ("-i", "--index-url", "--extra-index-url", "--no-index", "-f", "--find-links", "--trusted-host", "--pre")
_HASH = re.compile(r"(?:^|\s)--hash[= ]sha256:([0-9a-f]{64})(?=\s|$)")
_EDITABLE = re.compile(r"(?:-e|--editable)(?:\s+|=)(.*)")


@dataclass(frozen=True, slots=True)
class Requirements:
    """The pins of a requirements file and of those that it includes."""

    path: Path
    pins: tuple[Pin, ...]
    options: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        content = {
            "pins": sorted([pin.text, *sorted(pin.hashes)] for pin in self.pins),
            "options": self.options,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def trees(self) -> tuple[Path, ...]:
        return tuple(pin.source.path for pin in self.pins if isinstance(pin.source, Tree))

    def select(self, target: Target) -> tuple[Pin, ...]:
        """The pins whose markers hold for *target*."""
        environment = target.markers()
        chosen = [pin for pin in self.pins if pin.marker is None or model.holds(pin.marker, environment, self.path)]
        return model.distinct(chosen, target, self.path)


def read(path: Path, terms: Terms, text: str | None = None) -> Requirements:
    """Read a requirements file and the ones it includes with ``-r``.

    :param text: its text, where an exporter wrote it; paths in it start at *path*'s directory.
    :raises ConfigurationError: there is no such file.
    :raises BuildError: naming every requirement that has no pin or no hash.
    """
    pins: list[Pin] = []
    options: list[str] = []
    problems: list[str] = []
    warnings: list[str] = []
    for where, beside, line in lines(path, text):
        try:
            words = shlex.split(line) if line.startswith("-") else []
        except ValueError as error:
            problems.append(f"{where}: {line}: {error}")
            continue
        if words and words[0].partition("=")[0] in SOURCES:
            options += words
            continue
        if words and not _EDITABLE.match(line):
            continue
        pin, problem = _pin(line, beside, terms)
        if pin is None:
            problems.append(f"{where}: {problem}")
            continue
        pins.append(replace(pin, where=where))
        if problem:
            (problems if terms.require_hashes else warnings).append(f"{where}: {problem}")
    model.refuse(path, problems)
    return Requirements(path, tuple(pins), tuple(options), tuple(warnings))


def lines(path: Path, text: str | None = None, seen: frozenset[Path] = frozenset()) -> Iterator[tuple[str, Path, str]]:
    """Logical lines with where they are: continued lines joined, comments dropped, included files in place."""
    joined = ""
    start = 0
    for number, raw in enumerate((model.text(path) if text is None else text).splitlines(), 1):
        start = start or number
        line = re.sub(r"(^|\s+)#.*$", "", raw).rstrip()
        if line.endswith("\\"):
            joined += line[:-1] + " "
            continue
        line, joined = (joined + line).strip(), ""
        where, start = f"{path.name}:{start}", 0
        if not line:
            continue
        option, _, value = line.partition("=") if line.startswith("--") else line.partition(" ")
        if option in ("-r", "--requirement", "-c", "--constraint"):
            included = path.parent / value.strip()
            if option in ("-r", "--requirement") and included not in seen:
                yield from lines(included, None, seen | {path})
            continue
        yield where, path.parent, line


def _pin(line: str, directory: Path, terms: Terms) -> tuple[Pin | None, str]:
    """A line as a pin, and what is wrong with it; without a pin, it cannot be let pass."""
    hashes = frozenset(_HASH.findall(line))
    text = re.split(r"\s+--\w", line, maxsplit=1)[0].strip()
    editable = _EDITABLE.match(text)
    if editable:
        text = editable[1].strip()
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return _placed("", text, None, hashes, directory, terms, "-e " if editable else "")
    if requirement.url is not None:
        return _placed(canonicalize_name(requirement.name), requirement.url, requirement, hashes, directory, terms)
    if editable:
        return _placed("", text, None, hashes, directory, terms, "-e ")
    operators = [item.operator for item in requirement.specifier]
    if operators not in (["=="], ["==="]) or "*" in str(requirement.specifier):
        return None, f"{text}: no exact version (name==version)"
    version = next(item.version for item in requirement.specifier)
    pin = Pin(canonicalize_name(requirement.name), version, hashes, str(requirement), requirement.marker)
    return pin, "" if hashes else f"{text}: no hash (--hash=sha256:...)"


def _placed(
    name: str,
    text: str,
    requirement: Requirement | None,
    hashes: frozenset[str],
    directory: Path,
    terms: Terms,
    prefix: str = "",
) -> tuple[Pin | None, str]:
    """A requirement by URL or path. What lies in a directory or a repository has a hash of its own."""
    url, marker = text, requirement.marker if requirement else None
    if requirement is None:
        # In a URL a semicolon needs a blank beside it to begin a marker (PyPA, "Dependency specifiers").
        url, *condition = re.split(r"\s+;\s*|;\s+", text, maxsplit=1)
        if condition:
            try:
                marker = Marker(condition[0])
            except InvalidMarker:
                return None, f"{text}: it is no requirement; pin a released version"
        url = re.sub(r"\[[\w\s,.-]*\]$", "", url)
        if not (prefix or re.search(r"[/:]|^\.|\.whl$", url)):
            return None, f"{text}: it is no requirement; pin a released version"
    source, problem = direct.place(url, directory, require_commit=terms.require_hashes)
    if source is None:
        return None, f"{prefix}{text}: {problem}"
    shown = str(requirement) if requirement else text
    if isinstance(source, Tree):
        return Pin(name or direct.project_name(source.path), "", frozenset(), shown, marker, source), ""
    if not isinstance(source, File):
        moving = "" if direct.COMMIT.fullmatch(source.reference) else f"{text}: no commit, as hashes: warn allows"
        return Pin(name or direct.egg(url), "", frozenset(), shown, marker, source), moving
    hashes |= {source.sha256} - {""}
    named, version = _named(source.filename)
    pin = Pin(name or named or direct.egg(url), version, hashes, shown, marker, source)
    return pin, "" if hashes else f"{text}: no hash (--hash=sha256:...)"


def _named(filename: str) -> tuple[str, str]:
    try:
        if filename.endswith(".whl"):
            project, release, _, _ = parse_wheel_filename(filename)
        else:
            project, release = parse_sdist_filename(filename)
    except ValueError:
        return "", ""
    return project, str(release)
