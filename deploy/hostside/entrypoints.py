"""The commands that a wheel brings (PyPA specification "Entry points")."""

from __future__ import annotations

import re
from typing import NamedTuple

GROUPS = ("console_scripts", "gui_scripts")

_TARGET = re.compile(r"\s*([\w.]+)\s*:\s*([\w.]+)\s*(\[.*\])?\s*")
_SCRIPT = """\
import sys
from {module} import {name}
if __name__ == "__main__":
    sys.argv[0] = sys.argv[0].removesuffix(".exe")
    sys.exit({call}())
"""


class EntryPoint(NamedTuple):
    """A command and the function that it calls: ``module:attribute``."""

    command: str
    module: str
    attribute: str

    def script(self) -> str:
        """The program below the first line."""
        return _SCRIPT.format(module=self.module, name=self.attribute.split(".")[0], call=self.attribute)


def parse(text: str) -> list[EntryPoint]:
    """The console and graphical commands of an ``entry_points.txt``.

    :raises ValueError: one cannot be a command, or calls nothing.
    """
    import configparser  # takes long, and a wheel's file is read once

    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names of commands keep their case
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise ValueError(str(error).splitlines()[0]) from None
    pairs = [pair for group in GROUPS if parser.has_section(group) for pair in parser.items(group)]
    return [_entry_point(command, target) for command, target in pairs]


def is_command(name: str) -> bool:
    """Whether a file in `bin/` can have that name."""
    return name not in ("", ".", "..") and "/" not in name and name.isprintable() and len(name.encode()) <= 255


def _entry_point(command: str, target: str) -> EntryPoint:
    match = _TARGET.fullmatch(target or "")
    if not match or not is_command(command):
        raise ValueError(f"{command} = {target}")
    return EntryPoint(command, match[1], match[2])
