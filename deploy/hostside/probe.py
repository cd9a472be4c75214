"""What this host is and what lies on it: read-only, whatever it finds."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Sequence
from typing import Any

from . import (
    deploylock,
    drained,
    interpreter,
    looking,
    maintenance,
    migrations,
    releases,
    sharedpaths,
    signature,
    systemd,
    troubles,
    unitfiles,
)
from .failure import Failure
from .layout import Layout, Records
from .shapes import Service, Units

_TOOLS = ("rsync", "git", "hg", "svn", "systemctl", "supervisorctl", "sudo")


def look(
    layout: Layout,
    shared_files: list[str],
    services: Sequence[Service],
    also: Sequence[str] = (),
    shared_dirs: Sequence[str] = (),
    units: Units | None = None,
    maintenance_file: str = "",
) -> dict[str, Any]:
    """All that a deploy wants to know before it touches anything.

    :param services: what is to be restarted, as the laptop describes it.
    :param units: the unit files of the release: see :func:`unitfiles.differing`.
    :param also: what takes longer than the rest, see :func:`ask`.
    :param maintenance_file: what is there while maintenance is on; '' where there is none.
    """
    import getpass

    nearest = layout.base
    while not os.path.exists(nearest):
        nearest = os.path.dirname(nearest)
    usage = os.statvfs(nearest)
    return {
        **interpreter.facts(),
        "hostname": platform.node(),
        "user": getpass.getuser(),
        "uid": os.getuid(),
        "has_venv": _importable("venv"),
        "tools": {tool: shutil.which(tool) or "" for tool in _TOOLS},
        "free_bytes": usage.f_bavail * usage.f_frsize,
        # Some file systems (btrfs) count no inodes and say 0 of 0.
        "free_inodes": usage.f_favail if usage.f_files else 1 << 31,
        "base": _base(layout, nearest),
        "shared_missing": sharedpaths.missing(layout, shared_files),
        "shared_wrong": sharedpaths.wrong(layout, shared_files, shared_dirs),
        "shared_doubtful": sharedpaths.doubtful(layout, shared_files),
        **_units(services),
        "units_differ": _units_differing(layout, units),
        "signers": signature.known(layout),
        "lock": deploylock.show(layout),
        "drained": drained.read(layout),
        "migration": migrations.summary(layout),
        "maintenance": maintenance.since(layout, maintenance_file) if maintenance_file else "",
        "unfinished": releases.unfinished(layout),
        **_records(layout),
        **ask(layout, also),
    }


def ask(layout: Layout, also: Sequence[str]) -> dict[str, Any]:
    """What takes longer than the rest, and is asked only where somebody wants to know.

    :param also: ``foreign`` (what cannot be removed: see :func:`ownership.foreign`), ``libraries`` (sonames that the
        loader finds), ``openssh`` (the version, '' for none), ``sudo`` (what the user that asks may do: see
        :func:`questions.sudo`).
    """
    if not also:
        return {}
    from . import questions

    for name in also:
        if name not in questions.QUESTIONS:
            raise Failure(f"the host program knows no question {name!a}", kind="refused")
    return {name: questions.QUESTIONS[name](layout) for name in also}


def explain(layout: Layout, path: str, number: int) -> None:
    """Say what an error means that another program met on this host.

    :param number: what this host's system calls it.
    :raises Failure: always.
    """
    if not 0 < number < 1 << 12:
        raise Failure(f"the system knows no error {number}", kind="refused")
    raise troubles.explain(OSError(number, os.strerror(number), path))


def _units_differing(layout: Layout, units: Units | None) -> list[str]:
    if units is None:
        return []
    return unitfiles.differing(layout, layout.linked("current"), units["files"], units["values"], units["of_user"])


def _units(services: Sequence[Service]) -> dict[str, list[str]]:
    """Of the services' units, those that systemd does not know, and those that sockets start."""
    found: dict[str, list[str]] = {"units_missing": [], "units_with_sockets": []}
    for service in services:
        if service["manager"] == "systemd":
            of_user = bool(service.get("user"))
            said = systemd.show(service["unit"], "LoadState", "TriggeredBy", of_user=of_user)
            if not of_user and said.get("LoadState") not in ("loaded", ""):
                found["units_missing"].append(service["unit"])
            if systemd.sockets_in(said.get("TriggeredBy", "")):
                found["units_with_sockets"].append(service["unit"])
    return found


def _importable(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


def _base(layout: Layout, nearest: str) -> dict[str, Any]:
    lacking = [path for path in layout.directories if not os.path.isdir(path)]
    unwritable = [path for path in layout.directories if os.path.isdir(path) and not os.access(path, os.W_OK | os.X_OK)]
    foreign = [path for path in layout.directories if os.path.isdir(path) and os.stat(path).st_uid != os.getuid()]
    loose = [path for path in layout.directories if os.path.isdir(path) and os.stat(path).st_mode & 0o022]
    return {
        "lacking": lacking,
        "unwritable": unwritable,
        "foreign": foreign,
        "loose": loose,
        "read_only": troubles.is_read_only(nearest),
        "creatable": os.access(nearest, os.W_OK | os.X_OK),
    }


def _records(layout: Layout) -> dict[str, Any]:
    empty: dict[str, Any] = {"live": "", "staged": "", "rollback": "", "releases": {}}
    if not looking.is_directory(layout.path(".deploy")):
        return empty
    return Records(layout).summary()
