"""For balancers that are asked of one host at a time: what each is at, asked no more often than it has to be."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence

from ...config import BalancerCommand, HealthFile
from ...errors import ConnectionFailed, combine
from ...host.connection import Host
from .. import parallel
from .kinds import Kind, Server, Servers, Stage, Told


class Hostwise(Kind):
    """One balancer, whose servers have the names of their hosts.

    Of the stage's hosts that are not of the run, nothing bad is thought.

    :param name: what the balancer is known by.
    """

    def __init__(self, stage: Stage, settings: HealthFile | BalancerCommand, called: str, name: str) -> None:
        super().__init__(stage, called, settings.min_available)
        self._name = name
        self._seen: dict[Host, Server] = {}

    def look(self, hosts: Sequence[Host] = ()) -> dict[str, Servers]:
        """All servers; *hosts*, and those of which nothing is known, are asked now."""
        stage = self._stage
        self._seen.update(self._ask_all([host for host in stage.hosts if host in hosts or host not in self._seen]))
        others = [host for host in stage.host_settings if host not in self._seen and host not in stage.unreachable]
        return {
            self._name: {
                **{host.name: self._seen[host] for host in stage.hosts},
                **{host.name: Server(True, "", "not asked") for host in others},
            }
        }

    def find(self, host: Host, servers: Servers) -> list[str]:
        return [host.name]

    @abstractmethod
    def _ask_all(self, hosts: Sequence[Host]) -> Mapping[Host, Server]:
        """What *hosts* are at."""

    def _of(self, told: Told) -> list[Host]:
        """The hosts that are to be told of a change: what was known of them is no longer so."""
        names = told.get(self._name, ())
        hosts = [host for host in self._stage.hosts if host.name in names]
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
