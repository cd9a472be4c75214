"""What an operating system's error means to the person who deploys."""

from __future__ import annotations

import errno
import os

from .failure import Failure

_FEW_INODES = 5_000
"""A release and its venv may take as many."""


def explain(error: OSError, place: str = "") -> Failure:
    """What an error means, as a failure.

    :param place: where that was, if the error does not say so itself: a write to an open file names none.
    """
    path = named(error) or place
    where = f": {path}" if path else ""
    if error.errno == errno.ENOSPC and _lacks_inodes(path):
        return Failure(
            f"no inodes left on the disk{where}",
            "remove files that nobody needs (fab cleanup), or make a file system with more inodes; then deploy again",
            "disk",
        )
    if error.errno == errno.ENOSPC:
        return Failure(f"no space left on the disk{where}", "free some space (fab cleanup), then deploy again", "disk")
    if error.errno == errno.EDQUOT:
        hint = "free some space (fab cleanup), or give the user a larger quota; then deploy again"
        return Failure(f"the quota is used up{where}", hint, "disk")
    if error.errno == errno.EROFS:
        return Failure(f"the file system is read-only{where}", "look at the host's disk and its mount", "disk")
    if error.errno == errno.EIO:
        return Failure(f"the disk does not work (I/O error){where}", "look at the host's disk (dmesg)", "disk")
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return Failure(f"too many open files{where}", "raise the host's limit (ulimit -n), then deploy again", "system")
    if error.errno in (errno.EACCES, errno.EPERM):
        return Failure(f"permission denied{where}", "run fab setup, or give the path to the deploy user", "permission")
    return Failure(f"{error.strerror or error}{where}", "look at it on the host, then deploy again", "system")


def named(error: OSError) -> str:
    """The path that an error is about, '' where it names none."""
    # Of a link that cannot be made, the first is what it was to point at.
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    return next(filter(os.path.isabs, names), names[0] if names else "")


def is_read_only(path: str) -> bool:
    """Whether the file system of *path*, which has to be there, takes no change from anybody."""
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _lacks_inodes(path: str) -> bool:
    """Whether inodes are what the file system of *path*, which may not be there yet, has run out of.

    What failed may have given back some of them, and some space: then the scarcer of the two counts.
    """
    while path and not os.path.lexists(path):
        path = os.path.dirname(path)
    try:
        usage = os.statvfs(path)
    except OSError:
        return False
    if not usage.f_files or usage.f_favail > _FEW_INODES:
        return False
    return usage.f_favail * usage.f_blocks <= usage.f_bavail * usage.f_files
