"""Keys about the environment of commands."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _variables(values: dict[str, str]) -> dict[str, str]:
    for name, value in values.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a variable: letters, digits and _, and no digit first")
        if "\0" in value:
            raise ValueError(f"the value of {name} holds a NUL, which no process can be given")
    return values


Environment = Annotated[dict[str, str], AfterValidator(_variables)]
"""Variables of a process, by name."""
