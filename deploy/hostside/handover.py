"""A main process that started its own successor, as gunicorn does on USR2: is the new one well, asked by itself?

Both listen on the same socket, so an answer proves nothing until it is known whose it was: a connection is made, its
other end is looked up in /proc, and only if a process of the new one took it, something is asked on it.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import time
from typing import Any
from urllib.parse import urlsplit

from . import commands, processes
from .health import judged
from .layout import Layout
from .shapes import Service

SETTLE_S = 3.0
"""How long a new one that cannot be asked by itself has to stay as it is."""
ACCEPT_S = 2.0

_TAKEN_BY_OTHERS = "its predecessor answers"
_NOT_SEEN = "nobody sees who answers"


def verify(
    layout: Layout, identifier: str, pidfile: str, former: int, health: dict[str, Any] | None, timeout: float
) -> dict[str, Any]:
    """Wait until the process that *pidfile* names runs *identifier*, and answers well itself.

    Where it cannot be asked by itself, because no health is configured or another program answers for it, it is enough
    that it has workers and that none of its processes ended or was started for some seconds.

    :param former: the number of its predecessor.
    :returns: ``healthy``, ``last``, ``verdict`` and ``detail`` as :func:`verify.verify`.
    """
    deadline = time.monotonic() + timeout
    service: Service = {"manager": "signal", "pidfile": pidfile}
    answer = processes.prove(layout, service, identifier, timeout)
    if answer["verdict"] not in ("proven", "unknown"):
        return {"healthy": True, "last": "", **answer}
    asked = _wait(layout, service, former, health, deadline)
    if asked.get("last"):
        asked["last"] = commands.mask(layout, [asked["last"]])["texts"][0]
    return {**answer, **asked}


def _wait(
    layout: Layout, service: Service, former: int, health: dict[str, Any] | None, deadline: float
) -> dict[str, Any]:
    last, since, known = _TAKEN_BY_OTHERS, time.monotonic(), [0]
    while True:
        pid = processes.main_pid(service, layout)
        if not pid or _has_ended(pid):
            return {"healthy": True, "last": "", "verdict": "down", "detail": "it ended soon after its start"}
        family = processes.children(pid)
        said = _ask(health, family, processes.children(former)) if health else _NOT_SEEN
        if not said:
            return {"healthy": True, "last": ""}
        if said not in (_NOT_SEEN, _TAKEN_BY_OTHERS):
            last = said
        if said != _NOT_SEEN or sorted(family) != known or len(family) < 2:
            since, known = time.monotonic(), sorted(family)
        elif time.monotonic() - since > SETTLE_S:
            return {"healthy": True, "last": ""}
        if time.monotonic() > deadline:
            return {"healthy": False, "last": last}
        time.sleep(0.05)


def _has_ended(pid: int) -> bool:
    """Whether there is no such process, or nobody has taken notice of its end yet."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            return stream.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except OSError:
        return True


def _ask(health: dict[str, Any], family: list[int], others: list[int]) -> str:
    """'' where one of *family* answered well; else what it said, or why it was not asked."""
    parts = urlsplit(health["url"])
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=10) as connection:
            taker = _taker(connection)
            if _holds(others, taker) and not _holds(family, taker):
                return _TAKEN_BY_OTHERS
            if not _holds(family, taker):
                return _NOT_SEEN if taker is not None else _TAKEN_BY_OTHERS
            return _answer(connection, health, port)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__


def _answer(connection: socket.socket, health: dict[str, Any], port: int) -> str:
    parts = urlsplit(health["url"])
    client = http.client.HTTPConnection(parts.hostname or "", port)
    client.sock = connection
    if parts.scheme == "https":
        client.sock = ssl.create_default_context().wrap_socket(connection, server_hostname=parts.hostname)
    headers = {"User-Agent": "fabric-wheelhouse", "Host": health.get("host") or parts.netloc, "Connection": "close"}
    client.request("GET", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), headers=headers)
    answer = client.getresponse()
    return judged(answer.status, answer.read(300))


def _taker(connection: socket.socket) -> str | None:
    """The inode of the connection's other end: '' where that is not on this host, None where nobody took it yet."""
    ours, theirs = connection.getsockname()[1], connection.getpeername()[1]
    deadline = time.monotonic() + ACCEPT_S
    while True:
        inode = _inode(local=theirs, remote=ours)
        if inode != "0":
            return inode
        if time.monotonic() > deadline:
            return None
        time.sleep(0.005)


def _inode(local: int, remote: int) -> str:
    """Of the socket with these two ports (proc(5), /proc/net/tcp): '0' while it waits to be accepted, '' for none."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as stream:
                for line in stream:
                    fields = line.split()
                    if fields[1].endswith(f":{local:04X}") and fields[2].endswith(f":{remote:04X}"):
                        return fields[9]
        except OSError:
            continue
    return ""


def _holds(pids: list[int], inode: str | None) -> bool:
    """Whether one of the processes has this socket open."""
    wanted = f"socket:[{inode}]"
    for pid in pids if inode else ():
        try:
            if any(os.readlink(f"/proc/{pid}/fd/{name}") == wanted for name in os.listdir(f"/proc/{pid}/fd")):
                return True
        except OSError:
            continue
    return False
