"""Run one command of the user's in a release: its directory, its venv first on PATH, its `.env` loaded.

    python3 hostside.pyz run [--set NAME=VALUE]... BASE RELEASE COMMAND

This is what a person copies into a terminal, to see again what a deploy ran by :mod:`commands`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from . import dotenv, variables
from .failure import Failure
from .layout import Layout
from .sharedpaths import ENVIRONMENT


def command_line(arguments: list[str]) -> None:
    """What is behind ``run``. Never returns.

    :raises Failure: it does not say what to do.
    """
    told = {}
    while arguments[:1] == ["--set"]:
        name, _, value = "".join(arguments[1:2]).partition("=")
        told[name] = value
        arguments = arguments[2:]
    if len(arguments) != 3:
        raise Failure("usage: python3 hostside.pyz run [--set NAME=VALUE]... BASE RELEASE COMMAND")
    base, identifier, command = arguments
    run(base, identifier, command, told)


def run(base: str, identifier: str, command: str, told: Mapping[str, str]) -> None:
    """Become ``sh -c command`` in the release ('' for the base path). Never returns.

    :param told: variables over those of `.env`.
    """
    layout = Layout(base)
    os.umask(0o022)
    os.chdir(layout.release(identifier) if identifier else base)
    known = dotenv.read(os.path.join(".", ENVIRONMENT) if identifier else layout.path("shared", ENVIRONMENT)).values
    sys.stdout.flush()
    os.execve("/bin/sh", ["sh", "-c", command], variables.whole(layout, identifier, known, told))
