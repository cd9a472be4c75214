"""`.env`: lines of ``NAME=value``; nothing is expanded, nothing is executed."""

from __future__ import annotations

import re
from typing import NamedTuple

from . import disk

_NOTHING = re.compile(r"[ \t]*(?:[#;].*)?$", re.MULTILINE)
_NAME = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*")
_QUOTED = re.compile(r"""(?:'([^']*)'|"((?:[^"\\]|\\.)*)")[ \t]*(?:#.*)?$""", re.MULTILINE)
_COMMENT = re.compile(r"(?:^|\s)#.*")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\n": ""}


class Parsed(NamedTuple):
    """*values* by name, the last of a name counts; *wrong*, the numbers of the lines that are nothing of ours."""

    values: dict[str, str]
    wrong: list[int]


def parse(text: str) -> Parsed:
    """Read the whole of an environment file.

    * ``#`` or ``;`` begins a line that is a comment, and so does ``#`` behind a space and a value; ``export`` may stand
      before a name;
    * a value without quotes ends with its line; spaces around it are not part of it;
    * in single quotes all is meant as it stands; in double quotes ``\\n``, ``\\r``, ``\\t`` are what they are in C, and
      a backslash before itself, a double quote, a dollar or a backquote is dropped; both may go over several lines.
    """
    # No process can be given a NUL.
    text = text.replace("\r\n", "\n").replace("\0", "").lstrip("\ufeff")
    values: dict[str, str] = {}
    wrong: list[int] = []
    at = 0
    while at < len(text):
        end = _line_end(text, at)
        if _NOTHING.match(text, at):
            pass
        elif not (name := _NAME.match(text, at)):
            wrong.append(_number(text, at))
        elif quoted := _QUOTED.match(text, name.end()):
            values[name[1]] = quoted[1] if quoted[1] is not None else _unescaped(quoted[2])
            end = quoted.end()
        else:
            values[name[1]] = _COMMENT.sub("", text[name.end() : end], count=1).strip()
            if text[name.end() : name.end() + 1] in ("'", '"'):
                wrong.append(_number(text, at))
        at = end + 1
    return Parsed(values, wrong)


def read(path: str) -> Parsed:
    """The environment file *path*; nothing where there is none.

    :raises OSError: it is there and cannot be read.
    """
    try:
        with open(disk.open_file(path), encoding="utf-8", errors="surrogateescape", newline="") as stream:
            return parse(stream.read())
    except FileNotFoundError:
        return Parsed({}, [])


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _number(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _unescaped(text: str) -> str:
    return re.sub(r"\\([\\\"$`nrt\n])", lambda found: _ESCAPES.get(found[1], found[1]), text)
