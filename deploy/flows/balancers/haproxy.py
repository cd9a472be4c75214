"""haproxy, by its runtime socket: on the balancers' own hosts, or over TCP from the primary host."""

from __future__ import annotations

from collections.abc import Collection

from ...config import Haproxy, HostSettings
from ...host.connection import Host
from ..run import Run
from .kinds import Server, Servers, Told
from .remote import Tellers


class HaproxyKind:
    """See :class:`deploy.flows.balancers.kinds.Kind`."""

    def __init__(self, run: Run, settings: Haproxy) -> None:
        self._run = run
        self._settings = settings
        self._tellers = Tellers(run, settings.hosts, settings.user, settings.python)
        self._place = {"address": settings.socket, "backend": settings.backend}

    @property
    def called(self) -> str:
        return f"backend {self._settings.backend}"

    @property
    def least(self) -> int:
        return self._settings.min_available

    def look(self) -> dict[str, Servers]:
        found = self._tellers.ask_all("haproxy_look", **self._place)
        return {name: {each: Server.of(told) for each, told in its.items()} for name, its in found.items()}

    def find(self, host: Host, servers: Servers) -> list[str]:
        return server_names(self._run.host_settings[host], servers)

    def drain(self, told: Told) -> list[tuple[str, str]]:
        timeout = self._settings.drain_timeout
        left = self._tellers.tell("haproxy_drain", told, **self._place, timeout=timeout)
        return [
            (balancer, f"after {timeout:g} s, {count} sessions of {name} go on")
            for balancer, its in left.items()
            for name, count in its.items()
        ]

    def undrain(self, told: Told, *, patient: bool) -> list[tuple[str, str]]:
        timeout = self._settings.ready_timeout if patient else 0.0
        down = self._tellers.tell("haproxy_ready", told, **self._place, timeout=timeout)
        return [
            (balancer, f"after {timeout:g} s, haproxy's checks do not find {name} well: {status}")
            for balancer, its in down.items()
            for name, status in its.items()
        ]


def server_names(settings: HostSettings, servers: Collection[str]) -> list[str]:
    """Which of *servers* a host is: the first of its names that one of them has."""
    plain = settings.name if settings.name in servers else settings.name.partition(":")[0]
    wanted = [settings.balancer_name] if settings.balancer_name else [plain, plain.partition(".")[0]]
    return next(([name] for name in wanted if name in servers), [])
