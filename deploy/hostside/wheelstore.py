"""The host's store of wheels: each one verified, unpacked and byte-compiled once; venvs are links into it.

``wheels/<sha256>/tree/`` holds the files as they are in the archive; ``wheel.json`` says what they are, with a hash
of each; ``bytecode-<tag>.json`` does so for the bytecode of one interpreter. Both documents are sealed with a hash of
their own: a power cut may leave any file empty, and what is half there must not be taken for a smaller wheel.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple

from . import bytecode, disk, looking, shapes, workers
from .entrypoints import EntryPoint, is_command
from .failure import Failure
from .shapes import Known
from .wheelfile import Member, WheelFile, is_as_recorded, library_path, stays_inside, write

SCHEMA = 2
VERIFIED_AT_ONCE = 400
"""Files that one task reads when a wheel in the store is verified."""

# What this process has verified while unpacking it need not be read again.
_fresh: set[str] = set()


class File(NamedTuple):
    """A file of a stored wheel.

    *digest* and *size* are as RECORD writes them; *kind* is ``f`` (file), ``x`` (executable) or ``s`` (a script that
    wants the venv's interpreter in its first line).
    """

    name: str
    digest: str
    size: str
    kind: str


class Stored(NamedTuple):
    """A wheel in the store.

    :ivar data: the name of its ``.data`` directory, '' where it has none.
    :ivar tree: the directory with its files.
    :ivar bytecode: path below *tree* → hash, for the running interpreter; None where none was made yet.
    """

    sha256: str
    filename: str
    dist_info: str
    data: str
    pure: bool
    files: list[File]
    entry_points: list[EntryPoint]
    tree: str
    bytecode: dict[str, str] | None

    def sources(self) -> list[tuple[str, str, int]]:
        """What is compiled, as :func:`bytecode.shares` takes it: what goes to purelib or platlib. Scripts are not."""
        found = []
        for file in self.files:
            installed = library_path(self.data, file.name)
            if installed.endswith(".py"):
                found.append((file.name, installed, int(file.size) if file.size.isdigit() else 0))
        return found


def is_hash(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{64}", text) is not None


def folder(base: str, sha256: str) -> str:
    """
    :raises Failure: no wheel has that hash.
    """
    if not is_hash(sha256):
        raise Failure(f"{sha256!a} is the hash of no wheel", kind="refused")
    return os.path.join(base, "wheels", sha256)


def missing(base: str, wheels: Sequence[Known]) -> list[str]:
    """The SHA-256 of those of *wheels* that are not in the store."""
    return [wheel["sha256"] for wheel in wheels if _document(folder(base, wheel["sha256"])) is None]


def unpack(path: str, filename: str, partial: str) -> list[tuple[str, str, int]]:
    """Unpack a verified wheel file into the directory *partial*, and write what it is beside it.

    :returns: the sources that have to be compiled, as :func:`bytecode.shares` takes them.
    :raises Failure: kind ``corrupt``; it lies about what it holds.
    """
    wheel = WheelFile(path, filename)
    root = os.path.join(partial, "tree")
    os.makedirs(root, 0o755)
    made = {""}
    files, sources = [], []
    for member in wheel.members():
        workers.stop_if_orphaned()
        name = member.name
        if bytecode.is_bytecode(name):
            continue  # ours takes its place
        parent = os.path.dirname(name)
        if parent not in made:
            disk.make_way(os.path.join(root, parent))
            made.add(parent)
        file = File(name, member.digest, member.size, _kind(wheel, member))
        write(os.path.join(root, name), member.content, file.kind != "f")
        files.append(file)
        installed = library_path(wheel.data, name)
        if installed.endswith(".py"):
            sources.append((name, installed, len(member.content)))
    document = {
        "filename": filename,
        "dist_info": wheel.dist_info,
        "data": wheel.data,
        "pure": wheel.pure,
        "files": files,
        "entry_points": wheel.entry_points,
    }
    _write(partial, "wheel.json", document)
    return sources


def _kind(wheel: WheelFile, member: Member) -> str:
    if wheel.data and member.name.startswith(f"{wheel.data}/scripts/"):
        return "s" if member.content.startswith(b"#!python") else "x"
    return "x" if member.executable else "f"


def admit(base: str, sha256: str, partial: str, compiled: dict[str, str]) -> None:
    """Give an unpacked wheel its place in the store."""
    _write(partial, _bytecode_file(), compiled)
    # What is in its place was found damaged, or it would not have been sent.
    disk.replace_directory(partial, folder(base, sha256))
    _fresh.add(sha256)


def open_stored(base: str, sha256: str) -> Stored:
    """What the store knows of a wheel.

    :raises Failure: kind ``corrupt``; it is not there, or what is there is not what was written.
    """
    place = folder(base, sha256)
    document = _document(place)
    if document is None:
        raise Failure(f"wheel {sha256} is not in the store, or is damaged there", "deploy again", "corrupt")
    document["files"] = [File(*row) for row in document["files"]]
    document["entry_points"] = [EntryPoint(*row) for row in document["entry_points"]]
    compiled = _read(place, _bytecode_file(), "dict[str, str]")
    if compiled is not None and not all(map(stays_inside, compiled)):
        compiled = None
    return Stored(sha256=sha256, tree=os.path.join(place, "tree"), bytecode=compiled, **document)


def _document(place: str) -> Any:
    """What `wheel.json` says; None where it is damaged, or names something outside."""
    if not looking.is_directory(place) or not looking.is_directory(os.path.join(place, "tree")):
        return None
    document = _read(place, "wheel.json", "Stored")
    if document is None:
        return None
    places = [document["dist_info"], *(file[0] for file in document["files"])]
    if not all(map(stays_inside, places)) or not all(is_command(entry[0]) for entry in document["entry_points"]):
        return None
    return {key: document[key] for key in shapes.Stored.__annotations__}


def _bytecode_file() -> str:
    return f"bytecode-{bytecode.cache_tag()}.json"


def _write(place: str, name: str, value: Any) -> None:
    # Not synced: the venv that is made of it is synced with it, and until then a wheel can be sent again.
    text = json.dumps({"schema": SCHEMA, "value": value, "seal": _seal(value)})
    path = os.path.join(place, name)
    disk.remove(path)
    write(path, text.encode())


def _read(place: str, name: str, shape: str) -> Any:
    """A document, None where it is not there, not whole, or of another schema or shape."""
    try:
        with open(disk.open_own(os.path.join(place, name), os.O_RDONLY), encoding="utf-8") as stream:
            document = json.load(stream)
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError, Failure):
        return None
    if shapes.misfit(document, "Sealed") or document["schema"] != SCHEMA:
        return None
    value = document["value"]
    return value if document["seal"] == _seal(value) and not shapes.misfit(value, shape) else None


def _seal(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


class Verification:
    """Reads every file of stored wheels, in other processes, while something else goes on here."""

    def __init__(self, wheels: Sequence[Stored]) -> None:
        self._filenames = {stored.sha256: stored.filename for stored in wheels}
        self._workers = workers.Workers({"compare": _compare}, limit=max(1, workers.processors() - 1))
        for stored in wheels:
            if stored.sha256 in _fresh:
                continue
            expected = [(file.name, file.digest) for file in stored.files] + list((stored.bytecode or {}).items())
            for start in range(0, len(expected), VERIFIED_AT_ONCE):
                part = expected[start : start + VERIFIED_AT_ONCE]
                self._workers.submit(["compare", stored.sha256, stored.tree, part])

    def __enter__(self) -> Verification:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._workers.__exit__(kind, error, trace)

    def damaged(self) -> dict[str, str]:
        """SHA-256 of the wheels that are damaged → a sentence that names the wheel and the file."""
        found = {}
        while ended := self._workers.finished(wait=True):
            for _task, (sha256, name) in ended:
                if name:
                    found[sha256] = f"{self._filenames[sha256]} is damaged on this host: {name} is not what it was"
        return found


def _compare(sha256: str, tree: str, expected: list[tuple[str, str]]) -> tuple[str, str]:
    """The wheel, and the first of its files that is not as *expected*, '' where all are."""
    for name, digest in expected:
        workers.stop_if_orphaned()
        try:
            with open(disk.open_file(os.path.join(tree, name)), "rb") as stream:
                content = stream.read()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, disk.NotAFile):
            return sha256, name
        if not is_as_recorded(content, digest):
            return sha256, name
    return sha256, ""


def compile_lacking(base: str, wheels: Sequence[Stored]) -> None:
    """Make the bytecode of those of *wheels* that have none for the running interpreter."""
    lacking = {stored.sha256: stored for stored in wheels if stored.bytecode is None}
    made: dict[str, dict[str, str]] = {sha256: {} for sha256 in lacking}
    tasks = [
        [sha256, stored.tree, share]
        for sha256, stored in lacking.items()
        for share in bytecode.shares(stored.sources())
    ]
    for sha256, compiled in workers.map_all("compile", compile_share, tasks):
        made[sha256].update(compiled)
    for sha256, compiled in made.items():
        _write(folder(base, sha256), _bytecode_file(), compiled)


def compile_share(sha256: str, tree: str, names: list[list[str]]) -> tuple[str, dict[str, str]]:
    return sha256, bytecode.compile_files(tree, names)


def remove(base: str, sha256: str) -> None:
    disk.discard(os.path.join(base, "wheels"), sha256)
    _fresh.discard(sha256)
