"""What the parts of the configuration are made of: their base, and the rules that several of them share."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_HOST = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?P<host>\[[0-9A-Fa-f:.%a-z]+\]|[^@\s:\[\]]+)(?::(?P<port>\d{1,5}))?")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Model(BaseModel):
    """A part of the configuration: unknown keys are refused, values are not changed after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# More than that no clock of a system call can count.
Seconds = Annotated[float, Field(le=365 * 86400)]
"""A time that somebody waits, a year at most."""


def relative(path: str) -> str:
    plain = PurePosixPath(path)
    if path.startswith(("/", "-")) or ".." in plain.parts or not plain.parts or "\0" in path:
        raise ValueError("must be a path inside the release, without '..'")
    return str(plain)


def absolute(path: str) -> str:
    if not path.startswith("/") or ".." in path.split("/") or path.rstrip("/") == "":
        raise ValueError("must be an absolute path below /, without '..'")
    # A ':' parts what is on PATH; the others mean something in the scripts that a venv brings.
    if not path.isprintable() or any(letter in path for letter in ':"$`\\'):
        raise ValueError('must be without control characters and without : " $ ` \\')
    return path.rstrip("/")


def on_host(path: str) -> str:
    """An absolute path, or one below the base path."""
    if path.startswith("/"):
        return absolute(path)
    try:
        return relative(path)
    except ValueError:
        raise ValueError("must be a path below the base path, without '..', or an absolute one") from None


def without_port(value: str) -> str:
    """*value*, ``host[:port]``, without the port; an IPv6 address keeps its brackets."""
    if value.startswith("["):
        return value.partition("]")[0] + "]"
    return value.partition(":")[0]


def address(value: str) -> str:
    if value.startswith("-") or not _HOST.fullmatch(value):
        raise ValueError("must look like [user@]host[:port]; an IPv6 address goes in brackets")
    return value
