"""Where a module would come from: looked up in directories as the import system does (PEP 420), nothing is executed."""

from __future__ import annotations

import importlib.machinery
import os
import sys
import sysconfig
from collections.abc import Sequence
from typing import NamedTuple, Optional

from . import disk

_SUFFIXES = tuple(importlib.machinery.all_suffixes())


class Place(NamedTuple):
    """A module that was found.

    *directories* are where its submodules are; None where it is no package. *init* is the file that makes it a regular
    package, '' in a namespace.
    """

    directories: Optional[list[str]]  # noqa: UP045 - Python 3.9
    init: str


class Directories:
    """Directories, each read once."""

    def __init__(self) -> None:
        self._listed: dict[str, tuple[set[str], set[str]]] = {}

    def listing(self, directory: str) -> tuple[set[str], set[str]]:
        """The names of its files and of its directories; links count as what they lead to."""
        known = self._listed.get(directory)
        if known is None:
            files: set[str] = set()
            names: set[str] = set()
            try:
                with os.scandir(directory) as entries:
                    for entry in entries:
                        (names if entry.is_dir() else files).add(entry.name)
            except OSError:
                pass
            known = self._listed[directory] = files, names
        return known

    def find(self, name: str, directories: Sequence[str]) -> Optional[Place]:  # noqa: UP045
        """The module *name*, without dots, in *directories*."""
        portions = []
        for directory in directories:
            files, names = self.listing(directory)
            if name in names:
                inside = os.path.join(directory, name)
                if init := self._file("__init__", self.listing(inside)[0]):
                    return Place([inside], os.path.join(inside, init))
                portions.append(inside)
            if self._file(name, files):
                return Place(None, "")
        return Place(portions, "") if portions else None

    @staticmethod
    def _file(name: str, files: set[str]) -> str:
        return next((name + suffix for suffix in _SUFFIXES if name + suffix in files), "")

    def resolve(self, dotted: str, directories: Sequence[str]) -> Optional[Place]:  # noqa: UP045
        """The module *dotted* below *directories*, None where it is not there."""
        place: Optional[Place] = Place(list(directories), "")  # noqa: UP045
        for part in dotted.split("."):
            if place is None or place.directories is None:
                return None
            place = self.find(part, place.directories)
        return place


def standard_library() -> list[str]:
    """Where the running interpreter has its own modules."""
    own = os.path.dirname(os.__file__)
    return [path for path in dict.fromkeys([own, *sys.path]) if path == own or path.endswith("/lib-dynload")]


def of_venv(root: str) -> list[str]:
    """Where the venv *root* has what was installed, with what its ``.pth`` files add (module `site`)."""
    scheme = "venv" if "venv" in sysconfig.get_scheme_names() else "posix_prefix"
    paths = sysconfig.get_paths(scheme, {"base": root, "platbase": root})
    found = dict.fromkeys((paths["purelib"], paths["platlib"]))
    for library in list(found):
        for name in sorted(Directories().listing(library)[0]):
            if name.endswith(".pth"):
                with open(disk.open_file(os.path.join(library, name)), encoding="utf-8", errors="replace") as stream:
                    lines = [line.strip() for line in stream]
                # A line that begins with "import" is code; it is not executed here.
                found.update(
                    dict.fromkeys(
                        os.path.join(library, line)
                        for line in lines
                        if line and not line.startswith(("#", "import ", "import\t"))
                    )
                )
    return [path for path in found if os.path.isdir(path)]


def is_built_in(name: str) -> bool:
    """Whether the interpreter brings a top-level module without a file."""
    return name in sys.builtin_module_names
