"""Does every import of the app resolve? In its release and its venv, by looking for files; its code is not executed.

What is not found in this way, because a library makes modules while it runs (``six.moves``), is imported in a process
of the venv's own interpreter, which does not know the release.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Optional

from .modulefinder import Directories, Place, is_built_in
from .statements import Found, Import

TIMEOUT_S = 60.0

# What a program has only inside of something else, and what a module of the standard library makes of itself.
_ALWAYS = {"__main__", "uwsgi", "mod_wsgi", "os.path"}

_CHILD = r"""
import importlib, json, os, sys
answers = os.fdopen(os.dup(1), 'w')
nothing = os.open(os.devnull, os.O_WRONLY)
os.dup2(nothing, 1); os.dup2(nothing, 2)
places, names = json.load(sys.stdin)
sys.path[:0] = places
for name in names:
    there = True
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        there = not (error.name and (name + '.').startswith(error.name + '.'))
    except BaseException:
        pass
    answers.write(json.dumps([name, there]) + '\n'); answers.flush()
os._exit(0)
"""


class Lack(NamedTuple):
    """An import that does not resolve.

    *module* is what is lacking, with dots, '' for a relative import. *foreign* says that it would come from the venv:
    then importing it may show that it is there after all.
    """

    file: str
    statement: Import
    module: str
    what: str
    foreign: bool

    def __str__(self) -> str:
        return f"{shown(self.file)}:{self.statement.line}: {self.statement}: {self.what}"


class Resolver:
    """Looks imports up, for one release in one venv.

    :param library: the directories in which modules are looked up, but for those of the release: what is on
        ``PYTHONPATH``, the standard library, and what is installed in the venv.
    :param found: what the files of the release say, by path.
    """

    def __init__(self, release: str, library: Sequence[str], found: dict[str, Found]) -> None:
        self._release = release
        self._library = list(library)
        self._found = found
        self._directories = Directories()
        self._cache: dict[tuple[str, str], Optional[Place]] = {}  # noqa: UP045 - Python 3.9
        self._folders = {os.path.join(release, parent) for path in found for parent in _parents(path)}
        self._roots: dict[str, list[str]] = {}
        self._roots_known: dict[tuple[str, str], list[str]] = {}
        for folder in sorted(self._folders):
            files, names = self._directories.listing(folder)
            # Any directory that is no package may be on the path of the program.
            if "__init__.py" not in files:
                for name in {name.partition(".")[0] for name in files} | names:
                    if self._has(folder, name):
                        self._roots.setdefault(name, []).append(folder)

    def _has(self, root: str, top: str) -> bool:
        """Whether *root* has the module *top*; of directories without an ``__init__.py`` those with code count."""
        place = self._directories.find(top, [root])
        if place is None or place.init or place.directories is None:
            return place is not None
        return any(
            folder in self._folders or any(name.endswith(".py") for name in self._directories.listing(folder)[0])
            for folder in place.directories
        )

    def lacking(self, file: str, statement: Import) -> Optional[Lack]:  # noqa: UP045
        """What *statement* in *file* imports and is not there; None where all of it is."""
        if statement.level:
            what = self._lacking_relative(file, statement)
            return Lack(file, statement, "", what, False) if what else None
        module = statement.module
        if module in _ALWAYS or is_built_in(module):
            return None
        what = ""
        for place in self._places(file, module):
            absent = self._absent_names(place, statement.names or [])
            if not absent:
                return None
            what = what or _without(module, place, absent)
        top = module.partition(".")[0]
        ours = self.is_ours(file, top)
        foreign = not ours or self._place(top) is not None
        if not what:
            known = ours or self._place(top) is not None
            place_of = "in the release" if ours else "in the venv"
            what = f"there is no {module} {place_of}" if known else f"there is no {top}"
        return Lack(file, statement, module, what, foreign)

    def is_ours(self, file: str, top: str) -> bool:
        """Whether the top-level module *top* is the release's own, as *file* sees it."""
        return bool(self._roots_of(file, top))

    def _places(self, file: str, module: str) -> Iterator[Place]:
        """Where *module* may come from; more than one, for nobody knows here what will be on the path."""
        for root in ["", *self._roots_of(file, module.partition(".")[0])]:
            if place := self._place(module, root):
                yield place

    def _roots_of(self, file: str, top: str) -> list[str]:
        """The directories of the release that have the top-level module *top*, and may be on the path of *file*."""
        key = (file.rpartition("/")[0], top)
        if key not in self._roots_known:
            own = [root for root in self._ancestors(file) if self._has(root, top)]
            self._roots_known[key] = list(dict.fromkeys([*own, *self._roots.get(top, ())]))
        return self._roots_known[key]

    def _ancestors(self, file: str) -> list[str]:
        return [os.path.join(self._release, parent) for parent in _parents(file)]

    def _place(self, module: str, root: str = "") -> Optional[Place]:  # noqa: UP045
        """*module* in the library, with the directory *root* before it."""
        if (root, module) not in self._cache:
            directories = [root, *self._library] if root else self._library
            self._cache[root, module] = self._directories.resolve(module, directories)
        return self._cache[root, module]

    def _lacking_relative(self, file: str, statement: Import) -> str:
        parents = self._ancestors(file)
        dots = "." * statement.level + statement.module
        if statement.level > len(parents):
            return "it leaves the release"
        package = parents[statement.level - 1]
        if statement.module:
            place = self._directories.resolve(statement.module, [package])
        else:
            init = os.path.join(package, "__init__.py")
            place = Place([package], init if os.path.isfile(init) else "")
        if place is None:
            return f"there is no {dots} in the release"
        absent = self._absent_names(place, statement.names or [])
        return _without(dots, place, absent) if absent else ""

    def _absent_names(self, place: Place, names: list[str]) -> list[str]:
        """Those of *names* that a package surely has not: neither as a submodule nor in its ``__init__.py``."""
        if place.directories is None:
            return []
        binds: Optional[list[str]] = []  # noqa: UP045
        if place.init:
            said = self._found.get(os.path.relpath(place.init, self._release))
            binds = said.binds if said else None
        if binds is None:
            return []
        return [
            name
            for name in names
            if name != "*" and name not in binds and not self._directories.find(name, place.directories)
        ]


