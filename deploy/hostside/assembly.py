"""One virtual environment in the making: links from the store of wheels to the places where pip would put the files.

Follows the PyPA specifications "Binary distribution format" (installing a wheel), "Recording installed projects" and
"Entry points". pip is the oracle: what it makes of the same wheels is the same, file by file.
"""

from __future__ import annotations

import csv
import errno
import io
import os
import sys
import sysconfig

from . import disk, looking
from .failure import Failure
from .wheelfile import record_digest, write
from .wheelstore import File, Stored

INSTALLER = b"fabric-wheelhouse\n"

# The kernel reads this much of a first line at most.
SHEBANG_LIMIT = 127

# What setuptools once made beside or instead of a command; entry points take their place.
_WRAPPERS = (".exe", "-script.py", "-script.pyw", ".pya")

Row = tuple[str, str, str]


class Assembly:
    """A fresh venv, and what wheels have brought into it so far.

    :param root: where it is made.
    :param final: where it will be; this is what is written into scripts.
    :param reserved: files that nobody may bring, relative to *root*, besides all that is there.
    """

    def __init__(self, root: str, final: str, reserved: tuple[str, ...] = ()) -> None:
        scheme = "venv" if "venv" in sysconfig.get_scheme_names() else "posix_prefix"
        places = sysconfig.get_paths(scheme, {"base": "", "platbase": ""})
        self._places = {key: places[key].lstrip("/") for key in ("purelib", "platlib", "scripts")}
        self._headers = f"include/site/python{sys.version_info[0]}.{sys.version_info[1]}"
        self._root = root
        self._interpreter = os.path.join(final, "bin", "python")
        # Path below the root → who brought it, with which hash.
        self._owners: dict[str, tuple[str, str]] = {}
        self._directories: set[str] = set()
        # What lib64 is where it is a link; two paths to one file must not look like two files.
        self._links: dict[str, str] = {}
        # Directory as wheels name it → where it really is; all of them are made.
        self._parents: dict[str, str] = {"": ""}
        for directory, names, files in looking.walk(root):
            prefix = os.path.relpath(directory, root) + "/" if directory != root else ""
            for name in names:
                full = os.path.join(directory, name)
                if os.path.islink(full):
                    self._links[prefix + name] = prefix + os.readlink(full)
                self._directories.add(prefix + name)
            self._owners.update((prefix + name, ("the venv itself", "")) for name in files)
        self._owners.update((name, ("the venv itself", "")) for name in reserved)

    def install(self, stored: Stored) -> None:
        """Link one wheel's files to their places, make its commands, write its RECORD.

        :raises Failure: another wheel, or the venv itself, has a file there already.
        """
        library = self._places["purelib" if stored.pure else "platlib"]
        commands = {entry.command for entry in stored.entry_points}
        rows: list[Row] = []
        for file in stored.files:
            place, scheme = self._place(stored, file.name, library)
            if scheme == "scripts" and _command(place) in commands:
                continue
            if file.kind == "s":
                rows.append(self._write(place, self._with_interpreter(stored, file), stored, executable=True))
            else:
                rows.append(self._link(place, file, stored))
        for name in stored.bytecode or {}:
            place, _ = self._place(stored, name, library)
            rows.append(self._link_bytecode(place, name, stored))
        for entry in stored.entry_points:
            content = self._shebang() + entry.script().encode()
            rows.append(self._write(f"{self._places['scripts']}/{entry.command}", content, stored, executable=True))
        info = f"{library}/{stored.dist_info}"
        rows.append(self._write(f"{info}/INSTALLER", INSTALLER, stored))
        rows.append((f"{info}/RECORD", "", ""))
        self._write(f"{info}/RECORD", _record(rows, library), stored)

    def _place(self, stored: Stored, name: str, library: str) -> tuple[str, str]:
        """Where a file of the archive goes, relative to the root, and by which scheme."""
        if not stored.data or not name.startswith(stored.data + "/"):
            return f"{library}/{name}", ""
        scheme, _, rest = name[len(stored.data) + 1 :].partition("/")
        if scheme == "data":
            return rest, scheme
        if scheme == "headers":
            return f"{self._headers}/{stored.filename.partition('-')[0]}/{rest}", scheme
        return f"{self._places[scheme]}/{rest}", scheme

    def _with_interpreter(self, stored: Stored, file: File) -> bytes:
        """A script with the venv's interpreter in its first line."""
        with open(disk.open_file(os.path.join(stored.tree, file.name)), "rb") as stream:
            _first, _, rest = stream.read().partition(b"\n")
        return self._shebang() + rest

    def _shebang(self) -> bytes:
        line = f"#!{self._interpreter}\n".encode()
        if len(line) <= SHEBANG_LIMIT and b" " not in line:
            return line
        # Two languages at once: sh runs the second line; for Python it is a string.
        return f"#!/bin/sh\n'''exec' \"{self._interpreter}\" \"$0\" \"$@\"\n' '''\n".encode()

    def _link(self, place: str, file: File, stored: Stored) -> Row:
        real = self._real(place, stored)
        if self._claim(real, stored, file.digest):
            self._link_file(stored, file.name, real)
        return real, file.digest, file.size

    def _link_bytecode(self, place: str, name: str, stored: Stored) -> Row:
        real = self._real(place, stored)
        # If it is there, it is that of the same source: another one was refused when the source was claimed.
        if real not in self._owners:
            self._owners[real] = (stored.filename, "")
            self._link_file(stored, name, real)
        return real, "", ""

    def _link_file(self, stored: Stored, name: str, real: str) -> None:
        source, destination = os.path.join(stored.tree, name), os.path.join(self._root, real)
        try:
            os.link(source, destination)
        except FileExistsError:
            raise Failure(
                f"{stored.filename} brings {real}, which is there in another spelling",
                "names have to differ by more than case on this file system",
                "corrupt",
            ) from None
        except OSError as error:
            # Too many links, or a file system without them: a copy costs space and changes nothing else.
            if error.errno not in (errno.EMLINK, errno.EXDEV, errno.EPERM, errno.ENOTSUP):
                raise
            with open(disk.open_file(source), "rb") as stream:
                write(destination, stream.read(), os.access(source, os.X_OK))

    def _write(self, place: str, content: bytes, stored: Stored, executable: bool = False) -> Row:
        real = self._real(place, stored)
        digest = record_digest(content)
        if self._claim(real, stored, digest):
            write(os.path.join(self._root, real), content, executable)
        return real, digest, str(len(content))

    def _real(self, place: str, stored: Stored) -> str:
        """*place* with its directory made and links in it resolved."""
        parent, _, name = place.rpartition("/")
        real = self._parents.get(parent)
        if real is None:
            real = self._parents[parent] = self._directory(parent, stored)
        return f"{real}/{name}" if real else name

    def _directory(self, parent: str, stored: Stored) -> str:
        top, slash, rest = parent.partition("/")
        real = self._links.get(top, top) + slash + rest
        lacking = []
        while real and real not in self._directories:
            if real in self._owners:
                raise _conflict(self._owners[real][0], stored, f"{real}, as a file and as a directory")
            lacking.append(real)
            real = real.rpartition("/")[0]
        for directory in reversed(lacking):
            os.mkdir(os.path.join(self._root, directory), 0o755)
            self._directories.add(directory)
        return lacking[0] if lacking else real

    def _claim(self, real: str, stored: Stored, digest: str) -> bool:
        """Note who brings a file; False where the same content is there already.

        :raises Failure: another content is.
        """
        if real in self._directories:
            raise Failure(
                f"{stored.filename} brings {real} as a file; it is a directory", "it cannot be installed", "corrupt"
            )
        owner, known = self._owners.setdefault(real, (stored.filename, digest))
        if owner == stored.filename and known is digest:
            return True
        if known != digest:
            raise _conflict(owner, stored, real)
        return False


def _conflict(owner: str, stored: Stored, what: str) -> Failure:
    return Failure(f"{owner} and {stored.filename} both bring {what}", "only one of them can be installed", "corrupt")


def _command(place: str) -> str:
    name = place.rpartition("/")[2]
    for ending in _WRAPPERS:
        if name.endswith(ending):
            return name[: -len(ending)]
    return name


def _record(rows: list[Row], library: str) -> bytes:
    """RECORD: paths relative to the directory that holds ``.dist-info``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    inside = library + "/"
    for path, digest, size in sorted(set(rows)):
        relative = path[len(inside) :] if path.startswith(inside) else os.path.relpath(path, library)
        writer.writerow([relative, digest, size])
    return text.getvalue().encode()
