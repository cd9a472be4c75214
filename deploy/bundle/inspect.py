"""Whether a wheel is what its name says, and fits a target: looked up in its compiled files. Local; runs none of them.

What a wheel holds does not depend on the target, so it is read once and kept by the wheel's SHA-256.
Only ELF files (Linux) are read; those of macOS are taken as their tags say.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from packaging.tags import Tag
from packaging.utils import parse_wheel_filename

from ..errors import BuildError
from . import elf
from .target import Target

SCHEMA = 1

_GLIBC = re.compile(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?")
_PLATFORM = re.compile(r"manylinux_(\d+)_(\d+)_\w+")
_MUSL = re.compile(r"musllinux_\d+_\d+_\w+")
# PEP 600: what the older names stand for.
_OLDER = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
# PEP 3149: "<name>.<SOABI>.so"; ".abi3.so" is PEP 384's.
_SUFFIX = re.compile(r"(\.cpython-\d+[a-z]*(?:-[\w-]+)?|\.abi3|\.pypy[\w-]+)?\.so")
# Only root writes there; anywhere else, who can write to the folder can run code in the application.
_SYSTEM = ("/lib", "/lib64", "/usr", "/opt")


@dataclass(frozen=True, slots=True)
class Compiled:
    """One ELF file of a wheel.

    :ivar glibc: the newest version of glibc that one of its symbols needs; None where it needs none.
    :ivar private: it uses symbols that glibc keeps to itself (``GLIBC_PRIVATE``).
    :ivar unlimited: of a module that claims the stable ABI, the Python symbols that are not in it.
    :ivar limited: of such a module, the Python version that its newest symbol came with.
    """

    path: str
    machine: str
    soname: str
    needed: tuple[str, ...]
    search: tuple[str, ...]
    glibc: tuple[int, int] | None
    private: bool
    unlimited: tuple[str, ...] = ()
    limited: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Contents:
    """What was read of a wheel.

    :ivar problems: what cannot be read, as sentences; such a wheel fits nowhere.
    """

    filename: str
    compiled: tuple[Compiled, ...]
    problems: tuple[str, ...] = ()

    def to_json(self) -> str:
        return json.dumps({"schema": SCHEMA, **asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> Contents | None:
        """What was kept; None where another version of this module kept it."""
        try:
            document: dict[str, Any] = json.loads(text)
            if document["schema"] != SCHEMA:
                return None
            compiled = tuple(_compiled(each) for each in document["compiled"])
            return cls(document["filename"], compiled, tuple(document["problems"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            return None


def read(path: Path) -> Contents:
    """Read the compiled files of a wheel.

    :raises BuildError: it is no zip file.
    """
    compiled, problems = [], []
    abi3 = any(tag.abi == "abi3" for tag in parse_wheel_filename(path.name)[3])
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                with archive.open(member) as stream:
                    if stream.read(len(elf.MAGIC)) != elf.MAGIC:
                        continue
                content = io.BytesIO(archive.read(member))
                try:
                    if (found := elf.examine(content)) is not None:
                        compiled.append(_judged(member.filename, found, content, abi3))
                except ValueError as error:
                    problems.append(f"{member.filename}: {error}")
    except Exception as error:  # zipfile and its decompressors have no common one
        raise BuildError(f"{path.name} is no wheel ({error})") from None
    return Contents(path.name, tuple(compiled), tuple(problems))


def problems(contents: Contents, target: Target) -> list[str]:
    """Why a wheel does not fit *target*, or is not what its name says; as sentences that name file and reason."""
    if target.system != "linux":
        return []
    tags = parse_wheel_filename(contents.filename)[3]
    found = list(contents.problems)
    if contents.compiled and {tag.platform for tag in tags} == {"any"}:
        each = contents.compiled[0]
        found.append(f"{each.path}: compiled for {each.machine}, in a wheel whose tag says that it fits any platform")
    for each in contents.compiled:
        found += [f"{each.path}: {reason}" for reason in _reasons(each, target, tags)]
    return found + list(_modules(contents, target))


def assert_fits(contents: Contents, target: Target, package: str) -> None:
    """:raises BuildError: naming package, file and reason of each problem."""
    if found := problems(contents, target):
        raise refusal(contents, target, package, found)


def refusal(contents: Contents, target: Target, package: str, found: Collection[str]) -> BuildError:
    lines = "".join(f"\n  {problem}" for problem in found)
    return BuildError(
        f"{package}: {contents.filename} must not be sent to {target.name}:{lines}",
        hint="lock another version of it, have it built from source, or name it in deploy.accept_wheels"
        " where you know better",
    )


def suffixes(target: Target) -> tuple[str, ...]:
    """What the names of extension modules may end in for that Python to import them, the best first (PEP 3149)."""
    own = target.ext_suffixes or (target.ext_suffix,)
    if not target.ext_suffixes and target.libc == "musl" and int(target.python.split(".")[1]) < 11:
        # Before 3.11 it depends on who built CPython whether it tells musl from glibc there.
        own = (*own, target.ext_suffix.replace("linux-musl", "linux-gnu"))
    return (*own, *(each for each in (".abi3.so", ".so") if each not in own))


def _reasons(file: Compiled, target: Target, tags: Collection[Tag]) -> Iterator[str]:
    if file.machine != target.machine:
        yield f"it is compiled for {file.machine}, and the target is {target.machine}"
        return
    if target.libc == "musl":
        if file.glibc is not None or "libc.so.6" in file.needed:
            yield "it needs glibc, and the target has musl"
    elif any(name == "libc.so" or name.startswith("libc.musl-") for name in file.needed):
        yield "it needs musl, and the target has glibc"
    if target.libc == "glibc" and file.glibc is not None:
        floor = _floor(tags)
        if file.glibc > target.version:
            yield f"it needs glibc {_dotted(file.glibc)}, and the target has {_dotted(target.version)}"
        elif floor is not None and file.glibc > floor:
            yield f"it needs glibc {_dotted(file.glibc)}, and the wheel's tag promises {_dotted(floor)}"
        if file.private:
            yield "it uses symbols that glibc keeps to itself (GLIBC_PRIVATE)"
    for folder in file.search:
        if reason := unsafe(folder):
            yield f"it looks for libraries in {folder or 'an empty path'}, {reason}"
    if file.unlimited:
        names = ", ".join(file.unlimited[:3]) + (", ..." if len(file.unlimited) > 3 else "")
        yield f"it claims Python's stable ABI (abi3) and uses what is not in it: {names}"
    python = _numbers(target.python)
    if file.limited is not None and file.limited > python:
        yield f"it uses Python's stable ABI of {_dotted(file.limited)}, and the target is {target.python}"


def _modules(contents: Contents, target: Target) -> Iterator[str]:
    """Extension modules that are there for other interpreters only. A wheel may hold a module for several."""
    fitting = suffixes(target)
    by_module: dict[str, list[str]] = {}
    for each in contents.compiled:
        path = PurePosixPath(each.path)
        if "." in path.name and (match := _SUFFIX.fullmatch(path.name[path.name.index(".") :])) and match[1]:
            by_module.setdefault(str(path.with_name(path.name.partition(".")[0])), []).append(each.path)
    for files in by_module.values():
        if not any(file.endswith(fitting[:-1]) for file in files):
            yield f"{files[0]}: Python {target.python} on the target does not import it; it imports *{fitting[0]}"


def _judged(path: str, file: elf.Needs, content: io.BytesIO, abi3: bool) -> Compiled:
    versions = [(int(match[1]), int(match[2])) for each in file.versions if (match := _GLIBC.fullmatch(each))]
    if "GLIBC_ABI_DT_RELR" in file.versions:
        versions.append((2, 36))  # packed relocations, which a loader before that does not know
    unlimited: tuple[str, ...] = ()
    limited = None
    # A library beside the modules is nobody's abi3; the name of a module says more than the wheel's tag.
    plain = abi3 and path.endswith(".so") and ".cpython-" not in path and ".libs/" not in path
    if path.endswith(".abi3.so") or plain:
        unlimited, limited = _stable(elf.undefined(content))
    private = "GLIBC_PRIVATE" in file.versions
    return Compiled(
        path, file.machine, file.soname, file.needed, file.paths, max(versions, default=None), private, unlimited,
        limited,
    )  # fmt: skip


def _stable(symbols: Collection[str]) -> tuple[tuple[str, ...], tuple[int, int] | None]:
    """Python symbols that are not in the stable ABI, and the version that the newest of the others came with."""
    from abi3info import DATAS, FUNCTIONS
    from abi3info.models import Symbol

    outside, added = [], []
    for name in sorted(symbols):
        known = FUNCTIONS.get(Symbol(name)) or DATAS.get(Symbol(name))
        if known is not None:
            added.append((known.added.major, known.added.minor))
        elif name.startswith(("Py", "_Py")):
            outside.append(name)
    return tuple(outside), max(added, default=None)


def _floor(tags: Collection[Tag]) -> tuple[int, int] | None:
    """The oldest glibc that a wheel's tags promise to be enough."""
    found = []
    for tag in tags:
        older = tag.platform.partition("_")[0]
        if match := _PLATFORM.fullmatch(tag.platform):
            found.append((int(match[1]), int(match[2])))
        elif older in _OLDER:
            found.append(_OLDER[older])
    return min(found, default=None)


def unsafe(folder: str) -> str:
    """What is wrong with a folder that a compiled file looks for libraries in; '' where nothing is."""
    if folder.startswith(("$ORIGIN", "${ORIGIN}")):
        return ""
    if not folder.startswith("/"):
        return "which depends on where the program is started"
    plain = str(PurePosixPath(folder))
    inside = any(plain == system or plain.startswith(f"{system}/") for system in _SYSTEM)
    if ".." in PurePosixPath(folder).parts or not inside:
        return "a folder of the machine that built it"
    return ""


def _compiled(document: dict[str, Any]) -> Compiled:
    tuples: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in document.items()
    }
    return Compiled(**tuples)


def _numbers(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
