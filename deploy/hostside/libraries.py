"""Which shared libraries does this host lack? Its own loader is asked; read-only."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

from . import dynload, packages, variables
from .layout import Layout

# glibc: "libpq.so.5: cannot open shared object file: ..."; musl: "Error loading shared library libpq.so.5: ...".
_NOT_FOUND = re.compile(r"(?:Error loading shared library )?([^\s:]+): (?:cannot open shared object file|No such file)")


def not_found(words: str) -> str:
    """The library that the loader did not find, by its words; '' where they say something else."""
    match = _NOT_FOUND.match(words)
    return match[1] if match else ""


def lacking(layout: Layout, libraries: dict[str, list[str]], env: dict[str, str]) -> dict[str, Any]:
    """Look for *libraries* (names, with the directories that are to be looked in first).

    :param env: variables over those of the host and of `.env`: ``LD_LIBRARY_PATH``, for one.
    :returns: ``lacking``: name → '' where it is not there, or the loader's words where it cannot be opened;
        ``manager``: the package manager of this host.
    """
    wanted = [name for name, paths in libraries.items() if not _lies_in(name, paths)]
    known = variables.of_file(layout, "")
    hiding = variables.hiding(known, env)
    failed = dynload.open_each(sys.executable, wanted, variables.whole(layout, "", known, env))
    return {
        "lacking": {name: "" if not_found(words) == name else hiding.text(words) for name, words in failed.items()},
        "manager": packages.manager(),
    }


def _lies_in(name: str, paths: list[str]) -> bool:
    return any(os.path.isfile(os.path.join(path, name)) for path in paths)
