"""One file in `shared/`: compared without being told, handed out to be edited, replaced as a whole."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import stat
from typing import Any

from . import disk, leftovers, looking
from .failure import Failure
from .layout import Layout

AT_MOST = 32 << 20
MISSING = "missing"


def fingerprint(salt: str, content: bytes) -> str:
    """What tells two contents apart within one run. The salt is that run's own, so that nobody can look a short secret
    up by it later."""
    return hmac.new(salt.encode(), content, hashlib.sha256).hexdigest()


def look(layout: Layout, names: list[str], salt: str) -> dict[str, Any]:
    """The fingerprint of each file, or ``missing``; read-only.

    :raises Failure: one is no file, or cannot be read.
    """
    return {"files": {name: _fingerprint(_path(layout, name), salt) for name in names}}


def take(layout: Layout, name: str, salt: str) -> dict[str, Any]:
    """The content of a file (base64), '' where it is missing, and its ``fingerprint``."""
    path = _path(layout, name)
    found = _fingerprint(path, salt)
    content = b"" if found == MISSING else _read(path)
    return {"content": base64.b64encode(content).decode(), "fingerprint": found}


def put(
    layout: Layout, name: str, content: str, salt: str, mode: int | None = None, expect: str | None = None
) -> dict[str, Any]:
    """Replace a file: who reads it gets the former content or the new, and nobody else may read it at any moment.

    :param content: base64.
    :param mode: None for that of the file that is there, or 0600.
    :param expect: the fingerprint that the file must have (or ``missing``); None where it may have any.
    :returns: ``changed``: whether there was anything to do.
    """
    data = _decoded(content)
    if mode is not None and not 0 <= mode <= 0o777:
        raise Failure(f"{mode:o} is no mode of a file", kind="refused")
    if not os.path.isdir(layout.path("shared")):
        raise Failure(f"there is no {layout.path('shared')}", "run fab setup first", "unprepared")
    path = _path(layout, name)
    # Two who edit the same file must not both find it unchanged.
    with leftovers.alone(layout):
        leftovers.remove(layout)
        found = _fingerprint(path, salt)
        if expect is not None and found != expect:
            raise Failure(f"{path} was changed by somebody else meanwhile; it is left as it is", kind="changed")
        former = os.stat(path) if found != MISSING else None
        wanted = mode if mode is not None else stat.S_IMODE(former.st_mode) if former else 0o600
        owned = former is not None and former.st_uid == os.getuid()
        if former and owned and found == fingerprint(salt, data) and stat.S_IMODE(former.st_mode) == wanted:
            return {"changed": False}
        if "/" in name:
            disk.make_directories(layout.path("shared"), os.path.dirname(name))
        _replace(layout, path, data, wanted, former.st_gid if former and mode is None else -1)
    return {"changed": True}


def _place(shared: str, directory: str) -> str:
    """Where a file is made before it is renamed into *directory*: in one place, where it is found if this is killed."""
    same = os.stat(shared).st_dev == os.stat(directory).st_dev
    return shared if same and os.access(shared, os.W_OK | os.X_OK) else directory


def _replace(layout: Layout, path: str, data: bytes, mode: int, group: int) -> None:
    directory = os.path.dirname(path)
    place = _place(layout.path("shared"), directory)
    temporary = os.path.join(place, leftovers.PREFIX + secrets.token_hex(4))
    around = os.stat(directory)
    if group == -1 and around.st_mode & stat.S_ISGID:
        group = around.st_gid
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            if group not in (-1, os.fstat(stream.fileno()).st_gid):
                try:
                    os.fchown(stream.fileno(), -1, group)
                except PermissionError:
                    raise Failure(
                        f"{path} has a group that the deploy user is not in, and would lose it",
                        "change the file on the host by hand, or put it there with --mode",
                        "permission",
                    ) from None
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    disk.sync_directory(directory)


def _decoded(content: str) -> bytes:
    try:
        return base64.b64decode(content, validate=True)
    except ValueError:
        raise Failure("the content of the file cannot be read", kind="refused") from None


def _path(layout: Layout, name: str) -> str:
    """
    :raises Failure: it is not inside `shared/`, or a link is on the way to it, which the application may have made.
    """
    if {"..", ".", ""} & set(name.split("/")):
        raise Failure(f"{name!a} is no path inside shared", kind="refused")
    parts = name.split("/")
    for count in range(1, len(parts)):
        above = layout.path("shared", *parts[:count])
        if looking.kind(above) == stat.S_IFLNK:
            raise Failure(f"{above} is a link to {os.readlink(above)}", "change what it leads to by hand", "refused")
    return layout.path("shared", name)


def _fingerprint(path: str, salt: str) -> str:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return MISSING
    if stat.S_ISLNK(found.st_mode):
        raise Failure(f"{path} is a link to {os.readlink(path)}", "change what it leads to by hand", "refused")
    if not stat.S_ISREG(found.st_mode):
        raise Failure(f"{path} is not a file", "move it out of the way", "refused")
    if found.st_size > AT_MOST:
        raise Failure(f"{path} has more than {AT_MOST >> 20} MiB", "copy it by hand", "refused")
    return fingerprint(salt, _read(path))


def _read(path: str) -> bytes:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
        return stream.read()
