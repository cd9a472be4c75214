"""Files of a release that patterns name, and what is in them.

A pattern is relative to the release: ``*`` and ``?`` stay within a name, ``**`` means any directories, and what matches
a directory means all that is in it. One that begins with ``.venv/`` looks into the release's venv.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

from . import looking, tree

VENV = ".venv"
_NEVER = {VENV, ".release.json"}
"""Differ from release to release, and are no code."""


def matched(root: str, patterns: Sequence[str]) -> dict[str, dict[str, tree.Entry]]:
    """For each pattern the files and links below *root* that it names, by their path; no bytecode."""
    found: dict[str, dict[str, tree.Entry]] = {pattern: {} for pattern in patterns}
    of_venv = {pattern for pattern in patterns if pattern.startswith(f"{VENV}/")}
    for its, place, prefix in ((set(patterns) - of_venv, root, ""), (of_venv, os.path.join(root, VENV), f"{VENV}/")):
        compiled = {pattern: re.compile(regular(pattern)) for pattern in its}
        for path in _walk(place) if compiled and looking.leads_somewhere(place) else ():
            for pattern, expression in compiled.items():
                if prefix + path not in _NEVER and expression.match(prefix + path):
                    found[pattern][prefix + path] = tree.entry(place, path)._replace(path=prefix + path)
    return found


def _walk(root: str) -> Iterator[str]:
    for directory, names, files in looking.walk(root):
        if "__pycache__" in names:
            names.remove("__pycache__")
        links = [name for name in names if os.path.islink(os.path.join(directory, name))]
        for name in files + links:
            if not name.endswith(".pyc"):
                yield os.path.relpath(os.path.join(directory, name), root)


def regular(pattern: str) -> str:
    """The regular expression that a pattern means."""
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    expression = ""
    for number, part in enumerate(parts, 1):
        last = number == len(parts)
        if part == "**":
            expression += ".+" if last else "(?:[^/]+/)*"
        else:
            expression += _name(part) + ("" if last else "/")
    return f"(?s:{expression}(?:/.*)?)\\Z"


def _name(part: str) -> str:
    expression, position = "", 0
    while position < len(part):
        letter = part[position]
        position += 1
        end = part.find("]", position + 1) if letter == "[" else -1
        if letter == "*":
            expression += "[^/]*"
        elif letter == "?":
            expression += "[^/]"
        elif end > 0:
            inner = part[position:end].replace("\\", "\\\\").replace("[", "\\[").replace("^", "\\^")
            expression += f"[^{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"
            position = end + 1
        else:
            expression += re.escape(letter)
    return expression
