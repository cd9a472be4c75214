"""The lock file: `requirements.txt` with a pin and hashes for everything, as pip-tools and uv write it.

Format: pip's "Requirements File Format", and its "Hash-checking Mode".
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ..errors import BuildError, ConfigurationError
from .target import Target

# Options that say where wheels come from; pip gets them as they are.
_SOURCES = ("-i", "--index-url", "--extra-index-url", "--no-index", "-f", "--find-links", "--trusted-host", "--pre")
_QUOTED = re.compile(r"\"([^\"]*)\"")
_HASH = re.compile(r"(?:^|\s)--hash[= ]sha256:([0-9a-f]{64})(?=\s|$)")


@dataclass(frozen=True, slots=True)
class Pin:
    """One requirement: a project, one version, the hashes of its files.

    :ivar requirement: as written, with its marker.
    :ivar hashes: SHA-256 of every file that upstream published and the lock file accepts.
    """

    requirement: Requirement
    hashes: frozenset[str]
    line: str

    @property
    def name(self) -> str:
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> str:
        """The version, '' for a requirement by URL."""
        return next((item.version for item in self.requirement.specifier), "")

    @property
    def text(self) -> str:
        """For pip: without its marker, which was evaluated for the target, not for this machine."""
        bare = Requirement(str(self.requirement))
        bare.marker = None
        return " ".join([str(bare), *(f"--hash=sha256:{value}" for value in sorted(self.hashes))])


@dataclass(frozen=True, slots=True)
class LockFile:
    """All pins of a lock file.

    :ivar options: where to look for wheels, as pip's options, as they are written.
    """

    path: Path
    pins: tuple[Pin, ...]
    options: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> LockFile:
        """Read a lock file and the ones it includes with ``-r``.

        :raises ConfigurationError: there is no such file.
        :raises BuildError: naming every requirement that has no pin or no hash.
        """
        pins: list[Pin] = []
        options: list[str] = []
        problems: list[str] = []
        for where, line in _lines(path):
            if line.startswith("-"):
                words = shlex.split(line)
                if words[0].partition("=")[0] in _SOURCES:
                    options += words
                elif words[0] in ("-e", "--editable"):
                    problems.append(f"{where}: {line}: an editable requirement cannot be bundled; pin a release of it")
                continue
            pin, problem = _pin(line)
            if problem:
                problems.append(f"{where}: {problem}")
            elif pin:
                pins.append(pin)
        if problems:
            raise BuildError(
                "not everything in the lock file is pinned with a hash:\n  " + "\n  ".join(problems),
                where=str(path),
                hint="pip-compile --generate-hashes, or uv pip compile --generate-hashes, writes such a file",
            )
        return cls(path, tuple(pins), tuple(options))

    @property
    def sha256(self) -> str:
        """Of what matters: requirements, hashes, options. Comments and the order of lines do not."""
        content = {
            "pins": sorted([str(pin.requirement), *sorted(pin.hashes)] for pin in self.pins),
            "options": self.options,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def sources(self) -> tuple[str, ...]:
        """The options for pip, wherever it runs: directories beside the lock file by their whole path."""
        return tuple(_beside(self.path, option) for option in self.options)

    def select(self, target: Target) -> tuple[Pin, ...]:
        """The pins whose markers hold for *target*.

        :raises BuildError: a project is pinned twice, or a marker asks for the kernel, which targets do not tell.
        """
        environment = target.markers()
        selected: dict[str, Pin] = {}
        for pin in self.pins:
            marker = pin.requirement.marker
            if marker is not None and not self._holds(marker, environment):
                continue
            other = selected.setdefault(pin.name, pin)
            if other is not pin and other.requirement.specifier != pin.requirement.specifier:
                raise BuildError(
                    f"{pin.name} is pinned twice for {target.name}: {other.version} and {pin.version}",
                    where=str(self.path),
                )
        return tuple(selected.values())

    def _holds(self, marker: Marker, environment: dict[str, str]) -> bool:
        text = str(marker)
        asked = [name for name in ("platform_release", "platform_version") if name in text]
        holds = marker.evaluate(environment)
        # With any of these values it must be the same, or it depends on what each host has for itself.
        values = ["0", "9999", *_QUOTED.findall(text)] if asked else []
        if any(marker.evaluate({**environment, **dict.fromkeys(asked, value)}) != holds for value in values):
            raise BuildError(
                f"a marker depends on the kernel of each host: {text}",
                where=str(self.path),
                hint="a bundle is for all hosts of a target; lock for one kind of system, without that marker",
            )
        return holds


def _lines(path: Path, seen: frozenset[Path] = frozenset()) -> Iterator[tuple[str, str]]:
    """Logical lines with where they are: continued lines joined, comments dropped, included files in place."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it is not UTF-8 ({error.reason})"
        hint = "deploy.requirements names the lock file; pip-compile --generate-hashes writes one"
        raise ConfigurationError(f"the lock file cannot be read: {reason}", where=str(path), hint=hint) from None
    joined = ""
    start = 0
    for number, raw in enumerate(text.splitlines(), 1):
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
                yield from _lines(included, seen | {path})
            continue
        yield where, line


def _beside(path: Path, option: str) -> str:
    name, joined, value = option.rpartition("=")
    directory = path.absolute().parent / value
    is_directory = value and not value.startswith("-") and directory.is_dir()
    return f"{name}{joined}{directory}" if is_directory else option


def _pin(line: str) -> tuple[Pin | None, str]:
    """A line as a pin, or what is wrong with it."""
    hashes = frozenset(_HASH.findall(line))
    text = re.split(r"\s+--\w", line, maxsplit=1)[0].strip()
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        kind = "a path or a version-control URL cannot be bundled yet" if "/" in text else "it is no requirement"
        return None, f"{text}: {kind}; pin a released version"
    if requirement.url is not None:
        if requirement.url.startswith(("git+", "hg+", "svn+", "bzr+", "file:")):
            return None, f"{text}: a version-control or file URL cannot be bundled yet; pin a released version"
    else:
        operators = [item.operator for item in requirement.specifier]
        if operators not in (["=="], ["==="]) or "*" in str(requirement.specifier):
            return None, f"{text}: no exact version (name==version)"
    if not hashes:
        return None, f"{text}: no hash (--hash=sha256:...)"
    return Pin(requirement, hashes, text), ""
