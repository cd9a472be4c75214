"""haproxy's runtime socket: what a backend's servers are at, and which of them get requests.

One line a connection, as haproxy has it unless it is told otherwise; the commands of a line are carried out together,
and what they say of themselves is nothing where they were done. Statistics are CSV with a header, states are words:
haproxy's management guide, "Statistics and monitoring" and "show servers state".
"""

from __future__ import annotations

import csv
import io
import re
import socket
import time
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Callable, TypeVar

from .failure import Failure
from .layout import Layout

T = TypeVar("T")

ANSWER_WITHIN_S = 5.0
LOOK_EVERY_S = 0.1
LINE_AT_MOST = 8000
"""Characters; half of its default buffer (tune.bufsize)."""
MAINT, DRAIN = 0x01 | 0x02 | 0x04 | 0x20 | 0x40, 0x08 | 0x10
"""Bits of srv_admin_state: whoever or whatever asked for it. The status alone does not tell who is drained and down."""


def look(layout: Layout, address: str, backend: str) -> dict[str, Any]:
    """The servers of *backend*: of each its ``status`` (`UP`, `DOWN`, `MAINT`, ...), whether it is ``up`` and gets new
    sessions, whether it is ``out`` (`drain`, `maint` or ''), and its ``sessions``.

    :param address: the socket: a path, or ``address:port``.
    """
    rows = {
        row["svname"]: row
        for row in _statistics(address)
        if row["pxname"] == backend and row["svname"] not in ("FRONTEND", "BACKEND")
    }
    if not rows:
        raise Failure(
            f"haproxy at {address} has no backend {backend!r} with servers",
            "name one of its backends in deploy.balancer.backend",
            "balancer",
        )
    states = _admin_states(address, backend)
    servers = {}
    for name, row in rows.items():
        state = states.get(name, 0)
        out = "maint" if state & MAINT else "drain" if state & DRAIN else ""
        up = serves(row["status"]) and not out
        servers[name] = {"status": row["status"], "up": up, "out": out, "sessions": int(row["scur"] or 0)}
    return servers


def drain(layout: Layout, address: str, backend: str, servers: Sequence[str], timeout: float) -> dict[str, int]:
    """Give *servers* no new sessions, and wait until those that they have ended, or *timeout* seconds.

    :returns: the sessions that are left, of the servers that have some.
    """
    _tell(address, backend, [(name, "drain") for name in servers])
    return _sessions_left(layout, address, backend, servers, timeout)


def ready(layout: Layout, address: str, backend: str, servers: Sequence[str], timeout: float) -> dict[str, str]:
    """Give *servers* sessions again, and wait until haproxy's own checks find them well, or *timeout* seconds.

    :returns: the status of those that they do not.
    """
    _tell(address, backend, [(name, "ready") for name in servers])
    return _not_well(layout, address, backend, servers, timeout, serves)


def swap(
    layout: Layout,
    address: str,
    backend: str,
    back: Sequence[str],
    servers: Sequence[str],
    ready_timeout: float,
    timeout: float,
) -> dict[str, dict[str, Any]]:
    """Put *back* in and take *servers* out at once, as soon as haproxy, which checks the drained, too, finds them well.

    :returns: ``down``: as :func:`ready`; if it names any, nobody was told anything. ``left``: as :func:`drain`.
    """

    def well(status: str) -> bool:
        return serves(status) or status.startswith("DRAIN")

    if down := _not_well(layout, address, backend, back, ready_timeout, well):
        return {"down": down, "left": {}}
    _tell(address, backend, [*((name, "ready") for name in back), *((name, "drain") for name in servers)])
    return {"down": {}, "left": _sessions_left(layout, address, backend, servers, timeout)}


def _sessions_left(
    layout: Layout, address: str, backend: str, servers: Sequence[str], timeout: float
) -> dict[str, int]:
    def left() -> dict[str, int]:
        found = look(layout, address, backend)
        return {name: found[name]["sessions"] for name in servers if found.get(name, {}).get("sessions")}

    return _until_none(left, timeout)


