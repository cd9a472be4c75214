"""Unit files that a release brings: rendered from its templates, verified, and compared with what systemd has.

They are installed by commands that a sudoers rule can name; what these copy is written here, below ``.deploy/units``.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from . import disk, mixing
from .failure import Failure
from .layout import Layout

SYSTEM = "/etc/systemd/system"
USERS = "~/.config/systemd/user"
"""Where the deploy user's own manager looks."""

_PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}|\{\{")
VERIFY_S = 60.0

Values = Mapping[str, Any]
"""What stands for the placeholders: text and numbers."""


def render(text: str, values: Values, name: str) -> str:
    """*text* with a value for each ``{{ placeholder }}``.

    :param name: the file's name, for messages.
    :raises Failure: there is no such value; with the file's name and the line.
    """

    def value(found: re.Match[str]) -> str:
        word = (found.group(1) or "").strip()
        if word in values:
            return str(values[word])
        line = text.count("\n", 0, found.start()) + 1
        asked = f"{{{{ {word} }}}}" if word else found.group(0)
        raise Failure(
            f"{name}:{line}: there is no value for {asked}",
            f"there are: {', '.join(sorted(values))}; deploy.service.unit_values adds more",
            "units",
        )

    return _PLACEHOLDER.sub(value, text)


def check(layout: Layout, identifier: str, files: Sequence[str], values: Values, of_user: bool) -> dict[str, list[str]]:
    """What systemd says of the release's unit files, before they are installed.

    :returns: ``problems``: lines about what it would refuse; ``warnings``: about what it would ignore, and
        what would give the unit's processes two releases at once.
    :raises Failure: one is not in the release, or cannot be rendered.
    """
    texts = _rendered(layout, identifier, files, values)
    current = layout.path("current")
    mixed = [f"{name} would mix releases: {doubt}" for name in texts for doubt in mixing.of_text(texts[name], current)]
    with tempfile.TemporaryDirectory(prefix=f"{disk.PARTIAL}units-", dir=layout.base) as directory:
        paths = []
        for name, text in texts.items():
            paths.append(os.path.join(directory, name))
            with open(paths[-1], "w", encoding="utf-8") as stream:
                stream.write(text)
        command = ["systemd-analyze", *(["--user"] if of_user else []), "--man=no", "verify", *paths]
        try:
            answer = subprocess.run(
                command,
                env={**os.environ, "LC_ALL": "C", "SYSTEMD_COLORS": "0"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=VERIFY_S,
                check=False,
            )
        except (OSError, subprocess.SubprocessError):
            return {"problems": [], "warnings": mixed}  # the host has no such program, or it hangs
    said = answer.stdout.decode(errors="replace").replace(directory + os.sep, "")
    lines = [line for line in said.splitlines() if _concerns(line, texts, layout)]
    return {"problems": lines, "warnings": mixed} if answer.returncode else {"problems": [], "warnings": lines + mixed}


def _concerns(line: str, texts: Mapping[str, str], layout: Layout) -> bool:
    """Whether *line* tells something of one of the units that is not so only because nothing is live yet."""
    about = any(line.startswith((name, name.replace("@.", "@"))) or f" {name}" in line for name in texts)
    return about and not (layout.base in line and "is not executable" in line)


def differing(layout: Layout, identifier: str, files: Sequence[str], values: Values, of_user: bool) -> list[str]:
    """The names of the units that are not installed as the release *identifier* brings them; read-only."""
    try:
        texts = _rendered(layout, identifier, files, values)
        return [name for name, text in texts.items() if _installed(name, of_user) != text]
    except (Failure, OSError):
        return [os.path.basename(name) for name in files]


def write(layout: Layout, identifier: str, files: Sequence[str], values: Values, of_user: bool) -> list[dict[str, Any]]:
    """Write the release's unit files to where they are installed from; those that are not installed so.

    :returns: of each, ``name``, ``former``: the text that is installed, None where there is none, and ``install``:
        whether it says by itself what it is wanted by.
    :raises Failure: one is not in the release, or cannot be rendered.
    """
    return put(layout, _rendered(layout, identifier, files, values), of_user)


def put(layout: Layout, texts: Mapping[str, str], of_user: bool) -> list[dict[str, Any]]:
    """The same for texts that were installed before."""
    changed = []
    for name, text in texts.items():
        former = _installed(name, of_user)
        if former != text:
            disk.make_way(layout.path(".deploy", "units"))
            disk.write_atomically(layout.path(".deploy", "units", name), text)
            install = re.search(r"^\[Install\]", text, re.MULTILINE) is not None
            changed.append({"name": name, "former": former, "install": install})
    return changed


def _rendered(layout: Layout, identifier: str, files: Sequence[str], values: Values) -> dict[str, str]:
    texts = {}
    for name in files:
        try:
            with open(disk.open_file(os.path.join(layout.release(identifier), name)), encoding="utf-8") as stream:
                texts[os.path.basename(name)] = render(stream.read(), values, name)
        except FileNotFoundError:
            raise Failure(f"release {identifier} brings no {name}", "deploy.service.unit_file", "missing") from None
        except UnicodeDecodeError:
            raise Failure(f"{name} is not text in UTF-8", kind="units") from None
    return texts


def _installed(name: str, of_user: bool) -> str | None:
    """The text of an installed unit; None where there is none.

    :raises Failure: it is masked.
    """
    path = os.path.join(os.path.expanduser(USERS) if of_user else SYSTEM, name)
    if os.path.realpath(path) == os.devnull:
        raise Failure(f"{path} is masked", f"systemctl unmask {name}", "units")
    try:
        with open(disk.open_file(path), encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except FileNotFoundError:
        return None
