"""Virtual environments, assembled offline from links into the store of wheels.

Follows the PyPA specifications "Binary distribution format" (installing a wheel), "Recording installed projects" and
"Entry points". pip is the oracle: what it makes of the same wheels is the same, file by file.
"""

from __future__ import annotations

import configparser
import csv
import errno
import io
import os
import re
import sys
import sysconfig
import venv
from collections.abc import Callable, Sequence
from typing import Any

from . import disk, wheelstore
from .failure import Failure
from .wheelfile import UNRECORDED, record_digest, write
from .wheelstore import Stored

MARKER = ".venv.json"
INSTALLER = b"fabric-wheelhouse\n"

# The kernel reads this much of a first line at most.
SHEBANG_LIMIT = 127

_SCRIPT = """\
import sys
from {module} import {name}
if __name__ == "__main__":
    sys.argv[0] = sys.argv[0].removesuffix(".exe")
    sys.exit({call}())
"""


def path(base: str, name: str) -> str:
    return os.path.join(base, "venvs", name)


def exists(base: str, name: str) -> bool:
    """Whether the venv is there and complete."""
    return os.path.isfile(os.path.join(path(base, name), MARKER))


def assemble(base: str, name: str, wheels: Sequence[dict[str, Any]], progress: Callable[[str], None]) -> None:
    """Make the venv *name* of *wheels*, all of which are in the store.

    It is made beside its place and renamed, but every path written into it is the final one.

    :param wheels: verified before (:func:`wheelstore.verify`).
    :raises Failure: two wheels bring the same file.
    """
    final = path(base, name)
    partial = os.path.join(base, "venvs", disk.PARTIAL + name)
    disk.remove(partial)
    disk.remove(final)
    stored = [wheelstore.open_stored(base, wheel["sha256"]) for wheel in wheels]
    progress("compiling bytecode")
    wheelstore.compile_stored(base, stored)
    stored = [wheelstore.open_stored(base, wheel["sha256"]) for wheel in wheels]
    progress("assembling the venv")
    venv.EnvBuilder(symlinks=True, with_pip=False).create(partial)
    _rename_inside(partial, final)
    builder = _Builder(partial, final)
    for one in stored:
        builder.install(one)
    document = {"wheels": [one.sha256 for one in stored], "python": sys.version.split()[0]}
    disk.write_json(os.path.join(partial, MARKER), document)
    disk.sync_file_system(partial)
    os.rename(partial, final)
    disk.sync_directory(os.path.dirname(final))


def _rename_inside(partial: str, final: str) -> None:
    """Put the final path where `venv` wrote the one it was made at."""
    texts = [os.path.join(partial, "pyvenv.cfg")]
    scripts = os.path.join(partial, "bin")
    texts += [os.path.join(scripts, name) for name in os.listdir(scripts) if name.lower().startswith("activate")]
    for text in texts:
        with open(text, encoding="utf-8") as stream:
            content = stream.read()
        with open(text, "w", encoding="utf-8") as stream:
            stream.write(content.replace(partial, final).replace(os.path.basename(partial), os.path.basename(final)))