def _not_well(
    layout: Layout, address: str, backend: str, servers: Sequence[str], timeout: float, well: Callable[[str], bool]
) -> dict[str, str]:
    def down() -> dict[str, str]:
        found = look(layout, address, backend)
        statuses = {name: str(found.get(name, {}).get("status", "gone")) for name in servers}
        return {name: status for name, status in statuses.items() if not well(status)}

    return _until_none(down, timeout)


def _until_none(look_again: Callable[[], dict[str, T]], timeout: float) -> dict[str, T]:
    deadline = time.monotonic() + timeout
    while (found := look_again()) and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_S)
    return found


def put(layout: Layout, address: str, backend: str, servers: dict[str, str]) -> dict[str, Any]:
    """Set the state of each server: `ready`, `drain` or `maint`."""
    _tell(address, backend, [*servers.items()])
    return {}


def serves(status: str) -> bool:
    """Whether a server of that status gets new sessions; without checks, haproxy believes that it is well."""
    return status.startswith("UP") or status == "no check"


def _tell(address: str, backend: str, states: Sequence[tuple[str, str]]) -> None:
    """Set the states of servers, as many in one moment as fit into what haproxy reads at once."""
    commands = [f"set server {backend}/{name} state {state}" for name, state in states]
    while commands:
        fitting = max(1, sum(1 for length in accumulate(len(each) + 1 for each in commands) if length < LINE_AT_MOST))
        said = _ask(address, ";".join(commands[:fitting]))
        if said:
            hint = "the socket needs `level admin`" if "ermission" in said else ""
            names = ", ".join(name for name, _ in states)
            raise Failure(f"haproxy at {address} says of {backend} ({names}): {said}", hint, "balancer")
        del commands[:fitting]


def _statistics(address: str) -> list[dict[str, str]]:
    said = _ask(address, "show stat")
    try:
        rows = list(csv.DictReader(io.StringIO(said.removeprefix("# "), newline="")))
    except csv.Error:
        rows = []
    if not rows or not all(map(_is_whole, rows)):
        raise Failure(f"{address} does not answer as haproxy's runtime socket does", "", "balancer")
    return rows


def _is_whole(row: dict[str, Any]) -> bool:
    """Whether a row has what is looked at; one that was cut off has not."""
    named = all(isinstance(row.get(key), str) for key in ("pxname", "svname", "status", "scur"))
    return named and re.fullmatch("[0-9]{0,18}", row["scur"]) is not None


def _admin_states(address: str, backend: str) -> dict[str, int]:
    """What was asked for each server, in bits."""
    lines = _ask(address, f"show servers state {backend}").splitlines()
    header = next((line[2:].split() for line in lines if line.startswith("# ")), [])
    rows = [dict(zip(header, line.split())) for line in lines if line and not line.startswith("#")]
    try:
        return {row["srv_name"]: int(row["srv_admin_state"]) for row in rows if "srv_name" in row}
    except (KeyError, ValueError):
        raise Failure(f"{address} does not answer as haproxy's runtime socket does", "", "balancer") from None


def _ask(address: str, command: str) -> str:
    """What haproxy says to one command."""
    try:
        with _connected(address) as connection:
            connection.sendall(command.encode() + b"\n")
            said = b""
            while chunk := connection.recv(1 << 16):
                said += chunk
    except OSError as error:
        why = error.strerror or str(error) or type(error).__name__
        hint = "is haproxy up, and may this user write to its socket (deploy.balancer.user)?"
        raise Failure(f"haproxy's socket {address} does not answer ({why})", hint, "balancer") from None
    return said.decode(errors="replace").strip()


def _connected(address: str) -> socket.socket:
    if address.startswith("/"):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(ANSWER_WITHIN_S)
        try:
            connection.connect(address)
        except OSError:
            connection.close()
            raise
        return connection
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_WITHIN_S)
