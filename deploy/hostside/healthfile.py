"""A file that balancers' health checks ask for: a host is in balance while it is there.

It is renamed and not removed, so that its content, its owner and its mode come back with it, and so that who took the
host out can be told: an administrator's hand removes the file, or gives it another name.
"""

from __future__ import annotations

import os
import time
from typing import Any

from . import disk, sockets
from .failure import Failure
from .layout import Layout

DRAINED = ".drained"
LOOK_EVERY_S = 0.1


def look(layout: Layout, file: str, new: bool) -> dict[str, Any]:
    """What the host is at: ``status``, ``up`` and ``out``; see :func:`haproxy.look`.

    :param file: absolute, or below the base path.
    :param new: nothing was ever live on the host: that the file is not there is nobody's doing.
    :raises Failure: this user could not rename it.
    """
    path = layout.path(file)
    directory = os.path.dirname(path)
    if os.path.isdir(directory) and not os.access(directory, os.W_OK | os.X_OK):
        raise Failure(f"{path} cannot be renamed by this user", "who may is named in deploy.balancer.user", "balancer")
    if os.path.lexists(path):
        return {"status": f"{path} is there", "up": True, "out": ""}
    if os.path.lexists(path + DRAINED):
        return {"status": f"{path} is drained", "up": False, "out": "drain"}
    if new:
        return {"status": f"{path} will be made", "up": False, "out": ""}
    return {"status": f"{path} is not there", "up": False, "out": "maint"}


def drain(layout: Layout, file: str, notice: float, port: int, timeout: float) -> dict[str, int]:
    """Rename the file, wait *notice* seconds, and then until nobody is connected to *port* (0 for none).

    :returns: as ``left`` the connections that are left after further *timeout* seconds.
    """
    path = layout.path(file)
    if os.path.lexists(path):
        _rename(path, path + DRAINED)
        time.sleep(notice)
    elif not os.path.lexists(path + DRAINED):
        disk.write_atomically(path + DRAINED, "")
    deadline = time.monotonic() + timeout
    while port and (left := sockets.count_at(port)):
        if time.monotonic() >= deadline:
            return {"left": left}
        time.sleep(LOOK_EVERY_S)
    return {"left": 0}


def ready(layout: Layout, file: str, notice: float) -> dict[str, Any]:
    """Give the file its name back, and wait *notice* seconds."""
    path = layout.path(file)
    if not os.path.lexists(path) and os.path.lexists(path + DRAINED):
        _rename(path + DRAINED, path)
        time.sleep(notice)
    return {}


def _rename(old: str, new: str) -> None:
    os.rename(old, new)
    disk.sync_directory(os.path.dirname(new))