def _without(module: str, place: Place, absent: list[str]) -> str:
    init = f", and its {os.path.basename(place.init)} does not define it" if place.init else ""
    return f"{module} has no module {', '.join(absent)}{init}"


def _parents(file: str) -> Iterator[str]:
    """The directories that *file* lies in, the nearest first; '' for the release."""
    while file:
        file = file.rpartition("/")[0]
        yield file


def not_importable(
    python: str,
    modules: Sequence[str],
    places: Sequence[str] = (),
    env: Optional[Mapping[str, str]] = None,  # noqa: UP045
) -> set[str]:
    """Those of *modules* that are not there even when the interpreter *python* imports them.

    What fails for another reason is there; so is what ends the interpreter, for that says nothing of the app.

    :param places: directories to be looked in first.
    :param env: all variables of the process; None for our own.
    """
    absent: set[str] = set()
    waiting = list(modules)
    while waiting:
        answers = _import(python, waiting, places, env)
        absent.update(name for name, there in answers.items() if not there)
        ended_at = next((name for name in waiting if name not in answers), "")
        waiting = [name for name in waiting if name not in answers and name != ended_at]
    return absent


def _import(
    python: str,
    modules: list[str],
    places: Sequence[str],
    env: Optional[Mapping[str, str]],  # noqa: UP045
) -> dict[str, bool]:
    """Whether each of *modules* is there, up to the first that ended the process."""
    try:
        said = subprocess.run(
            [python, "-I", "-c", _CHILD],
            env=env,
            input=json.dumps([list(places), modules]).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired as error:
        said = error.stdout or b""
    answers = {}
    for line in said.splitlines():
        try:
            name, there = json.loads(line)
        except ValueError:
            continue  # cut off by the end of the process
        answers[name] = there
    return answers


def shown(path: str) -> str:
    """*path* for people, whatever letters it has."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in path)
