"""Make the directories of an application with the right owner and modes; running it again changes nothing."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import stat
from typing import Any

from . import troubles
from .failure import Failure
from .layout import Layout

LINKS = 40
"""As many links may be on the way to a base path, as the kernel has it."""

# Where others keep what is in a directory to themselves, it still can be gone through.
_ON_THE_WAY = getattr(os, "O_PATH", os.O_RDONLY)


def make(layout: Layout, owner: str) -> dict[str, Any]:
    """Create what is lacking, owned by *owner*; mend owner and modes of what is there.

    Links in the place of a directory are refused: as root, following one could change the owner of anything. So all is
    done relative to directories that are open, and that nobody can exchange.

    :returns: ``changed``, one sentence for each change.
    :raises OSError: the file system takes none; also where none is needed, as nothing can be deployed there.
    """
    if os.path.isdir(layout.base) and troubles.is_read_only(layout.base):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), layout.base)
    try:
        user = pwd.getpwnam(owner)
    except KeyError:
        raise Failure(f"there is no user {owner}", f"create it: sudo adduser --system --group {owner}") from None
    changed: list[str] = []
    parent = os.path.dirname(layout.base)
    made: list[str] = []
    with contextlib.ExitStack() as closing:
        above = _way(parent, closing, changed)
        folder = above
        for path in layout.directories:
            # The first is the base path, in which all others are.
            is_base = path == layout.base
            within = above if is_base else folder
            name = os.path.basename(path)
            if _mkdir(name, within, path):
                made.append(path)
            descriptor = _open(name, within, path, closing)
            if is_base:
                folder = descriptor
            mended = _own(descriptor, path, user.pw_uid, user.pw_gid)
            if path not in made:
                changed += mended
    if made:
        changed.insert(
            1 if changed[:1] == [f"made {parent}"] else 0,
            f"made {', '.join(os.path.relpath(path, parent) for path in made)} in {parent} for {owner}",
        )
    return {"changed": changed}


def _way(path: str, closing: contextlib.ExitStack, changed: list[str]) -> int:
    """Open the directory *path*, and make what is lacking of it. It is gone to step by step, so that nobody can put a
    link in its place meanwhile; a link is followed where it is root's or our own.

    :raises Failure: somebody else's link is on the way.
    """
    descriptor = _open("/", None, "/", closing, _ON_THE_WAY)
    made, left, at, links = False, path.split("/")[1:], "/", 0
    while left:
        part = left.pop(0)
        if part in ("", "."):
            continue
        at = os.path.join(at, part)
        link = _link(part, descriptor, at)
        if link is not None:
            links += 1
            if links > LINKS:
                raise Failure(f"{path} goes through too many links", "name the directory itself", "refused")
            left = [*link.split("/"), *left]
            at = "/" if link.startswith("/") else os.path.dirname(at)
            if link.startswith("/"):
                descriptor = _open("/", None, "/", closing, _ON_THE_WAY)
            continue
        made = _mkdir(part, descriptor, at) or made
        descriptor = _open(part, descriptor, at, closing, _ON_THE_WAY)
    if made:
        changed.append(f"made {path}")
    return descriptor


def _link(name: str, folder: int, path: str) -> str | None:
    """Where a link leads that may be followed; None where there is none."""
    try:
        found = os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return None
    if not stat.S_ISLNK(found.st_mode):
        return None
    if found.st_uid not in (0, os.geteuid()):
        raise Failure(
            f"{path} is a link that is neither root's nor our own", "remove it, or let root make it", "refused"
        )
    return os.readlink(name, dir_fd=folder)


def _mkdir(name: str, folder: int, path: str) -> bool:
    try:
        os.mkdir(name, 0o755, dir_fd=folder)
    except FileExistsError:
        return False
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    return True


def _open(name: str, folder: int | None, path: str, closing: contextlib.ExitStack, flags: int = os.O_RDONLY) -> int:
    try:
        descriptor = os.open(name, flags | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    except OSError as error:
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise OSError(error.errno, error.strerror, path) from None
        raise Failure(f"{path} is not a directory", "move it out of the way", "refused") from None
    closing.callback(os.close, descriptor)
    return descriptor


def _own(descriptor: int, path: str, uid: int, gid: int) -> list[str]:
    changed = []
    status = os.fstat(descriptor)
    try:
        if status.st_uid != uid:
            os.fchown(descriptor, uid, gid)
            changed.append(f"changed the owner of {path}")
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o022 or mode & 0o700 != 0o700:
            os.fchmod(descriptor, (mode | 0o700) & ~0o022)
            changed.append(f"set the mode of {path}")
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    return changed
