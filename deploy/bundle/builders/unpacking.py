"""Tar files of others unpacked so that nothing of them lands outside (PEP 706), by a Python without that, too."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path


def extract(archive: tarfile.TarFile, directory: Path) -> None:
    """Unpack *archive* into *directory*.

    :raises tarfile.TarError: something would land or lead outside, or is no file, directory or link.
    """
    if hasattr(tarfile, "data_filter"):
        archive.extractall(directory, filter="data")
        return
    # Python got filters in 3.11.4; Debian 12 has 3.11.2.
    root = os.path.realpath(directory)
    for member in archive:
        archive.extract(_harmless(member, root), root)


def _harmless(member: tarfile.TarInfo, root: str) -> tarfile.TarInfo:
    """*member* without owner, and without modes that PEP 706 takes away from data.

    Members before it lie there already, so a link among them is seen through.
    """
    name = member.name.lstrip("/")
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        raise tarfile.ExtractError(f"{member.name!r} is a special file")
    _assert_inside(os.path.join(root, name), root, member.name)  # noqa: PTH118
    if member.issym() or member.islnk():
        start = os.path.dirname(name) if member.issym() else ""  # noqa: PTH120
        if os.path.isabs(member.linkname):  # noqa: PTH117
            raise tarfile.ExtractError(f"{member.name!r} is a link to an absolute path")
        _assert_inside(os.path.join(root, start, member.linkname), root, member.name)  # noqa: PTH118
    member.name = name
    member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    return member


def _assert_inside(path: str, root: str, name: str) -> None:
    if os.path.commonpath([os.path.realpath(path), root]) != root:
        raise tarfile.ExtractError(f"{name!r} would land or lead outside")
