"""Which release do the processes of a service run? Looked up in /proc, not assumed."""

from __future__ import annotations

import os
import time
from typing import Any

from . import disk, systemd
from .layout import Layout
from .shapes import Service


def children(pid: int) -> list[int]:
    """*pid* and all its descendants, by the parent that each process in /proc names."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as stream:
                    # The command name, in parentheses, may hold anything; the fields after it do not.
                    parent = int(stream.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
            parents.setdefault(parent, []).append(int(name))
    found, queue = [], [pid]
    while queue:
        current = queue.pop()
        found.append(current)
        queue += parents.get(current, [])
    return found


def main_pid(service: Service, layout: Layout) -> int:
    """The main process by the service's pidfile; 0 where there is none.

    :raises PermissionError: the file is for others to read.
    """
    try:
        with open(disk.open_file(layout.path(service["pidfile"])), encoding="ascii") as stream:
            return max(0, int(stream.read().strip() or 0))
    except PermissionError:
        raise
    except (OSError, ValueError):
        return 0


def release_of(pid: int, layout: Layout) -> str:
    """The release that *pid* works in or has code of open; '' where /proc does not show it.

    :raises PermissionError: the process belongs to somebody else.
    """
    releases = os.path.realpath(layout.path("releases")) + os.sep
    directory = os.readlink(f"/proc/{pid}/cwd")
    if directory.startswith(releases):
        return directory[len(releases) :].split(os.sep)[0].replace(" (deleted)", "")
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as stream:
        for line in stream:
            _head, found, path = line.partition(releases)
            if found:
                return path.split(os.sep)[0]
    return ""


def _other_venv(pid: int, layout: Layout, venv: str) -> str:
    """A venv of the application, not *venv*, that *pid* has compiled modules of open; '' where there is none."""
    venvs = os.path.realpath(layout.path("venvs")) + os.sep
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as stream:
        for line in stream:
            _head, found, path = line.partition(venvs)
            name = path.split(os.sep)[0].rstrip()
            if found and name != venv:
                return name
    return ""


def look(layout: Layout, pid: int, identifier: str) -> dict[str, Any]:
    """One look at a service's processes.

    :returns: ``verdict``: ``proven`` (all that show a release show this one), ``stale`` (some run another),
        ``down`` (no process) or ``unknown``, and ``detail``.
    """
    if not os.path.isdir("/proc/self"):
        return {"verdict": "unknown", "detail": "this system has no /proc"}
    seen: dict[str, list[int]] = {}
    hidden = 0
    link = os.path.join(layout.release(identifier), ".venv")
    venv = os.path.basename(os.path.realpath(link)) if os.path.islink(link) else ""
    for process in children(pid):
        try:
            release = release_of(process, layout)
            if release == identifier and venv and (other := _other_venv(process, layout, venv)):
                release = f"{identifier} with modules of another one's venv ({other})"
            seen.setdefault(release, []).append(process)
        except PermissionError:
            hidden += 1
        except OSError:
            continue  # it ended while we looked
    others = {name: pids for name, pids in seen.items() if name not in ("", identifier)}
    if others:
        detail = "; ".join(f"process {pids[0]} runs {name}" for name, pids in others.items())
        return {"verdict": "stale", "detail": detail}
    if seen.get(identifier) and not hidden and not any(pid in pids for pids in seen.values()):
        # A successor may run already, but nothing tells its number yet.
        return {"verdict": "down", "detail": f"process {pid} has ended"}
    if seen.get(identifier):
        more = len(seen[identifier]) - 1
        return {
            "verdict": "proven",
            "detail": f"main process {pid}" + (f" and {more} more" if more else ""),
        }
    if hidden or (not seen and _is_hidden(pid)):
        return {"verdict": "hidden", "detail": f"the processes of {pid} belong to another user"}
    if not seen:
        return {"verdict": "down", "detail": f"process {pid} has ended"}
    return {
        "verdict": "unknown",
        "detail": "its processes neither work in a release nor have code of one open "
        "(set WorkingDirectory, or gunicorn's chdir, to the current release)",
    }


def _is_hidden(pid: int) -> bool:
    """Whether there is a process that /proc does not show: mounted with hidepid, it hides those of other users."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        pass
    return False


def prove(layout: Layout, service: Service, identifier: str, timeout: float) -> dict[str, Any]:
    """Look until the service's processes run *identifier*, or *timeout* seconds are over.

    After a reload old workers may finish their requests first, so a stale look is repeated.
    """
    deadline = time.monotonic() + timeout
    if service["manager"] != "systemd" and not service.get("pidfile") and "pid" not in service:
        return {"verdict": "unknown", "detail": "nothing tells its main process (deploy.service.pidfile would)"}
    # A process whose number was told by the laptop does not come to life again; others may yet be started.
    passing = ("stale",) if "pid" in service else ("stale", "down")
    while True:
        result = _look_at(service, layout, identifier)
        if result["verdict"] not in passing or time.monotonic() >= deadline:
            return result
        time.sleep(0.2)


def _look_at(service: Service, layout: Layout, identifier: str) -> dict[str, Any]:
    if service["manager"] == "systemd":
        return _look_at_unit(service, layout, identifier)
    try:
        pid = service["pid"] if "pid" in service else main_pid(service, layout)
    except PermissionError as error:
        return {"verdict": "hidden", "detail": f"{error.filename} is for another user to read"}
    return look(layout, pid, identifier) if pid else _NOTHING


def _look_at_unit(service: Service, layout: Layout, identifier: str) -> dict[str, Any]:
    unit, of_user = service["unit"], bool(service.get("user"))
    said = systemd.show(unit, "MainPID", "ActiveState", "TriggeredBy", of_user=of_user)
    pid = int(said.get("MainPID") or 0)
    if pid:
        return look(layout, pid, identifier)
    if said.get("ActiveState") == "active":  # a oneshot unit, a target
        return {"verdict": "unknown", "detail": f"{unit} is active, but has no main process to look at"}
    if said.get("ActiveState") == "inactive":
        for name, state in systemd.states(systemd.sockets_in(said["TriggeredBy"]), of_user=of_user).items():
            if state == "active":
                detail = f"{unit} does not run now; {name} starts it with the next connection"
                return {"verdict": "unknown", "detail": detail}
    return _NOTHING


_NOTHING = {"verdict": "down", "detail": "it has no main process"}
