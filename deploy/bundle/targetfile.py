"""Target files: what hosts are, written down beside the fabfile, so that bundles are made where no host is in reach.

``targets/<name>.json`` holds what decides which wheels fit, and nothing that is secret or changes by itself. The same
target always gives the same bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ..errors import ConfigurationError
from .target import Target

FOLDER = "targets"
SCHEMA = 1


def names(targets: Iterable[Target]) -> dict[Target, str]:
    """What each target's file is called, without its ending.

    Its name; where several have the same, the whole version of Python follows, and a fingerprint where that is the same
    too.
    """
    found = list(dict.fromkeys(targets))
    named = {target: target.name for target in found}
    for endings in ([target.full_python for target in found], [target.fingerprint for target in found]):
        seen = Counter(named.values())
        for target, ending in zip(found, endings, strict=True):
            if seen[named[target]] > 1:
                named[target] = f"{target.name}-{ending}"
    return named


def to_json(target: Target) -> str:
    """The content of the file of *target*."""
    return json.dumps({"schema": SCHEMA, **target.document()}, indent=2, sort_keys=True) + "\n"


def read(path: Path) -> Target:
    """The target that a file describes.

    :raises ConfigurationError: there is no such file, it is none, or of a newer schema.
    """
    where = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(
            f"the target file cannot be read: {reason}", where=where, hint="fab targets writes such files"
        ) from None
    try:
        document = json.loads(text)
        schema = document["schema"]
        if schema > SCHEMA:
            raise ConfigurationError(
                f"the target file has schema {schema}; this version knows {SCHEMA}",
                where=where,
                hint="upgrade fabric-wheelhouse",
            )
        return Target.from_document(document)
    except KeyError as error:
        reason = f"{error.args[0]} is missing"
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        reason = str(error)
    raise ConfigurationError(f"this is no target file: {reason}", where=where, hint="fab targets writes it anew")


def write(path: Path, target: Target) -> bool:
    """Write the file of *target*; whether that changed anything."""
    text = to_json(target)
    if path.is_file() and path.read_bytes() == text.encode():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return True


def written(folder: Path) -> list[Path]:
    """The target files in *folder*, in order."""
    return sorted(folder.glob("*.json"))
