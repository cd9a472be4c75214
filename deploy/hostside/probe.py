"""What this host is and what lies on it: read-only, whatever it finds."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import sysconfig
from typing import Any

from . import deploylock, signature
from .layout import Layout, Records

_TOOLS = ("rsync", "git", "systemctl", "supervisorctl", "sudo")


def facts() -> dict[str, Any]:
    """What a wheel can depend on: interpreter, platform, libc (PEP 508 and PEP 600 words)."""
    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "cache_tag": sys.implementation.cache_tag,
        "interpreter": os.path.realpath(sys.executable) if sys.executable else "",
        "system": sys.platform if sys.platform == "darwin" else platform.system().lower(),
        "machine": platform.machine(),
        "libc": _libc(),
        "macos": platform.mac_ver()[0],
        "soabi": sysconfig.get_config_var("SOABI") or "",
        "marker_environment": _marker_environment(),
    }


def _libc() -> list[str]:
    try:
        name, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        return [name, version]
    except (ValueError, OSError, AttributeError):
        musl = [name for name in _listdir("/lib") if name.startswith("ld-musl-")]
        return ["musl", ""] if musl else ["", ""]


def _marker_environment() -> dict[str, str]:
    info = sys.implementation.version
    implementation = f"{info.major}.{info.minor}.{info.micro}"
    if info.releaselevel != "final":
        implementation += info.releaselevel[0] + str(info.serial)
    return {
        "implementation_name": sys.implementation.name,
        "implementation_version": implementation,
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "python_full_version": platform.python_version(),
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "sys_platform": sys.platform,
    }


def look(layout: Layout, shared_files: list[str], service: dict[str, Any] | None) -> dict[str, Any]:
    """All that a deploy wants to know before it touches anything."""
    import getpass

    nearest = layout.base
    while not os.path.exists(nearest):
        nearest = os.path.dirname(nearest)
    usage = os.statvfs(nearest)
    return {
        **facts(),
        "hostname": platform.node(),
        "user": getpass.getuser(),
        "uid": os.getuid(),
        "has_venv": _importable("venv"),
        "tools": {tool: shutil.which(tool) or "" for tool in _TOOLS},
        "free_bytes": usage.f_bavail * usage.f_frsize,
        # Some file systems (btrfs) count no inodes and say 0 of 0.
        "free_inodes": usage.f_favail if usage.f_files else 1 << 31,
        "base": _base(layout, nearest),
        "shared_missing": [name for name in shared_files if not os.path.exists(layout.path("shared", name))],
        "unit_missing": _unit_missing(service),
        "signers": signature.known(layout),
        "lock": deploylock.show(layout),
        **_records(layout),
    }


def _unit_missing(service: dict[str, Any] | None) -> str:
    """The service's unit, where systemd does not know it; '' else."""
    if not service or service["manager"] != "systemd" or service.get("user"):
        return ""
    import subprocess

    command = ["systemctl", "show", "--property=LoadState", "--value", "--", service["unit"]]
    try:
        answer = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):
        return str(service["unit"])
    return "" if answer.stdout.strip() in (b"loaded", b"") else str(service["unit"])


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
        "creatable": os.access(nearest, os.W_OK | os.X_OK),
    }


def _records(layout: Layout) -> dict[str, Any]:
    empty: dict[str, Any] = {"live": "", "staged": "", "rollback": "", "releases": {}}
    if not os.path.isdir(layout.path(".deploy")):
        return empty
    return Records(layout).summary()


def _listdir(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []
