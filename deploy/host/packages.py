"""The command lines that install packages of the operating system; they run as root, through Fabric."""

from __future__ import annotations

from collections.abc import Sequence

from .bootstrap import quoted

_INSTALL = {
    "apt": ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "--no-install-recommends"],
    "dnf": ["dnf", "install", "-y"],
    "pkg": ["pkg", "install", "-y"],
}


def install(manager: str, names: Sequence[str]) -> str:
    """The command that installs *names*, which the configuration has found to be names of packages.

    :param manager: ``apt``, ``dnf`` or ``pkg``.
    """
    return quoted([*_INSTALL[manager], *names])
