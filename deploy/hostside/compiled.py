"""The compiled modules of a venv: which files they are, whose, and whether they open."""

from __future__ import annotations

import csv
import importlib.machinery
import mmap
import os
from collections.abc import Mapping
from typing import NamedTuple

from . import disk, dynload, modulefinder

# The last suffix, a bare ".so", is that of plain libraries as well.
_MODULE_SUFFIXES = tuple(suffix for suffix in importlib.machinery.EXTENSION_SUFFIXES if suffix != ".so")
_MAGIC = b"\x7fELF"


class Module(NamedTuple):
    """A compiled module: *file* relative to the directory that it is installed in; *owner*, the wheel it came in."""

    name: str
    file: str
    path: str
    owner: str


class Found(NamedTuple):
    """*modules* of a venv, their owners not known yet; *carried* are the names of all compiled files in it."""

    modules: list[Module]
    carried: set[str]


def find(venv: str) -> Found:
    """Look through what is installed in *venv*."""
    modules = []
    carried: set[str] = set()
    for library in _libraries(venv):
        for directory, _names, files in os.walk(library):
            for name in files:
                if ".so" not in name and ".dylib" not in name:
                    continue
                carried.add(name)
                path = os.path.join(directory, name)
                file = os.path.relpath(path, library)
                if module := _module(file, path):
                    modules.append(Module(module, file, path, ""))
    return Found(modules, carried)


def _libraries(venv: str) -> list[str]:
    """Where wheels were installed; lib64 may be a link to lib."""
    return list({os.path.realpath(path): path for path in modulefinder.of_venv(venv)}.values())


def _module(file: str, path: str) -> str:
    """The module's name, '' where *file* is none that an import would open."""
    directory, name = os.path.split(file)
    for suffix in _MODULE_SUFFIXES:
        if name.endswith(suffix):
            return ".".join(filter(None, [*directory.split("/"), name[: -len(suffix)]]))
    stem = name[: -len(".so")]
    if not name.endswith(".so") or not stem.isidentifier():
        return ""
    if _holds(path, b"PyInit_" + stem.encode()):
        return ".".join(filter(None, [*directory.split("/"), stem]))
    return ""


def _holds(path: str, words: bytes) -> bool:
    """Whether the ELF file *path* has *words* in it: the function that makes a module is named after it (PEP 489)."""
    with open(disk.open_file(path), "rb") as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            return False
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(words) >= 0


def failures(venv: str, found: Found, env: Mapping[str, str]) -> dict[Module, str]:
    """The modules that the venv's own interpreter cannot open with the variables *env*, and the loader's words."""
    if not found.modules:
        return {}
    failed = dynload.open_each(os.path.join(venv, "bin", "python"), [module.path for module in found.modules], env)
    if not failed:
        return {}
    owners = _owners(venv)
    named = {module.path: module._replace(owner=owners.get(module.file, "the venv")) for module in found.modules}
    return {named[path]: _without(venv, words) for path, words in failed.items()}


def _without(venv: str, words: str) -> str:
    """The loader's words with paths as the wheels have them."""
    for library in sorted(_libraries(venv), key=len, reverse=True):
        words = words.replace(library + "/", "")
    return words


def _owners(venv: str) -> dict[str, str]:
    """Installed file → ``name version``, by every RECORD (PyPA, "Recording installed projects")."""
    owners = {}
    for library in _libraries(venv):
        for name in os.listdir(library):
            record = os.path.join(library, name, "RECORD")
            if name.endswith(".dist-info") and os.path.isfile(record):
                with open(record, encoding="utf-8", newline="") as stream:
                    for row in csv.reader(stream):
                        owners[row[0]] = name[: -len(".dist-info")].replace("-", " ")
    return owners
