"""Run one command of the user's in a release: its directory, its venv first on PATH, its `.env` loaded.

    python3 hostside.pyz run [--timeout SECONDS] [--set NAME=VALUE]... BASE RELEASE COMMAND

This is what a deploy runs for a migration and for hooks, and what a person may copy into a terminal. Without a release
(``''``) the command runs in the base path, and there is neither venv nor `.env`.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from typing import Any, Optional

from .failure import Failure
from .layout import Layout

GRACE_S = 5.0
"""How long what is told to end may take, until it is killed."""

LATE = 124
"""The exit status of a command that took too long, as of timeout(1)."""

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
    values = {key: value for key, value in os.environ.items() if not key.startswith(("SUDO_", "PYTHON"))}
    values.update(DEPLOY_RELEASE=identifier, DEPLOY_BASE=layout.base)
    if not identifier:
        return values
    release = layout.release(identifier)
    try:
        with open(os.path.join(release, ".env"), encoding="utf-8") as stream:
            values.update(parse_env(stream.read()))
    except FileNotFoundError:
        pass
    venv = os.path.join(release, ".venv")
    path = values.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    values.update(VIRTUAL_ENV=venv, PATH=f"{venv}/bin:{path}", DEPLOY_RELEASE=identifier, DEPLOY_BASE=layout.base)
    return values


def command_line(arguments: list[str]) -> None:
    """What is behind ``run``. Never returns.

    :raises Failure: it does not say what to do.
    """
    timeout: Optional[float] = None  # noqa: UP045 - Python 3.9
    told = {}
    while arguments and arguments[0] in ("--timeout", "--set"):
        option, value, arguments = arguments[0], (arguments[1:2] or [""])[0], arguments[2:]
        if option == "--timeout":
            try:
                timeout = float(value)
            except ValueError:
                raise Failure(f"--timeout wants seconds, not {value!r}") from None
        else:
            name, _, told_value = value.partition("=")
            told[name] = told_value
    if len(arguments) != 3:
        raise Failure("usage: python3 hostside.pyz run [--timeout SECONDS] [--set NAME=VALUE]... BASE RELEASE COMMAND")
    base, identifier, command = arguments
    run(base, identifier, command, timeout, told)


def run(base: str, identifier: str, command: str, timeout: Optional[float], told: dict[str, str]) -> None:  # noqa: UP045
    """Become ``sh -c command`` in the release; or, with a time limit, be its parent. Never returns.

    :param told: variables besides those of the release.
    """
    layout = Layout(base)
    os.umask(0o022)
    os.chdir(layout.release(identifier) if identifier else base)
    sys.stdout.flush()
    values = {**environment(layout, identifier), **told}
    if timeout is None:
        os.execve("/bin/sh", ["sh", "-c", command], values)
    sys.exit(_limited(command, values, timeout))


def _limited(command: str, values: dict[str, str], timeout: float) -> int:
    # In a session of its own, so that it can be ended with all that it started.
    child = subprocess.Popen(["/bin/sh", "-c", command], env=values, stdin=subprocess.DEVNULL, start_new_session=True)

    def pass_on(number: int, frame: Any) -> None:
        _signal(child.pid, number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, pass_on)
    try:
        status = child.wait(timeout)
        return status if status >= 0 else 128 - status  # as a shell tells of a signal
    except subprocess.TimeoutExpired:
        _signal(child.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_S)
        _signal(child.pid, signal.SIGKILL)
        print(f"deploy: ended, for it took longer than {timeout:g} s", file=sys.stderr)  # noqa: T201
        return LATE


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
