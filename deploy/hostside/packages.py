"""Which packages of the operating system does this host lack? Its package manager is asked; read-only, as anybody."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

from .failure import Failure
from .layout import Layout

# What has to be there to ask, and to install. A Debian may have rpm as a tool; it is not asked.
_MANAGERS = {"apt": ("dpkg-query", "apt-get"), "dnf": ("rpm", "dnf"), "pkg": ("pkg",)}

_INSTALLED = "installed"


def manager() -> str:
    """``apt``, ``dnf`` or ``pkg``; '' where the host has none of them."""
    for name, commands in _MANAGERS.items():
        if all(shutil.which(command) for command in commands):
            return name
    return ""


def look(layout: Layout, wanted: dict[str, list[str]]) -> dict[str, Any]:
    """Look for the packages that the configuration names.

    :param wanted: package manager → names.
    :returns: ``manager``, and ``lacking``: the names that are not installed.
    """
    found = manager()
    names = wanted.get(found, [])
    there = installed(found, names)
    return {"manager": found, "lacking": [name for name in names if name not in there]}


def installed(which: str, names: list[str]) -> set[str]:
    """Those of *names* that are installed, or are provided by something that is."""
    if not names:
        return set()
    if which == "apt":
        return _debian(names)
    query = ["rpm", "--query", "--whatprovides"] if which == "dnf" else ["pkg", "info", "--exists"]
    return {name for name in names if _run([*query, name])[0] == 0}


def _debian(names: list[str]) -> set[str]:
    status = "${Package}\t${Package}:${Architecture}\t${db:Status-Status}\t${Provides}\n"
    found = _installed_or_provided(_run(["dpkg-query", "--show", f"--showformat={status}", "--", *names])[1])
    if not found.issuperset(names):
        # A name may be a virtual one, or one of before a transition (libssl3, which libssl3t64 provides).
        found |= _installed_or_provided(_run(["dpkg-query", "--show", f"--showformat={status}"])[1])
    return found.intersection(names)


def _installed_or_provided(listing: str) -> set[str]:
    found: set[str] = set()
    for line in listing.splitlines():
        name, qualified, status, provides = line.split("\t")
        if status == _INSTALLED:
            found |= {name, qualified}
            found |= {part.split()[0] for part in provides.split(",") if part.strip()}
    return found


def _run(command: list[str]) -> tuple[int, str]:
    """Exit code and output; what it complains of is said by its exit code.

    :raises Failure: it does not run, or not within a minute.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise Failure(f"{command[0]} cannot be asked: {error}", "look at the host's package manager") from None
    return done.returncode, done.stdout.decode(errors="replace")
