"""The project's own `fabric.yaml`, read before Fabric reads it: stages become tasks, so their names are needed early.

Light on purpose: this runs at each ``fab``, ``fab --list`` included.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .documents import read
from .errors import ConfigurationError

SUFFIXES = ("yaml", "yml", "json")
EXECUTOR = "deploy.executor.Executor"


def project_directory(start: Path | None = None) -> Path:
    """The directory of the fabfile, found as Fabric's loader finds it: from *start* upwards."""
    start = Path(start or _option("-r", "--search-root") or ".").absolute()
    for directory in (start, *start.parents):
        if (directory / "fabfile.py").exists() or (directory / "fabfile" / "__init__.py").exists():
            return directory
    return start


def stage_names() -> tuple[str, ...]:
    """The names under ``deploy.stages`` of the project's file and of the file given with ``-f``.

    :raises ConfigurationError: a file is not YAML or JSON, or `deploy` or `stages` is not a mapping, or a key is no
        text, or is a mapping where it is none elsewhere. Fabric would end in a traceback on them. Or the file given
        with ``-f`` is not there: Fabric would go on.
    """
    names: dict[str, None] = {}
    known = _known_to_fabric()
    for path in configuration_files():
        document = read(path)
        _assert_mergeable(path, known, document)
        _assert_executor(path, _mapping(path, document, "tasks").get("executor_class", EXECUTOR))
        stages = _mapping(path, _mapping(path, document, "deploy"), "deploy.stages")
        names.update(dict.fromkeys(str(name) for name in stages))
    return tuple(names)


def _known_to_fabric() -> dict[str, Any]:
    """Fabric's own keys with their defaults, and those that our tasks bring."""
    from fabric import Config

    return {**Config.global_defaults(), "deploy": {"stage": None, "default_stage": None}}


def _assert_mergeable(path: Path, known: dict[str, Any], document: Mapping[str, Any], above: str = "") -> None:
    """Refuse a mapping where there is none already, and the other way round; what is new goes into *known*."""
    for key, value in document.items():
        if key in known and isinstance(known[key], dict) != isinstance(value, dict):
            where = f"{path}: {above}{key}"
            if value is None:
                raise ConfigurationError("is empty; it must be a mapping", where=where)
            needed = "must be a mapping" if isinstance(known[key], dict) else "must not be a mapping"
            raise ConfigurationError(f"{needed}, as it is by default or in another file", where=where)
        if isinstance(value, dict):
            _assert_mergeable(path, known.setdefault(key, {}), value, f"{above}{key}.")
        else:
            known[key] = value


def _assert_executor(path: Path, name: Any) -> None:
    if not isinstance(name, str) or (name.startswith("deploy.") and name != EXECUTOR):
        raise ConfigurationError(f"there is no {name}; did you mean {EXECUTOR}?", where=f"{path}: tasks.executor_class")


def configuration_files() -> Iterator[Path]:
    """The files of the project and of the command line, lowest precedence first."""
    directory = project_directory()
    for suffix in SUFFIXES:
        path = directory / f"fabric.{suffix}"
        if path.is_file():
            yield path
            break
    runtime = _option("-f", "--config") or os.environ.get("INVOKE_RUNTIME_CONFIG")
    if not runtime:
        return
    if Path(runtime).suffix.lstrip(".") not in (*SUFFIXES, "py"):
        raise ConfigurationError("its name must end in .yaml, .yml, .json or .py", where=runtime)
    if not Path(runtime).is_file():
        raise ConfigurationError("there is no such file", where=runtime, hint="it was given with -f (--config)")
    if not runtime.endswith(".py"):
        yield Path(runtime)


def _mapping(path: Path, parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = parent.get(key.rpartition(".")[2], {})
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f"must be a mapping, not {value!r}" if value is not None else "is empty; it must be a mapping",
            where=f"{path}: {key}",
        )
    return value


def _option(short: str, long: str) -> str:
    """The value of a Fabric option on this command line; Fabric itself parses it later than we need it."""
    if not Path(sys.argv[0]).name.startswith("fab"):
        return ""
    arguments = sys.argv[1:]
    if "--" in arguments:
        arguments = arguments[: arguments.index("--")]
    for index, argument in enumerate(arguments):
        if argument in (short, long):
            return arguments[index + 1] if index + 1 < len(arguments) else ""
        if argument.startswith(long + "="):
            return argument[len(long) + 1 :]
        if argument.startswith(short) and not argument.startswith("--") and len(argument) > 2:
            return argument[2:].lstrip("=")
    return ""
