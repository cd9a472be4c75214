"""haproxy, by its runtime socket: on the balancers' own hosts, or over TCP from the primary host."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

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
        self._place: dict[str, Any] = {"address": settings.socket, "backend": settings.backend}

    @property
    def called(self) -> str:
        return f"backend {self._settings.backend}"

    @property
    def orders(self) -> tuple[str, str]:
        return "", ""

    @property
    def least(self) -> int:
        return self._settings.min_available

    def look(self, hosts: Sequence[Host] = ()) -> dict[str, Servers]:
        found = self._tellers.ask_all("haproxy_look", **self._place)
        return {name: {each: Server.of(told) for each, told in its.items()} for name, its in found.items()}

    def find(self, host: Host, servers: Servers) -> list[str]:
        return server_names(self._run.host_settings[host], servers)

    def drain(self, told: Told) -> list[tuple[str, str]]:
        timeout = self._settings.drain_timeout
        left = self._tellers.tell("haproxy_drain", told, timeout=timeout, **self._place)
        return [each for balancer, its in left.items() for each in self._left(balancer, its)]

    def undrain(self, told: Told, *, patient: bool) -> list[tuple[str, str]]:
        timeout = self._settings.ready_timeout if patient else 0.0
        down = self._tellers.tell("haproxy_ready", told, **self._place, timeout=timeout)
        return [each for balancer, its in down.items() for each in self._down(balancer, its, timeout)]

    def swap(self, back: Told, out: Told) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        ready, drain = self._settings.ready_timeout, self._settings.drain_timeout
        answers = self._tellers.tell("haproxy_swap", out, back, **self._place, ready_timeout=ready, timeout=drain)
        down = [each for balancer, its in answers.items() for each in self._down(balancer, its["down"], ready)]
        return down, [each for balancer, its in answers.items() for each in self._left(balancer, its["left"])]

    def _left(self, balancer: str, sessions: Mapping[str, int]) -> Iterator[tuple[str, str]]:
        for name, count in sessions.items():
            yield balancer, f"after {self._settings.drain_timeout:g} s, {count} sessions of {name} go on"

    @staticmethod
    def _down(balancer: str, statuses: Mapping[str, str], timeout: float) -> Iterator[tuple[str, str]]:
        for name, status in statuses.items():
            yield balancer, f"after {timeout:g} s, haproxy's checks do not find {name} well: {status}"

    def close(self, told: Told) -> None:
        """Put servers in maintenance; with none left, haproxy answers by itself (503)."""
        states = {balancer: dict.fromkeys(servers, "maint") for balancer, servers in told.items()}
        self._tellers.tell("haproxy_put", states, **self._place)

    def open(self, former: Mapping[str, Mapping[str, str]]) -> None:
        """Give back to each server what it was at: `drain`, or in balance."""
        states = {
            balancer: {name: "drain" if out == "drain" else "ready" for name, out in its.items()}
            for balancer, its in former.items()
        }
        self._tellers.tell("haproxy_put", states, **self._place)


def server_names(settings: HostSettings, servers: Collection[str]) -> list[str]:
    """Which of *servers* a host is: the first of its names that one of them has."""
    plain = settings.name if settings.name in servers else settings.name.partition(":")[0]
    wanted = [settings.balancer_name] if settings.balancer_name else [plain, plain.partition(".")[0]]
    return next(([name] for name in wanted if name in servers), [])
