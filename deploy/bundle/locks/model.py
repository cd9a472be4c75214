"""What all lock files come down to: pins, each with its hashes, and where its files or its source are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from packaging.markers import Marker

from ...errors import BuildError, ConfigurationError
from ..target import Target

_Context = Literal["requirement", "lock_file"]


@dataclass(frozen=True, slots=True)
class Terms:
    """How a lock file is read.

    :ivar extras: of the project, where the lock file knows them (``pylock.toml``, ``uv.lock``, ``poetry.lock``).
    :ivar groups: dependency groups that are installed beside the defaults, where the lock file knows them.
    :ivar require_hashes: a requirement without a hash is refused; otherwise it is warned of.
    :ivar package: the directory of the app, where the app is a package that is built and installed itself.
    """

    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    require_hashes: bool = True
    package: Path | None = None


@dataclass(frozen=True, slots=True)
class File:
    """One file that can be fetched.

    :ivar url: http, https or file; may hold credentials.
    :ivar sha256: as the index or the lock file says; '' where it does not.
    :ivar index: the index or the page that listed it; '' where the lock file itself names the file.
    :ivar yanked: why it should not be used any more (PEP 592); None where nobody says so.
    """

    filename: str
    url: str
    sha256: str = ""
    requires_python: str = ""
    yanked: str | None = None
    index: str = ""


@dataclass(frozen=True, slots=True)
class Git:
    """A commit of a git repository.

    :ivar reference: a whole commit hash, or a branch or tag where hashes are not required.
    """

    url: str
    reference: str
    subdirectory: str = ""


@dataclass(frozen=True, slots=True)
class Tree:
    """A directory of this machine."""

    path: Path


@dataclass(frozen=True, slots=True)
class Pin:
    """One requirement: a project, one version, the hashes of its files.

    :ivar name: canonical; '' for a directory or a repository that does not say it.
    :ivar version: '' where a URL, a directory or a commit stands for it.
    :ivar hashes: SHA-256 of every file that upstream published and the lock file accepts.
    :ivar text: as written, with its marker and without hashes.
    :ivar source: what to take instead of an index's files.
    :ivar where: file and line, for messages.
    """

    name: str
    version: str
    hashes: frozenset[str]
    text: str
    marker: Marker | None = None
    source: File | Git | Tree | None = None
    where: str = ""

    @property
    def label(self) -> str:
        """What people call it: ``click 8.1.8``, or the requirement as written."""
        return f"{self.name} {self.version}" if self.name and self.version else self.name or self.text


class LockFile(Protocol):
    """All pins of a lock file.

    :ivar sha256: of what matters; comments and the order of lines do not.
    :ivar options: where to look for files, as pip's options, as they are written.
    :ivar trees: the directories that it names, whatever the target.
    :ivar warnings: what is not as it should be, and let pass.
    """

    @property
    def path(self) -> Path: ...

    @property
    def sha256(self) -> str: ...

    @property
    def options(self) -> tuple[str, ...]: ...

    @property
    def trees(self) -> tuple[Path, ...]: ...

    @property
    def warnings(self) -> tuple[str, ...]: ...

    def select(self, target: Target) -> tuple[Pin, ...]:
        """The pins that hold for *target*.

        :raises BuildError: a project is pinned twice, or the lock file is not for such a target.
        """


HOW = (
    "pip-compile --generate-hashes, uv pip compile --generate-hashes and fab lock-requirements write such a file;\n"
    "hashes: warn takes what has a version and no hash, and warns"
)


def refuse(path: Path, problems: Sequence[str]) -> None:
    """Tell all that keeps a lock file from being used, if anything does.

    :raises BuildError: with one line for each problem.
    """
    if problems:
        lines = "\n  ".join(problems)
        raise BuildError(
            f"not everything in the lock file is pinned with a hash:\n  {lines}", where=str(path), hint=HOW
        )


def text(path: Path) -> str:
    """The lock file's text.

    :raises ConfigurationError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        if isinstance(error, UnicodeDecodeError):
            reason = f"it is not UTF-8 ({error.reason})"
        hint = "deploy.requirements names the lock file; fab lock-requirements writes one"
        raise ConfigurationError(f"the lock file cannot be read: {reason}", where=str(path), hint=hint) from None


_QUOTED = re.compile(r"['\"]([^'\"]*)['\"]")


def holds(marker: Marker, environment: Mapping[str, Any], path: Path, context: _Context = "requirement") -> bool:
    """Whether a marker holds for a target.

    :raises BuildError: it asks for the kernel, which targets do not tell.
    """
    text = str(marker)
    asked = [name for name in ("platform_release", "platform_version") if name in text]
    result = marker.evaluate(dict(environment), context)
    # With any of these values it must be the same, or it depends on what each host has for itself.
    values = ["0", "9999", *_QUOTED.findall(text)] if asked else []
    if any(marker.evaluate({**environment, **dict.fromkeys(asked, value)}, context) != result for value in values):
        raise BuildError(
            f"a marker depends on the kernel of each host: {text}",
            where=str(path),
            hint="a bundle is for all hosts of a target; lock for one kind of system, without that marker",
        )
    return result


def distinct(pins: Sequence[Pin], target: Target, path: Path) -> tuple[Pin, ...]:
    """*pins*, each project once.

    :raises BuildError: a project is pinned twice, in different ways.
    """
    selected: dict[str, Pin] = {}
    for pin in pins:
        other = selected.setdefault(pin.name or pin.text, pin)
        if (other.version, other.source) != (pin.version, pin.source):
            first, second = (each.version or each.text for each in (other, pin))
            raise BuildError(f"{pin.name} is pinned twice for {target.name}: {first} and {second}", where=str(path))
    return tuple(selected.values())
