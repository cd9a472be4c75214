"""Would a service's processes have two releases at once? What is looked up through `current` later is the next one.

It reads the unit as systemd tells it, or the command line and the environment of a process; what a start script or a
configuration file names, it does not see.
"""

from __future__ import annotations

import re

from . import processes, systemd
from .layout import Layout
from .shapes import Service

_PYTHON = re.compile(r"(pypy|python)[0-9.]*$")
_SEARCHED = ("PATH", "PWD", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")
"""Variables that are looked up again and again."""


def doubts(layout: Layout, service: Service) -> list[str]:
    """What of the service's unit, or of the process that its pidfile names, goes through `current` after its start.

    :returns: one sentence each.
    """
    current = layout.path("current")
    if service["manager"] == "systemd":
        said = systemd.show(service["unit"], "ExecStart", "Environment", of_user=bool(service.get("user")))
        found = of_unit(said.get("ExecStart", ""), said.get("Environment", ""), current)
        return [f"{service['unit']} would mix releases: {doubt}" for doubt in found]
    if not service.get("pidfile"):
        return []
    try:
        pid = processes.main_pid(service, layout)
        words, variables = (_strings(f"/proc/{pid}/{name}") for name in ("cmdline", "environ"))
    except OSError:
        return []
    found = _of_command(words, current) + _of_environment(variables, current)
    return [f"process {pid} would mix releases: {doubt}" for doubt in found]


def _strings(path: str) -> list[str]:
    with open(path, encoding="utf-8", errors="replace") as stream:
        return stream.read().split("\0")


def of_text(text: str, current: str) -> list[str]:
    """The same of a unit file."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "ExecStart":
            found += _of_command(value.lstrip(" -@+!:").split(), current)
        elif name.strip() == "Environment":
            found += _of_environment(value.split(), current)
    return found


def of_unit(start: str, environment: str, current: str) -> list[str]:
    """The same of what ``systemctl show`` says of ExecStart and Environment."""
    command = re.search(r"argv\[\]=(.*?) ;", start)
    found = _of_command(command.group(1).split() if command else [], current)
    return found + _of_environment(environment.split(), current)


def _of_environment(words: list[str], current: str) -> list[str]:
    found = []
    for word in words:
        variable, _, path = word.strip("\"'").partition("=")
        if variable in _SEARCHED and _through(path, current):
            found.append(f"its variable {variable} names {current}, which is looked up again after a switch")
    return found


def _of_command(words: list[str], current: str) -> list[str]:
    found = []
    for number, word in enumerate(words):
        if not _through(word, current):
            continue
        option = words[number - 1] if number else ""
        if _PYTHON.search(word):
            found.append(
                f"it starts {word}: Python takes its venv from that link, so a later import is another release's; "
                "use WorkingDirectory and: /usr/bin/env .venv/bin/python"
            )
        elif word.startswith("--chdir=") or option == "--chdir":
            found.append(f"--chdir {current}: what is imported later comes through the link; leave it out")
        elif word.startswith("--pythonpath=") or option == "--pythonpath":
            found.append(f"--pythonpath {current}: what is imported later comes through the link; leave it out")
    return found


def _through(text: str, current: str) -> bool:
    return re.search(rf"(^|[:=\"']){re.escape(current)}(/|$|[:\"'])", text) is not None
