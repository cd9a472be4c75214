"""A file of configuration as a mapping, read as Fabric reads it: what it would end in a traceback on is told before.

What is wrong is told by place and key; what stands there is not, as it may be a secret.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from invoke import util

from .errors import ConfigurationError

# The parser that Fabric reads the same files with.
_yaml: Any = util.yaml  # type: ignore[attr-defined]

DEEPEST = 40
"""How deep a file may be nested."""

MOST = 100_000
"""Values that a file may have; one that is named by an alias counts wherever it is named."""


def read(path: Path) -> Mapping[str, Any]:
    """
    :raises ConfigurationError: it is no mapping in YAML or JSON, has a key twice or one that is no text, or has no end.
    """
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text, object_pairs_hook=_once) if path.suffix == ".json" else _yaml.load(text, _Loader)
    except RecursionError:
        raise _nested(path) from None
    except Exception as error:  # a tag's own constructor raises what it likes
        raise ConfigurationError(f"it cannot be read: {_problem(error)}", where=str(path)) from None
    if document is not None and not isinstance(document, Mapping):
        raise ConfigurationError("it must be a mapping with a section deploy:", where=str(path))
    _assert_plain(path, document or {})
    return document or {}


class _Loader(_yaml.SafeLoader):  # type: ignore[misc]  # it has no types
    """Refuses what YAML calls an error and the parser does not: a key that is there twice, of which one would count."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in getattr(node, "value", ()) if isinstance(node, _yaml.MappingNode) else ():
            word = (key.tag, key.value) if isinstance(key, _yaml.ScalarNode) else id(key)
            if word in seen:
                raise _yaml.MarkedYAMLError(None, None, f"{_shown(key.value)} is there twice", key.start_mark)
            seen.add(word)
        return super().construct_mapping(node, deep)


class _Twice(ValueError):
    """A key is there twice."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON.

    :raises _Twice: it has a key twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _Twice(f"{_shown(next(key for key in keys if keys.count(key) > 1))} is there twice")
    return found


def _problem(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        said = ", ".join(filter(None, (error.context, error.problem)))  # type: ignore[attr-defined]
        return f"line {mark.line + 1}, column {mark.column + 1}: {said}"
    if isinstance(error, json.JSONDecodeError | _Twice | _yaml.YAMLError | OSError | UnicodeError):
        return " ".join(str(error).split())
    return "a value is none of its kind, such as a date that no calendar has"


def _assert_plain(path: Path, document: Mapping[Any, Any]) -> None:
    """Refuse keys that are no text, and more than anybody writes: what an alias says again counts again."""
    left = MOST
    waiting: list[tuple[str, int, Any]] = [("", 1, document)]
    while waiting:
        above, depth, value = waiting.pop()
        items: Iterable[Any] = enumerate(value)
        if isinstance(value, Mapping):
            _assert_keys(path, above, value)
            items = value.items()
        left -= len(value)
        if left < 0:
            raise ConfigurationError(f"it has more than {MOST} values, aliases counted", where=str(path))
        if depth > DEEPEST:
            raise _nested(path)
        waiting += [
            (f"{above}{key}.", depth + 1, inner) for key, inner in items if isinstance(inner, Mapping | list | tuple)
        ]


def _assert_keys(path: Path, above: str, mapping: Mapping[Any, Any]) -> None:
    for key in mapping:
        if not isinstance(key, str):
            raise ConfigurationError(
                f"{above}{_shown(key)} is read as {type(key).__name__}, and a key must be text; put it in quotes",
                where=str(path),
            )
        if not key.isprintable():
            raise ConfigurationError(f"{above}{_shown(key)} is a key that cannot be shown", where=str(path))


def _nested(path: Path) -> ConfigurationError:
    return ConfigurationError(f"it is nested more than {DEEPEST} deep, or in itself", where=str(path))


def _shown(key: Any) -> str:
    text = str(key)
    return text if text.isprintable() else ascii(text)
