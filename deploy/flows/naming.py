"""Hosts in words."""

from __future__ import annotations

from collections.abc import Iterable

from ..host.connection import Host
from ..report import tally


def names(hosts: Iterable[Host]) -> str:
    """Their names, as far as they can be read: of hundreds the first few, and how many more."""
    return tally.some([host.name for host in hosts])
