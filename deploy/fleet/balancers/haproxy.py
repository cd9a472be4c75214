"""haproxy, by its runtime socket: on the balancers' own hosts, or over TCP from the primary host."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from ...config import Haproxy, HostSettings
from ...host.connection import Host
from .kinds import Remark, Servers, Stage, Told
from .remote import Remote


class HaproxyKind(Remote):
    """By its runtime socket."""

    looking = "haproxy_look"

    def __init__(self, stage: Stage, settings: Haproxy, tellers: Sequence[Host]) -> None:
        place = {"address": settings.socket, "backend": settings.backend}
        super().__init__(stage, settings, tellers, f"backend {settings.backend}", place)
        self._settings = settings

    def find(self, host: Host, servers: Servers) -> list[str]:
        return server_names(self._stage.host_settings[host], servers)

    def drain(self, told: Told) -> list[Remark]:
        timeout = self._settings.drain_timeout
        left = self._tell("haproxy_drain", told, timeout=timeout)
        return [each for balancer, its in left.items() for each in self._left(balancer, its)]

    def undrain(self, told: Told, *, patient: bool) -> list[Remark]:
        timeout = self._settings.ready_timeout if patient else 0.0
        down = self._tell("haproxy_ready", told, timeout=timeout)
        return [each for balancer, its in down.items() for each in self._down(balancer, its, timeout)]

    def swap(self, back: Told, out: Told) -> tuple[list[Remark], list[Remark]]:
        ready, drain = self._settings.ready_timeout, self._settings.drain_timeout
        answers = self._tell("haproxy_swap", out, back, ready_timeout=ready, timeout=drain)
        down = [each for balancer, its in answers.items() for each in self._down(balancer, its["down"], ready)]
        return down, [each for balancer, its in answers.items() for each in self._left(balancer, its["left"])]

    def _left(self, balancer: str, sessions: Mapping[str, int]) -> Iterator[Remark]:
        for name, count in sessions.items():
            yield balancer, f"after {self._settings.drain_timeout:g} s, {count} sessions of {name} go on"

    @staticmethod
    def _down(balancer: str, statuses: Mapping[str, str], timeout: float) -> Iterator[Remark]:
        for name, status in statuses.items():
            yield balancer, f"after {timeout:g} s, haproxy's checks do not find {name} well: {status}"

    def close(self, told: Told) -> None:
        states = {balancer: dict.fromkeys(servers, "maint") for balancer, servers in told.items()}
        self._tell("haproxy_put", states)

    def open(self, former: Mapping[str, Mapping[str, str]]) -> None:
        states = {
            balancer: {name: "drain" if out == "drain" else "ready" for name, out in its.items()}
            for balancer, its in former.items()
        }
        self._tell("haproxy_put", states)


def server_names(settings: HostSettings, servers: Collection[str]) -> list[str]:
    """Which of *servers* a host is: the first of its names that one of them has."""
    plain = settings.name if settings.name in servers else settings.plain_name
    wanted = [settings.balancer_name] if settings.balancer_name else [plain, plain.partition(".")[0]]
    return next(([name] for name in wanted if name in servers), [])
