"""Make the directories of an application with the right owner and modes; running it again changes nothing."""

from __future__ import annotations

import os
import pwd
import stat
from typing import Any

from .failure import Failure
from .layout import Layout


def make(layout: Layout, owner: str) -> dict[str, Any]:
    """Create what is lacking, owned by *owner*; mend owner and modes of what is there.

    Links in the place of a directory are refused: as root, following one could change the owner of anything.

    :returns: ``changed``, one sentence for each change.
    """
    try:
        user = pwd.getpwnam(owner)
    except KeyError:
        raise Failure(f"there is no user {owner}", f"create it: sudo adduser --system --group {owner}") from None
    changed: list[str] = []
    parent = os.path.dirname(layout.base)
    if not os.path.isdir(parent):
        os.makedirs(parent, 0o755)
        changed.append(f"made {parent}")
    made = [path for path in layout.directories if _mkdir(path)]
    if made:
        changed.append(f"made {', '.join(os.path.relpath(path, parent) for path in made)} in {parent} for {owner}")
    for path in layout.directories:
        mended = _own(path, user.pw_uid, user.pw_gid)
        if path not in made:
            changed += mended
    return {"changed": changed}


def _mkdir(path: str) -> bool:
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        return False
    return True


def _own(path: str, uid: int, gid: int) -> list[str]:
    changed = []
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        raise Failure(f"{path} is not a directory", "move it out of the way", "refused") from None
    try:
        status = os.fstat(descriptor)
        if status.st_uid != uid:
            os.fchown(descriptor, uid, gid)
            changed.append(f"changed the owner of {path}")
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o022 or mode & 0o700 != 0o700:
            os.fchmod(descriptor, (mode | 0o700) & ~0o022)
            changed.append(f"set the mode of {path}")
    finally:
        os.close(descriptor)
    return changed
