"""Before a release is complete: every compiled module of its venv opens, and every import of its code resolves.

Both are looked at with the application's variables, as far as they are known: ``env:`` and `.env`.

What was found well is remembered in ``.deploy/checks.json``: a venv is opened once in its life, and code that was seen
in that venv before is not looked at again, unless a variable changed by which they load otherwise. What is only worth a
warning is told once. The file is a convenience: without it, all is looked at.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from . import compiled, disk, imports, libraries, modulefinder, shapes, sources, variables, venvs
from .layout import Layout, Records

SCHEMA = 2
KEPT = 200
"""How many facts of a kind are remembered."""


class Surroundings:
    """What a release is looked at with.

    :ivar values: all variables of a process of the application.
    :ivar mark: what has to be the same for the same to be found; '' where nothing has an influence.
    :ivar python_path: where the interpreter looks before all else.
    :ivar outside: those of it that are not in the release: what lies there may change at any time.
    """

    def __init__(self, layout: Layout, release: str, env: Mapping[str, str], memory: Memory, tree: str) -> None:
        known = variables.of_file(layout, release)
        values = variables.whole(layout, release, known, env)
        self._mask = variables.hiding(known, env)
        self.mark = memory.mark(variables.of_loading(values))
        self.values = variables.as_if_live(layout, release, values) if release else values
        if self.values != values:
            self.mark += tree
        self.python_path = variables.python_path(layout, release, self.values) if release else []
        self.outside = [path for path in self.python_path if not f"{path}/".startswith(f"{layout.release(release)}/")]

    def hidden(self, text: str) -> str:
        """*text* without secrets: the loader tells paths, and in `.env` all is secret."""
        return self._mask.text(text)


def check(
    layout: Layout, venv: str, release: str, imports_of: str, ignore: Sequence[str], env: Mapping[str, str]
) -> dict[str, Any]:
    """Look at the venv *venv*, and at *release* in it ('' for the venv alone).

    :param imports_of: ``all``, ``third-party`` or ``off``: which import statements have to resolve.
    :param ignore: modules (with all below them) and libraries that may be lacking.
    :param env: variables over those of the host and of `.env`.
    :returns: ``problems`` and ``warnings``, sentences; ``modules`` and ``imports``, how many were looked at.
    """
    memory = Memory(layout)
    result: dict[str, Any] = {"problems": [], "warnings": [], "modules": 0, "imports": 0}
    tree = str(Records(layout).get(release).get("tree", "")) if release else ""
    around = Surroundings(layout, release, env, memory, tree)
    conditions = [around.mark, *sorted(ignore)]
    if not memory.knows("venvs", [venv, *conditions]):
        _open_modules(venvs.path(layout.base, venv), around, ignore, result)
        if not result["problems"]:
            memory.add("venvs", [venv, *conditions])
    if release and imports_of != "off" and not memory.knows("code", [tree, venv, imports_of, *conditions]):
        before = len(result["problems"])
        _resolve_imports(layout, memory, around, venv, release, imports_of, ignore, result)
        if tree and not around.outside and len(result["problems"]) == before:
            memory.add("code", [tree, venv, imports_of, *conditions])
    memory.save()
    for kind in ("problems", "warnings"):
        result[kind] = [around.hidden(sentence) for sentence in result[kind]]
    return result


def _open_modules(venv: str, around: Surroundings, ignore: Sequence[str], result: dict[str, Any]) -> None:
    found = compiled.find(venv)
    result["modules"] = len(found.modules)
    for module, words in compiled.failures(venv, found, around.values).items():
        lacking = libraries.not_found(words)
        # A library that a wheel carries may be opened by another module first (torch and what is built on it).
        optional = lacking in found.carried or lacking in ignore or _is_ignored(module.name, ignore)
        sentence = f"{module.owner} ({module.file}) cannot be opened: {words}"
        result["warnings" if optional else "problems"].append(sentence)


def _resolve_imports(
    layout: Layout,
    memory: Memory,
    around: Surroundings,
    venv: str,
    release: str,
    imports_of: str,
    ignore: Sequence[str],
    result: dict[str, Any],
) -> None:
    place, root = layout.release(release), venvs.path(layout.base, venv)
    found, memory.files = sources.read_all(place, memory.files)
    library = [*around.python_path, *modulefinder.standard_library(), *modulefinder.of_venv(root)]
    resolver = imports.Resolver(place, library, found)
    lacks = []
    for file, said in found.items():
        if said.problem and memory.is_new("told", [file, said.problem]):
            result["warnings"].append(f"{imports.shown(file)}:{said.problem}; its imports were not looked at")
        for statement in said.imports:
            if imports_of == "all" or not (statement.level or resolver.is_ours(file, statement.top)):
                result["imports"] += 1
                lack = resolver.lacking(file, statement)
                if lack and not _is_ignored(lack.module, ignore):
                    lacks.append(lack)
    there = _made_at_run_time(memory, around, venv, os.path.join(root, "bin", "python"), lacks)
    for lack in lacks:
        if lack.foreign and lack.module in there:
            continue
        if not lack.statement.guarded:
            result["problems"].append(str(lack))
        elif memory.is_new("told", [lack.file, str(lack.statement)]):
            result["warnings"].append(str(lack))  # once; not at every change of something else


def _made_at_run_time(
    memory: Memory, around: Surroundings, venv: str, python: str, lacks: Iterable[imports.Lack]
) -> set[str]:
    """The modules that have no file, and are there all the same; of a venv, which never changes, it is asked once.

    The release's own code is not executed for it, wherever ``PYTHONPATH`` leads.
    """
    names = {lack.module for lack in lacks if lack.foreign}
    if around.outside:
        return names - imports.not_importable(python, sorted(names), around.outside, around.values)
    place = [venv, around.mark]
    unknown = [name for name in names if not any(memory.knows(kind, [*place, name]) for kind in ("made", "absent"))]
    absent = imports.not_importable(python, sorted(unknown), env=around.values)
    for name in sorted(unknown):
        memory.add("absent" if name in absent else "made", [*place, name])
    return {name for name in names if memory.knows("made", [*place, name])}


def _is_ignored(module: str, ignore: Iterable[str]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in ignore if name)


class Memory:
    """What was found well before, by this version of the host program.

    :ivar files: what :func:`sources.read_all` remembers.
    """

    def __init__(self, layout: Layout) -> None:
        self._path = layout.path(".deploy", "checks.json")
        # Packed, the program's folder is named by its hash.
        self._made_by = [SCHEMA, os.path.basename(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))]
        try:
            with open(disk.open_own(self._path, os.O_RDONLY), encoding="utf-8") as stream:
                self._before = stream.read()
            document = json.loads(self._before)
            if shapes.misfit(document, "Checks") or document.get("made_by") != self._made_by:
                raise ValueError
            self.files: dict[str, Any] = document["files"]
            self._known: dict[str, list[str]] = document["known"]
            self._secret = str(document["secret"])
        except (OSError, ValueError, RecursionError):
            self._before = ""
            self.files = {}
            self._known = {}
            self._secret = secrets.token_hex(16)

    def mark(self, values: Mapping[str, str]) -> str:
        """What tells variables from others, and nobody what they are; '' where there are none."""
        text = json.dumps(sorted(values.items())).encode()
        return hmac.new(self._secret.encode(), text, hashlib.sha256).hexdigest() if values else ""

    def knows(self, kind: str, what: list[str]) -> bool:
        return _key(what) in self._known.get(kind, [])

    def add(self, kind: str, what: list[str]) -> None:
        known = [key for key in self._known.get(kind, []) if key != _key(what)]
        self._known[kind] = [*known, _key(what)][-KEPT:]

    def is_new(self, kind: str, what: list[str]) -> bool:
        """Whether it was not known; from now on it is."""
        known = self.knows(kind, what)
        if not known:
            self.add(kind, what)
        return not known

    def save(self) -> None:
        document = {"made_by": self._made_by, "known": self._known, "files": self.files, "secret": self._secret}
        text = json.dumps(document)
        if text == self._before:
            return
        # Not synced: what a power cut leaves of it is either whole or no JSON, and then it is made again. Nor is a
        # deploy ended for it.
        partial = os.path.join(os.path.dirname(self._path), f"{disk.PARTIAL}checks.json.{os.getpid()}")
        try:
            disk.remove(partial)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
            os.rename(partial, self._path)
        except OSError:
            disk.remove(partial)


def _key(what: list[str]) -> str:
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()
