"""Files and directories that are written whole or not at all, and survive a power cut once they are there."""

from __future__ import annotations

import errno
import json
import os
from typing import Any

from . import erasing
from .erasing import Left
from .failure import Failure

PARTIAL = ".partial-"
GONE = ".gone"
"""What was whole and is out of use begins with the one and ends with the other; see :mod:`removal`."""
_KEPT = 200
"""As many bytes of a name are kept when more is put to it; a name has 255 at most."""


def sync_directory(path: str) -> None:
    """Make names in *path* durable: a rename is only on disk once its directory is."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(path: str) -> None:
    """Make everything below *path* durable, in one go: syncfs(2) where there is one, else sync(2)."""
    import ctypes

    try:
        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except (AttributeError, OSError):
        os.sync()
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if syncfs(descriptor):
            os.sync()
    finally:
        os.close(descriptor)


def write_atomically(path: str, text: str, mode: int = 0o644) -> None:
    """Replace *path* by *text*: another process sees the old content or the new, never a part."""
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f"{PARTIAL}{name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    try:
        with open(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    sync_directory(directory)


def write_json(path: str, value: Any, mode: int = 0o644) -> None:
    write_atomically(path, json.dumps(value, indent=1, sort_keys=True) + "\n", mode)


def read_json(path: str) -> Any:
    """The JSON document at *path*, or None where there is no such file.

    :raises Failure: the file is there and is not JSON.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Failure(f"{path} is damaged: {error}", "restore it from a backup, or remove it") from None


def link_atomically(target: str, link: str) -> None:
    """Point the symbolic link *link* at *target* by rename(2), so that it never is missing."""
    directory, name = os.path.split(link)
    temporary = os.path.join(directory, f"{PARTIAL}{name}.{os.getpid()}")
    remove(temporary)
    os.symlink(target, temporary)
    os.rename(temporary, link)
    sync_directory(directory)


def remove(path: str) -> None:
    """Remove a file, a link or a whole tree; what is not there is fine, also where another process removes the same.

    Links are never followed.

    :raises OSError: something is in the way; the rest is gone.
    """
    for left in erasing.erase(path):
        raise left.error()


def set_aside(directory: str, name: str) -> str:
    """Take ``directory/name`` out of use at once, under a name that is recognised as unfinished; the new path.

    Nobody makes anything of that name, so it may be removed at any time, and by several at once.
    """
    whole = name[len(PARTIAL) :] if name.startswith(PARTIAL) else name
    kept = os.fsdecode(os.fsencode(whole)[:_KEPT])
    aside = os.path.join(directory, f"{PARTIAL}{kept}.{os.urandom(4).hex()}{GONE}")
    os.rename(os.path.join(directory, name), aside)
    return aside


def is_set_aside(name: str) -> bool:
    return name.startswith(PARTIAL) and name.endswith(GONE)


def discard(directory: str, name: str) -> list[Left]:
    """Take ``directory/name`` out of use and remove it, and what is unfinished of that name.

    :returns: what is in the way of it: others may own something there. It lies under a name that nobody uses, so it is
        in no deploy's way.
    """
    names = [each for each in (name, PARTIAL + name) if os.path.lexists(os.path.join(directory, each))]
    return [left for each in names for left in erasing.erase(set_aside(directory, each))]


def replace_directory(made: str, path: str) -> None:
    """Give the directory *made* the name *path*; what has that name goes first, by a rename, and is removed after."""
    directory, name = os.path.split(path)
    former = set_aside(directory, name) if os.path.lexists(path) else ""
    os.rename(made, path)
    if former:
        erasing.erase(former)  # what is in the way of it is in nobody else's


def finished(directory: str) -> list[str]:
    """The names in *directory*, but for what is unfinished."""
    return [name for name in os.listdir(directory) if not name.startswith(PARTIAL)]


def sweep(directory: str) -> list[str]:
    """Take away what an earlier run left unfinished in *directory*, but for what was set aside; the names that went."""
    swept = []
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    for name in names:
        if name.startswith(PARTIAL) and not is_set_aside(name):
            discard(directory, name)
            swept.append(name)
    return swept


def sweep_orphans(directory: str) -> None:
    """Remove the unfinished files in *directory* whose names end in the number of a process that is no more.

    For a directory in which others may be writing just now.
    """
    for name in os.listdir(directory):
        _, _, pid = name.rpartition(".")
        if name.startswith(PARTIAL) and pid.isdigit() and not _lives(int(pid)):
            remove(os.path.join(directory, name))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def explain(error: OSError) -> Failure:
    """What an operating system error means to the person who deploys."""
    where = f": {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failure(f"no space left on the disk{where}", "free some space (fab cleanup), then deploy again", "disk")
    if error.errno == errno.EROFS:
        return Failure(f"the file system is read-only{where}", "look at the host's disk and its mount", "disk")
    if error.errno in (errno.EACCES, errno.EPERM):
        return Failure(f"permission denied{where}", "run fab setup, or give the path to the deploy user", "permission")
    return Failure(f"{error.strerror or error}{where}", "", "system")
