"""For balancers that are asked of one host at a time: what each is at, asked no more often than it has to be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from ...errors import ConnectionFailed, combine
from ...fleet import parallel
from ...host.connection import Host
from ..run import Run
from .kinds import Server


class Hostwise:
    """Servers by the names of their hosts; of the stage's hosts that are not of the run, nothing bad is thought.

    :param ask: asks some hosts.
    """

    def __init__(self, run: Run, ask: Callable[[Sequence[Host]], Mapping[Host, Server]]) -> None:
        self._run = run
        self._ask = ask
        self._seen: dict[Host, Server] = {}

    def look(self, hosts: Sequence[Host]) -> dict[str, Server]:
        """All servers; *hosts*, and those of which nothing is known, are asked now."""
        run = self._run
        self._seen.update(self._ask([host for host in run.hosts if host in hosts or host not in self._seen]))
        others = [host for host in run.host_settings if host not in self._seen and host not in run.unreachable]
        return {
            **{host.name: self._seen[host] for host in run.hosts},
            **{host.name: Server(True, "", "not asked") for host in others},
        }

    def told(self, names: Iterable[str]) -> list[Host]:
        """The hosts of these names, which are to be told of a change: what was known of them is no longer so."""
        hosts = [host for host in self._run.hosts if host.name in names]
        for host in hosts:
            self._seen.pop(host, None)
        return hosts


def in_parallel(hosts: Sequence[Host], ask: Callable[[Host], Server]) -> dict[Host, Server]:
    """What all hosts say. One that is not reached keeps the others from nothing, and is in nobody's balance.

    :raises DeployError: one is reached, and does not say it.
    """
    answers, failures = parallel.attempt(hosts, ask)
    if bad := [error for error in failures.values() if not isinstance(error, ConnectionFailed)]:
        raise combine(bad)
    return {**answers, **{host: Server(False, "", "not reached") for host in failures}}
