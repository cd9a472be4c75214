"""What became of each host of a run that failed: what it was, what it is, and why."""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import shorten
from typing import Any

from ..errors import DeployError
from ..fleet import parallel
from ..host.connection import Host
from ..report import tally
from .run import Run

REASON_AT_MOST = 200
"""Characters; all of it is in the error below."""


class Ledger:
    """Kept while a run goes on, and shown where it fails."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._why: dict[Host, str] = {}

    def note(self, hosts: Iterable[Host], why: str) -> None:
        for host in hosts:
            self._why[host] = shorten(why.partition("\n")[0], REASON_AT_MOST, placeholder=" ...")

    def note_error(self, hosts: Iterable[Host], means: str, error: DeployError) -> None:
        """What *error* means for each host, and the part of it that is the host's own, where it has one."""
        own = {name: part for part in error.parts or (error,) for name in part.where.split(", ")}
        for host in hosts:
            self.note([host], f"{means}: {own.get(host.name, error).what}")

    def show(self) -> None:
        """A line for each host; of many, for those that fared alike. What a host is, is asked and not assumed."""
        run = self._run
        if len(run.hosts) < 2:
            return
        found, _ = parallel.attempt(run.hosts, _ask)
        alike: dict[tuple[str, ...], list[str]] = {}
        for host in run.hosts:
            was = str(run.facts[host]["live"]) or "nothing"
            now = found.get(host, "not reached") or "nothing"
            own = "" if len(run.hosts) >= tally.MANY else host.name
            alike.setdefault((was, now, self._why.get(host, "not touched"), own), []).append(host.name)
        rows = [[tally.who(names), was, now, why] for (was, now, why, _), names in alike.items()]
        run.report.table(["host", "was", "is", "why"], rows)


def _ask(host: Host) -> str:
    records: dict[str, Any] = host.call("records")
    return str(records["live"])
