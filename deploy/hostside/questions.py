"""What other programs of this host say: asked only where somebody wants to know, and nobody is prompted."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Any, Callable

from . import loader, ownership
from .layout import Layout


def openssh() -> str:
    """The version of OpenSSH's programs on this host: ``9.2p1``; '' where there are none."""
    said = _says(["ssh", "-V"])
    found = re.search(r"OpenSSH_([^\s,]+)", said)
    return found[1] if found else ""


def sudo() -> str:
    """``none``, ``passwordless``, ``passwordless for some`` (commands), ``needs password``; '' where sudo does not say.

    sudo asks nobody (``-n``), so whether somebody who needs a password is allowed anything remains unknown.
    """
    if os.getuid() == 0:
        return "passwordless"
    if not shutil.which("sudo"):
        return "none"
    said = _says(["sudo", "-n", "-l"])
    if "NOPASSWD:" in said:
        everything = re.search(r"\((root|ALL)( : \w+)?\) (\w+: )*NOPASSWD: (\w+: )*ALL\b", said)
        return "passwordless" if everything else "passwordless for some"
    if "may not run sudo" in said or "not in the sudoers" in said:
        return "none"
    if "password" in said or "may run the following" in said:
        return "needs password"
    return ""


def _says(command: list[str]) -> str:
    """What a program prints, on both streams; it gets no terminal that it could ask on."""
    try:
        answer = subprocess.run(
            command,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=10,
            start_new_session=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.decode(errors="replace")


QUESTIONS: dict[str, Callable[[Layout], Any]] = {
    "foreign": ownership.foreign,
    "libraries": lambda _: loader.libraries(),
    "openssh": lambda _: openssh(),
    "sudo": lambda _: sudo(),
}
