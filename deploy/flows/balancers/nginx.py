"""nginx, by the file that names an upstream's servers: on the balancers' own hosts, or on the primary host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...config import HostSettings, Nginx
from ...host.connection import Host
from ..run import Run
from .kinds import Server, Servers, Told, one_after_another
from .remote import Tellers


class NginxKind:
    """See :class:`deploy.flows.balancers.kinds.Kind`."""

    def __init__(self, run: Run, settings: Nginx) -> None:
        self._run = run
        self._settings = settings
        self._tellers = Tellers(run, settings.hosts, settings.user, settings.python)
        self._place: dict[str, Any] = {
            "file": settings.upstream_file, "upstream": settings.upstream, "pidfile": settings.pidfile,
            "program": settings.program,
        }  # fmt: skip

    @property
    def called(self) -> str:
        return f"nginx's upstream {self._settings.upstream or self._settings.upstream_file}"

    @property
    def orders(self) -> tuple[str, str]:
        return "", ""

    @property
    def least(self) -> int:
        return self._settings.min_available

    def look(self, hosts: Sequence[Host] = ()) -> dict[str, Servers]:
        found = self._tellers.ask_all("nginx_look", **self._place)
        return {name: {each: Server.of(told) for each, told in its.items()} for name, its in found.items()}

    def find(self, host: Host, servers: Servers) -> list[str]:
        return addresses_of(self._run.host_settings[host], servers)

    def drain(self, told: Told) -> list[tuple[str, str]]:
        timeout = self._settings.drain_timeout
        left = self._tellers.tell("nginx_drain", told, **self._place, timeout=timeout)
        return [
            (balancer, f"after {timeout:g} s, {count} connections to {name} go on")
            for balancer, its in left.items()
            for name, count in its.items()
        ]

    def undrain(self, told: Told, *, patient: bool) -> list[tuple[str, str]]:
        self._tellers.tell("nginx_ready", told, **self._place)
        return []

    def swap(self, back: Told, out: Told) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        return one_after_another(self, back, out)

    def close(self, told: Told) -> None:
        """Take servers out; with none left, nginx answers by itself (502)."""
        self._tellers.tell("nginx_close", told, **self._place)

    def open(self, former: Mapping[str, Mapping[str, str]]) -> None:
        """Give back to each server what it was at; who was drained before is marked so still."""
        self._tellers.tell("nginx_open", {balancer: list(its) for balancer, its in former.items()}, **self._place)


def addresses_of(settings: HostSettings, servers: Servers) -> list[str]:
    """Which of *servers* (``address[:port]``) are on a host: all of its address, or the one that is named whole."""
    plain = settings.name if settings.name in servers else _without_port(settings.name)
    wanted = [settings.balancer_name] if settings.balancer_name else [plain, plain.partition(".")[0]]
    for name in wanted:
        if name in servers:
            return [name]
        if found := [server for server in servers if _without_port(server) == name]:
            return found
    return []


def _without_port(address: str) -> str:
    """An IPv6 address keeps its brackets."""
    if address.startswith("["):
        return address.partition("]")[0] + "]"
    return address.partition(":")[0]
