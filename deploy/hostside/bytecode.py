"""Bytecode for what never changes: made once, by all processors, never checked again (PEP 552, ``unchecked-hash``)."""

from __future__ import annotations

import gc
import importlib.util
import json
import marshal
import os
import sys
import warnings
from collections.abc import Sequence

from .failure import Failure
from .wheelfile import record_digest, write

UNCHECKED_HASH = (1).to_bytes(4, "little")
FEW = 24
"""Files that are not worth a process of their own."""


def compile_file(source: str) -> tuple[str, str] | None:
    """Compile one file into its ``__pycache__``; the bytecode's path and hash, None where it is not valid Python."""
    with open(source, "rb") as stream:
        content = stream.read()
    try:
        code = compile(content, source, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError):
        return None  # templates and code for other Pythons; pip passes over them, too
    target = importlib.util.cache_from_source(source)
    bytecode = importlib.util.MAGIC_NUMBER + UNCHECKED_HASH + importlib.util.source_hash(content) + marshal.dumps(code)
    os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
    if os.path.lexists(target):
        os.unlink(target)
    write(target, bytecode)
    return target, record_digest(bytecode)


def compile_all(sources: Sequence[str]) -> dict[str, str]:
    """Compile many files on all processors: bytecode's path → hash.

    fork(2), because the program comes out of an archive and a child must not have to find it again.
    """
    workers = min(_processors(), max(1, len(sources) // FEW))
    if workers == 1:
        return _compile_share(sources)
    # Large files first, dealt out in turn: the shares end at about the same time.
    ordered = sorted(sources, key=os.path.getsize, reverse=True)
    children = []
    for number in range(1, workers):
        children.append(_start(ordered[number::workers]))
    results = _compile_share(ordered[0::workers])
    for pid, descriptor in children:
        with open(descriptor, "rb") as stream:
            said = stream.read()
        _, status = os.waitpid(pid, 0)
        if status:
            raise Failure("a process that compiles bytecode ended early", "is the disk full, or memory short?", "disk")
        results.update(json.loads(said))
    return results


def _start(share: Sequence[str]) -> tuple[int, int]:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    status = 1
    try:
        os.close(reading)
        said = json.dumps(_compile_share(share)).encode()
        with open(writing, "wb") as stream:
            stream.write(said)
        status = 0
    finally:
        os._exit(status)  # no clean-up of the parent's things in the child


def _compile_share(share: Sequence[str]) -> dict[str, str]:
    collecting = gc.isenabled()
    gc.disable()  # syntax trees have no cycles worth looking for; a fifth faster
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's invalid escape sequences
            return dict(made for source in share if (made := compile_file(source)) is not None)
    finally:
        if collecting:
            gc.enable()


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cache_tag() -> str:
    """The interpreter's word in the names of bytecode files, such as ``cpython-311``."""
    return str(sys.implementation.cache_tag)
