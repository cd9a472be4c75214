"""What systemd says of a unit, and of the sockets that start it."""

from __future__ import annotations

import os
import subprocess

from .layout import Layout
from .shapes import Service


def show(unit: str, *properties: str, of_user: bool = False) -> dict[str, str]:
    """Properties of a unit, each '' where systemd says nothing of it; {} where systemd does not answer."""
    scope = ["--user"] if of_user else []
    # systemctl finds the user's manager by this directory; a login by sudo does not set it.
    directory = {"XDG_RUNTIME_DIR": f"/run/user/{os.getuid()}"} if of_user else {}
    try:
        answer = subprocess.run(
            ["systemctl", *scope, "show", f"--property={','.join(properties)}", "--", unit],
            env={**os.environ, **directory},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    lines = answer.stdout.decode(errors="replace").splitlines()
    said = dict(line.split("=", 1) for line in lines if "=" in line)
    return {name: said.get(name, "") for name in properties} if said else {}


def sockets_in(triggered_by: str) -> list[str]:
    """The sockets among what starts a unit."""
    return [name for name in triggered_by.split() if name.endswith(".socket")]


def states(sockets: list[str], *, of_user: bool) -> dict[str, str]:
    """The ActiveState of each."""
    return {name: show(name, "ActiveState", of_user=of_user).get("ActiveState", "") for name in sockets}


def sockets(layout: Layout, service: Service) -> dict[str, str]:
    """The sockets that start a service's unit, and the ActiveState of each."""
    if service["manager"] != "systemd":
        return {}
    of_user = bool(service.get("user"))
    found = show(service["unit"], "TriggeredBy", of_user=of_user)
    return states(sockets_in(found.get("TriggeredBy", "")), of_user=of_user)


def doubts(layout: Layout, service: Service) -> list[str]:
    """What of a unit's sockets would lose connections while the unit is restarted, one sentence each."""
    if service["manager"] != "systemd":
        return []
    unit, of_user = service["unit"], bool(service.get("user"))
    held = sockets(layout, service)
    found = [
        f"{name} is {state or 'unknown'}, so nothing holds connections while {unit} is restarted: "
        f"stop {unit}, then start {name}"
        for name, state in held.items()
        if state != "active"
    ]
    beside = f"{unit.rpartition('.')[0]}.socket"
    if beside not in held:
        said = show(beside, "LoadState", "Triggers", of_user=of_user)
        if said.get("LoadState") == "loaded":
            starts = said["Triggers"] or "nothing"
            found.append(
                f"{beside} starts {starts} and not {unit}, so it is not held for it (Service={unit} ties them)"
            )
    return found
