"""The project's own `fabric.yaml`, read before Fabric reads it: stages become tasks, so their names are needed early.

Light on purpose: this runs at each ``fab``, ``fab --list`` included.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from invoke import util

from .errors import ConfigurationError

# The parser that Fabric reads the same files with.
_yaml: Any = util.yaml  # type: ignore[attr-defined]

SUFFIXES = ("yaml", "yml", "json")


def project_directory(start: Path | None = None) -> Path:
    """The directory of the fabfile, found as Fabric's loader finds it: from *start* upwards."""
    start = Path(start or _option("-r", "--search-root") or ".").absolute()
    for directory in (start, *start.parents):
        if (directory / "fabfile.py").exists() or (directory / "fabfile" / "__init__.py").exists():
            return directory
    return start


def stage_names() -> tuple[str, ...]:
    """The names under ``deploy.stages`` of the project's file and of the file given with ``-f``.

    :raises ConfigurationError: a file is not YAML or JSON, or `deploy` or `stages` is not a mapping. Fabric would
        end in a traceback on them.
    """
    names: dict[str, None] = {}
    for path in configuration_files():
        stages = _mapping(path, _mapping(path, read(path), "deploy"), "deploy.stages")
        names.update(dict.fromkeys(str(name) for name in stages))
    return tuple(names)


def configuration_files() -> Iterator[Path]:
    """The files of the project and of the command line, lowest precedence first."""
    directory = project_directory()
    for suffix in SUFFIXES:
        path = directory / f"fabric.{suffix}"
        if path.is_file():
            yield path
            break
    runtime = _option("-f", "--config") or os.environ.get("INVOKE_RUNTIME_CONFIG")
    if runtime and runtime.endswith(SUFFIXES) and Path(runtime).is_file():
        yield Path(runtime)


def read(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text) if path.suffix == ".json" else _yaml.safe_load(text)
    except (ValueError, _yaml.YAMLError, OSError) as error:
        problem = " ".join(str(error).split())
        raise ConfigurationError(f"it cannot be read: {problem}", where=str(path)) from None
    if document is not None and not isinstance(document, Mapping):
        raise ConfigurationError("it must be a mapping with a section deploy:", where=str(path))
    return document or {}


def _mapping(path: Path, parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = parent.get(key.rpartition(".")[2])
    if value is not None and not isinstance(value, Mapping):
        raise ConfigurationError(f"must be a mapping, not {value!r}", where=f"{path}: {key}")
    return value or {}


def _option(short: str, long: str) -> str:
    """The value of a Fabric option on this command line; Fabric itself parses it later than we need it."""
    if not Path(sys.argv[0]).name.startswith("fab"):
        return ""
    arguments = sys.argv[1:]
    for index, argument in enumerate(arguments):
        if argument in (short, long):
            return arguments[index + 1] if index + 1 < len(arguments) else ""
        if argument.startswith(long + "="):
            return argument[len(long) + 1 :]
        if argument.startswith(short) and not argument.startswith("--") and len(argument) > 2:
            return argument[2:].lstrip("=")
    return ""
