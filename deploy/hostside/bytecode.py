"""Bytecode for what never changes: made once, never checked again (PEP 552, ``unchecked-hash``).

A code object holds the path within the wheel, so that the same source gives the same bytecode wherever it lies; the
import system puts the real path in when it loads it.
"""

from __future__ import annotations

import gc
import importlib.util
import marshal
import os
import sys
import warnings
from collections.abc import Iterable

from . import disk, workers
from .wheelfile import record_digest, write

UNCHECKED_HASH = (1).to_bytes(4, "little")
_LONGEST_NAME = 255
SHARE_BYTES = 1 << 18
"""Sources that are compiled in one task: long enough to be worth a message, short enough to be shared out evenly."""


def cache_tag() -> str:
    """The interpreter's word in the names of bytecode files, such as ``cpython-311``."""
    return str(sys.implementation.cache_tag)


def path_of(source: str) -> str:
    """Where the bytecode of *source* belongs (PEP 3147)."""
    return importlib.util.cache_from_source(source)


def is_bytecode(name: str) -> bool:
    """Whether a file of a wheel is bytecode in the place where an interpreter keeps its own."""
    return name.endswith(".pyc") and "__pycache__" in name.split("/")[:-1]


def make(content: bytes, name: str) -> bytes | None:
    """The bytecode file of a source, None where it is not valid Python for this interpreter.

    :param name: its path in the installed tree.
    """
    try:
        code = compile(content, name, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # templates and code for other Pythons; pip passes over them, too
    head = importlib.util.MAGIC_NUMBER + UNCHECKED_HASH + importlib.util.source_hash(content)
    return head + marshal.dumps(code)


def compile_files(tree: str, names: list[list[str]]) -> dict[str, str]:
    """Compile files of *tree*: bytecode's path below it → hash.

    :param names: the path below *tree* of each, and its path in the installed tree.
    """
    made = {}
    with _undisturbed():
        for name, installed in names:
            workers.stop_if_orphaned()
            with open(disk.open_file(os.path.join(tree, name)), "rb") as stream:
                bytecode = make(stream.read(), installed)
            if bytecode is not None and len(os.fsencode(os.path.basename(path_of(name)))) <= _LONGEST_NAME:
                made[path_of(name)] = put(tree, name, bytecode)
    return made


def put(tree: str, source: str, bytecode: bytes) -> str:
    """Write the bytecode of *source*, a path below *tree*; its hash."""
    target = os.path.join(tree, path_of(source))
    try:
        write(target, bytecode)
    except FileNotFoundError:
        disk.make_way(os.path.dirname(target))
        write(target, bytecode)
    except FileExistsError:
        os.unlink(target)  # never write into it: a venv may share it
        write(target, bytecode)
    return record_digest(bytecode)


class _undisturbed:  # used as a function is
    """No collection (syntax trees have no cycles worth looking for; a fifth faster), no warnings of others' code."""

    def __enter__(self) -> None:
        self._collecting = gc.isenabled()
        gc.disable()
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.simplefilter("ignore")

    def __exit__(self, *error: object) -> None:
        self._warnings.__exit__(*error)  # type: ignore[arg-type]
        if self._collecting:
            gc.enable()


def shares(sources: Iterable[tuple[str, str, int]]) -> list[list[list[str]]]:
    """Deal sources (path, installed path, size in bytes) into shares of about equal work, the largest first."""
    dealt: list[list[list[str]]] = []
    size = SHARE_BYTES
    for name, installed, length in sorted(sources, key=lambda source: source[2], reverse=True):
        if size >= SHARE_BYTES:
            dealt.append([])
            size = 0
        dealt[-1].append([name, installed])
        size += length
    return dealt