class _Builder:
    """One venv in the making: where things go, and who put them there."""

    def __init__(self, partial: str, final: str) -> None:
        scheme = "venv" if "venv" in sysconfig.get_scheme_names() else "posix_prefix"
        places = sysconfig.get_paths(scheme, {"base": partial, "platbase": partial})
        self._root = partial
        self._places = {key: places[key] for key in ("purelib", "platlib", "scripts", "data")}
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        self._headers = os.path.join(partial, "include", "site", version)
        self._interpreter = os.path.join(final, "bin", "python")
        self._owners: dict[str, str] = {}
        self._made: set[str] = set()

    def install(self, stored: Stored) -> None:
        """Link one wheel's files to their places, make its scripts, write its RECORD."""
        library = self._places["purelib" if stored.pure else "platlib"]
        own = {f"{stored.dist_info}/{name}" for name in UNRECORDED}
        rows: list[tuple[str, str, str]] = []
        for name, digest, size in stored.record():
            if name in own:
                continue
            destination, script = self._destination(stored, name, library)
            source = os.path.join(stored.tree, name)
            if script and (rewritten := self._with_interpreter(source)) is not None:
                self._write(destination, rewritten, stored, executable=True)
                rows.append((destination, record_digest(rewritten), str(len(rewritten))))
                continue
            self._link(source, destination, stored, executable=script)
            rows.append((destination, digest, size))
        for name in stored.bytecode:
            destination, _ = self._destination(stored, name, library)
            self._link(os.path.join(stored.tree, name), destination, stored)
            rows.append((destination, "", ""))
        rows += self._entry_points(stored)
        info = os.path.join(library, stored.dist_info)
        self._write(os.path.join(info, "INSTALLER"), INSTALLER, stored)
        rows.append((os.path.join(info, "INSTALLER"), record_digest(INSTALLER), str(len(INSTALLER))))
        rows.append((os.path.join(info, "RECORD"), "", ""))
        self._write(os.path.join(info, "RECORD"), _record(rows, library), stored)

    def _destination(self, stored: Stored, name: str, library: str) -> tuple[str, bool]:
        """Where a file of the archive goes, and whether it is a script."""
        if not name.startswith(stored.data + "/"):
            return os.path.join(library, name), False
        _, scheme, rest = name.split("/", 2)
        if scheme == "headers":
            return os.path.join(self._headers, stored.filename.split("-")[0], rest), False
        if scheme not in self._places:
            raise Failure(f"{stored.filename} has files for an unknown scheme: {name}", kind="corrupt")
        return os.path.join(self._places[scheme], rest), scheme == "scripts"

    def _with_interpreter(self, source: str) -> bytes | None:
        """A script with the venv's interpreter in its first line, None where it does not ask for one."""
        with open(source, "rb") as stream:
            if stream.read(8) != b"#!python":
                return None
            stream.seek(0)
            _first, _, rest = stream.read().partition(b"\n")
        return self._shebang() + rest

    def _shebang(self) -> bytes:
        line = f"#!{self._interpreter}\n".encode()
        if len(line) <= SHEBANG_LIMIT and b" " not in line:
            return line
        # Two languages at once: sh runs the second line; for Python it is a string.
        return f"#!/bin/sh\n'''exec' \"{self._interpreter}\" \"$0\" \"$@\"\n' '''\n".encode()

    def _entry_points(self, stored: Stored) -> list[tuple[str, str, str]]:
        rows = []
        for command, target in entry_points(os.path.join(stored.tree, stored.dist_info, "entry_points.txt")):
            match = re.fullmatch(r"\s*([\w.]+)\s*:\s*([\w.]+)\s*(\[.*\])?\s*", target)
            if not match or os.path.basename(command) != command:
                raise Failure(
                    f"{stored.filename} has an entry point that is none: {command} = {target}", kind="corrupt"
                )
            module, attribute = match[1], match[2]
            text = _SCRIPT.format(module=module, name=attribute.split(".")[0], call=attribute)
            content = self._shebang() + text.encode()
            destination = os.path.join(self._places["scripts"], command)
            self._write(destination, content, stored, executable=True)
            rows.append((destination, record_digest(content), str(len(content))))
        return rows

    def _link(self, source: str, destination: str, stored: Stored, executable: bool = False) -> None:
        self._claim(destination, stored, source)
        try:
            os.link(source, destination)
        except FileExistsError:
            return  # the same content, by another wheel; _claim has looked
        except OSError as error:
            # Too many links, or a file system without them: a copy costs space and changes nothing else.
            if error.errno not in (errno.EMLINK, errno.EXDEV, errno.EPERM, errno.ENOTSUP):
                raise
            with open(source, "rb") as stream:
                write(destination, stream.read(), executable or os.access(source, os.X_OK))
        if executable and not os.access(destination, os.X_OK):
            os.chmod(destination, 0o755)  # pip does so, too; the bit is the store's from now on

    def _write(self, destination: str, content: bytes, stored: Stored, executable: bool = False) -> None:
        self._claim(destination, stored)
        if os.path.lexists(destination):
            os.unlink(destination)  # never write through a link into the store
        write(destination, content, executable)

    def _claim(self, destination: str, stored: Stored, source: str = "") -> None:
        """Note who owns a place.

        :raises Failure: two wheels want it with different contents.
        """
        parent = os.path.dirname(destination)
        if parent not in self._made:
            os.makedirs(parent, 0o755, exist_ok=True)
            self._made.add(parent)
        owner = self._owners.setdefault(destination, stored.filename)
        if owner != stored.filename and not (source and _same(source, destination)):
            where = os.path.relpath(destination, self._root)
            raise Failure(
                f"{owner} and {stored.filename} both bring {where}", "only one of them can be installed", "corrupt"
            )


def _same(one: str, other: str) -> bool:
    with open(one, "rb") as first, open(other, "rb") as second:
        return first.read() == second.read()


def entry_points(file: str) -> list[tuple[str, str]]:
    """The commands of an `entry_points.txt`: console and graphical ones; none where there is no such file."""
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names of commands keep their case
    try:
        with open(file, encoding="utf-8") as stream:
            parser.read_file(stream)
    except FileNotFoundError:
        return []
    except configparser.Error:
        return []
    groups = [group for group in ("console_scripts", "gui_scripts") if parser.has_section(group)]
    return [pair for group in groups for pair in parser.items(group)]


def _record(rows: list[tuple[str, str, str]], library: str) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for destination, digest, size in sorted(set(rows)):
        writer.writerow([os.path.relpath(destination, library), digest, size])
    return text.getvalue().encode()


def holders(base: str, sha256: str) -> list[str]:
    """The venvs that hold links into a stored wheel."""
    return [name for name, wheels in _inventory(base).items() if sha256 in wheels]


def _inventory(base: str) -> dict[str, list[str]]:
    found = {}
    for name in os.listdir(os.path.join(base, "venvs")):
        document = disk.read_json(os.path.join(path(base, name), MARKER))
        if document is not None:
            found[name] = document["wheels"]
    return found


def prune(base: str, keep: set[str]) -> dict[str, list[str]]:
    """Remove the venvs that are not in *keep*, then the wheels that no venv holds."""
    places = {kind: os.path.join(base, kind) for kind in ("venvs", "wheels")}
    gone = [name for name in os.listdir(places["venvs"]) if name not in keep]
    for name in gone:
        disk.discard(places["venvs"], name)
    held = {sha256 for wheels in _inventory(base).values() for sha256 in wheels}
    unused = [sha256 for sha256 in os.listdir(places["wheels"]) if sha256 not in held]
    for sha256 in unused:
        disk.discard(places["wheels"], sha256)
    return {"venvs": gone, "wheels": unused}
