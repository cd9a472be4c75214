"""Run one command of the user's in a release: its directory, its venv first on PATH, its `.env` loaded.

    python3 hostside.pyz run BASE RELEASE COMMAND

This is what a deploy runs for a migration, and what a person may copy into a terminal.
"""

from __future__ import annotations

import os
import re
import sys

from .layout import Layout

_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*$")


def parse_env(text: str) -> dict[str, str]:
    """`KEY=value` lines as systemd's EnvironmentFile= reads them; nothing is expanded or executed."""
    values = {}
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith(("#", ";")):
            continue
        match = _ASSIGNMENT.match(line)
        if match:
            name, value = match.groups()
            if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
                quote, value = value[0], value[1:-1]
                if quote == '"':
                    value = re.sub(r"\\(.)", r"\1", value)
            values[name] = value
    return values


def environment(layout: Layout, identifier: str) -> dict[str, str]:
    release = layout.release(identifier)
    values = {key: value for key, value in os.environ.items() if not key.startswith(("SUDO_", "PYTHON"))}
    try:
        with open(os.path.join(release, ".env"), encoding="utf-8") as stream:
            values.update(parse_env(stream.read()))
    except FileNotFoundError:
        pass
    venv = os.path.join(release, ".venv")
    path = values.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    values.update(VIRTUAL_ENV=venv, PATH=f"{venv}/bin:{path}", DEPLOY_RELEASE=identifier, DEPLOY_BASE=layout.base)
    return values


def run(base: str, identifier: str, command: str) -> None:
    """Become ``sh -c command`` in the release. Never returns."""
    layout = Layout(base)
    os.umask(0o022)
    os.chdir(layout.release(identifier))
    sys.stdout.flush()
    os.execve("/bin/sh", ["sh", "-c", command], environment(layout, identifier))
