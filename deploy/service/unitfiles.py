"""The commands that install unit files: pure functions that return command lines. Nothing is run here."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath

from ..config import Service, Systemd
from .manager import ServiceCommand, systemctl

SYSTEM = "/etc/systemd/system"
USERS = "$HOME/.config/systemd/user"

STARTED = (".socket", ".timer", ".path")
"""Kinds of units that start others: new ones are started, too."""


def names(service: Service | None) -> list[str]:
    """The units whose files come with the release."""
    return [PurePosixPath(name).name for name in service.unit_files] if isinstance(service, Systemd) else []


def brings(service: Service | None, unit: str) -> bool:
    """Whether *unit*, or the template that it is an instance of, is one of them."""
    return unit in names(service) or re.sub(r"@.*\.", "@.", unit) in names(service)


def install(service: Systemd, base: str, name: str) -> list[ServiceCommand]:
    """The commands that put what the host program wrote where systemd looks, by rename(2)."""
    source = str(PurePosixPath(base) / ".deploy/units" / name)
    if service.user:
        fresh, target = f'"{USERS}"/{shlex.quote(f".{name}.new")}', f'"{USERS}"/{shlex.quote(name)}'
        copy = f"install -m 0644 -T {shlex.quote(source)} {fresh}"
        script = f'mkdir -p "{USERS}" && {copy} && sync {fresh} && mv -T {fresh} {target}'
        return [ServiceCommand(("sh", "-c", script))]
    fresh, target = f"{SYSTEM}/.{name}.new", f"{SYSTEM}/{name}"
    return [
        ServiceCommand(("install", "-m", "0644", "-T", source, fresh), "root"),
        ServiceCommand(("sync", fresh)),
        ServiceCommand(("mv", "-T", fresh, target), "root"),
    ]


def reload(service: Systemd) -> ServiceCommand:
    """The command that lets systemd read unit files again."""
    return systemctl(service, "daemon-reload")


def enable(service: Systemd, name: str) -> ServiceCommand:
    """The command that has a new unit started with the host; of a template, each instance."""
    instances = [name.replace("@.", f"@{instance}.") for instance in service.instance_names]
    return systemctl(service, "enable", *(instances if "@." in name else [name]))


def start(service: Systemd, name: str) -> list[ServiceCommand]:
    """The commands that start a new socket, timer or path."""
    started = systemctl(service, "start", name)
    if not name.endswith(".socket"):
        return [started]
    # systemd listens on no socket whose service runs without it.
    return [systemctl(service, "stop", f"{name.removesuffix('.socket')}.service"), started]


def all_of(service: Systemd, base: str) -> Sequence[ServiceCommand]:
    """Every command that root may have to run, for a look at what sudo allows."""
    found = [command for name in names(service) for command in (*install(service, base, name), enable(service, name))]
    found += [command for name in names(service) if name.endswith(STARTED) for command in start(service, name)]
    return [command for command in (*found, reload(service)) if command.user == "root"]
