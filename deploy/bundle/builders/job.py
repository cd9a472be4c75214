"""What a builder is given and gives back: one source distribution or directory, one target, one wheel."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import textwrap
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ...errors import BuildError
from .. import pip
from ..target import Target
from . import unpacking

WORK = Path(__file__).with_name("work.py")

# pyproject.toml specification: what stands for a [build-system] that is not there.
_LEGACY = {"requires": ["setuptools >= 40.8.0"], "build-backend": "setuptools.build_meta:__legacy__"}


@dataclass(frozen=True, slots=True)
class Job:
    """One source to be built for one target.

    :ivar sdist: a source distribution, or a directory that may be copied as it is.
    :ivar space: a directory of its own; nobody needs it afterwards.
    :ivar environment: pip's, which says where build requirements come from; empty for the surrounding one.
    :ivar options: of pip besides, which say the same.
    :ivar constraints: a file that pins the build requirements, where the application has one.
    """

    sdist: Path
    target: Target
    space: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    options: Sequence[str] = ()
    constraints: Path | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """A wheel and how it came to be.

    :ivar builder: the builder's name, and where it worked: ``host build@example.org``.
    :ivar tools: names and versions of what made it: Python, compiler, build requirements.
    :ivar grafted: libraries of the building machine that were copied into the wheel.
    """

    wheel: Path
    builder: str
    tools: Mapping[str, str] = field(default_factory=dict)
    grafted: tuple[str, ...] = ()


class Builder(Protocol):
    """One way to build."""

    @property
    def name(self) -> str: ...

    def unfit(self, target: Target) -> str:
        """Why it cannot build for *target*; '' where it can."""

    def build(self, job: Job) -> Made:
        """:raises BuildError: with the end of what the build said."""


@dataclass(frozen=True, slots=True)
class BuildSystem:
    """The ``[build-system]`` table of a source distribution."""

    requires: tuple[str, ...]
    backend: str
    path: tuple[str, ...]


def unpack(sdist: Path, directory: Path) -> BuildSystem:
    """Unpack or copy into ``directory/source``; the build system that it names.

    :raises BuildError: the archive cannot be read, is no source distribution, or reaches outside.
    """
    source = directory / "source"
    if sdist.is_dir():
        shutil.copytree(sdist, source, symlinks=True)
    else:
        _extract(sdist, directory).rename(source)
    try:
        table = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8")).get("build-system", _LEGACY)
    except FileNotFoundError:
        table = _LEGACY
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BuildError(f"{sdist.name}: its pyproject.toml cannot be read ({error})") from None
    requires = table.get("requires", _LEGACY["requires"])
    backend = table.get("build-backend", _LEGACY["build-backend"])
    return BuildSystem(tuple(requires), backend, tuple(table.get("backend-path", ())))


def _extract(sdist: Path, directory: Path) -> Path:
    """The one directory of a source distribution."""
    unpacked = directory / "unpacked"
    unpacked.mkdir()
    try:
        if sdist.suffix == ".zip":
            with zipfile.ZipFile(sdist) as archive:
                archive.extractall(unpacked)
        else:
            with tarfile.open(sdist) as archive:
                unpacking.extract(archive, unpacked)
    except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError) as error:
        raise BuildError(f"{sdist.name} cannot be unpacked ({error})") from None
    inside = list(unpacked.iterdir())
    if len(inside) != 1 or not inside[0].is_dir():
        raise BuildError(f"{sdist.name} is no source distribution: it holds {len(inside)} things, not one directory")
    return inside[0]


def prepare(job: Job) -> BuildSystem:
    """An empty space with the source in it, and the program that will work on it."""
    shutil.rmtree(job.space, ignore_errors=True)
    job.space.mkdir(parents=True)
    (job.space / "wheels").mkdir()
    shutil.copy(WORK, job.space)
    return unpack(job.sdist, job.space)


def description(
    system: BuildSystem,
    dynamic: Sequence[str] | None,
    *,
    pip: Sequence[str],
    python: str = "",
    machine: str = "",
    build_environment: Mapping[str, str] | None = None,
    repair: bool = False,
) -> dict[str, Any]:
    """The job as :mod:`.work` reads it."""
    return {
        "python": python,
        "machine": machine,
        "backend": system.backend,
        "backend_path": list(system.path),
        "requires": list(system.requires),
        "dynamic": None if dynamic is None else list(dynamic),
        "pip": list(pip),
        "build_environment": dict(build_environment or {}),
        "repair": repair,
    }


def gather_here(job: Job, words: Sequence[str], requires: Sequence[str]) -> None:
    """Build requirements for an interpreter of this machine, as wheels; those that have none are built.

    :param words: start pip for that interpreter.
    :raises BuildError: with pip's last lines.
    """
    if not requires:
        return
    words = [*words, "wheel", *pip.QUIET, *job.options, *_constraint(job)]
    command = [*words, "--wheel-dir", str(job.space / "wheels"), "--", *requires]
    pip.run(command, f"the build requirements of {job.sdist.name} could not be had", _outside(job))


def gather_for(job: Job, platform: Target, requires: Sequence[str]) -> None:
    """Build requirements for another machine, as wheels.

    :raises BuildError: with pip's last lines.
    """
    words = [*pip.local_pip(), "download", *pip.QUIET, *job.options, *_constraint(job), *pip.wheels_for(platform)]
    command = [*words, "--dest", str(job.space / "wheels"), "--", *requires]
    pip.run(command, f"the build requirements of {job.sdist.name} could not be had for {platform.name}", _outside(job))


def sent_pip(job: Job, python: str = "{env}", directory: str = "{directory}") -> list[str]:
    """The words that start the pip that lies among the wheels: a wheel of pip can be run as it is."""
    found = max((job.space / "wheels").glob("pip-*.whl"))
    return [python, f"{directory}/wheels/{found.name}/pip"]


def work_here(job: Job, python: str, described: Mapping[str, Any]) -> dict[str, Any]:
    """Have *python* do the work in the space; its result."""
    (job.space / "job.json").write_text(json.dumps(described))
    command = [python, "-I", str(job.space / "work.py"), str(job.space)]
    # A backend that asks git for the version must not write into the user's repository.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, check=False
    )
    return result_of(job, done.stderr)


def result_of(job: Job, said: str) -> dict[str, Any]:
    """What the program left in the space.

    :raises BuildError: the build failed, or the program did.
    """
    try:
        result: dict[str, Any] = json.loads((job.space / "result.json").read_text())
    except (OSError, ValueError):
        raise BuildError(f"{job.sdist.name}: the build ended unexpectedly", output=said) from None
    if "failed" in result and "lacking" not in result:
        output = _last_words(result["output"])
        raise BuildError(result["failed"], output=output, hint=pip.advice(result["output"]))
    return result


def made(job: Job, builder: str, result: Mapping[str, Any]) -> Made:
    tools = {"python": result["python"], "compiler": result["compiler"], **result["installed"]}
    return Made(job.space / "out" / result["wheel"], builder, tools, tuple(result["grafted"]))


def _last_words(said: str) -> str:
    """What a build said, of a traceback only what it ends in: the compiler's message stands before it."""
    return textwrap.dedent(pip.TRACE.sub("", said))


def _constraint(job: Job) -> list[str]:
    return ["--constraint", str(job.constraints)] if job.constraints else []


def _outside(job: Job) -> dict[str, str]:
    """Variables for pip: the lock file's hashes are none of the build requirements'."""
    environment = {**(job.environment or os.environ)}
    environment.pop("PIP_REQUIRE_HASHES", None)
    return environment
