"""nginx, by the file that names an upstream's servers: on the balancers' own hosts, or on the primary host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...config import HostSettings, Nginx
from ...config.basics import without_port
from ...host.connection import Host
from .kinds import Remark, Servers, Stage, Told
from .remote import Remote


class NginxKind(Remote):
    """By the file that names an upstream's servers."""

    looking = "nginx_look"

    def __init__(self, stage: Stage, settings: Nginx, tellers: Sequence[Host]) -> None:
        place = {
            "file": settings.upstream_file, "upstream": settings.upstream, "pidfile": settings.pidfile,
            "program": settings.program,
        }  # fmt: skip
        called = f"nginx's upstream {settings.upstream or settings.upstream_file}"
        super().__init__(stage, settings, tellers, called, place)
        self._settings = settings

    def find(self, host: Host, servers: Servers) -> list[str]:
        return addresses_of(self._stage.host_settings[host], servers)

    def drain(self, told: Told) -> list[Remark]:
        timeout = self._settings.drain_timeout
        left = self._tell("nginx_drain", told, timeout=timeout)
        return [
            (balancer, f"after {timeout:g} s, {count} connections to {name} go on")
            for balancer, its in left.items()
            for name, count in its.items()
        ]

    def undrain(self, told: Told, *, patient: bool) -> list[Remark]:
        self._tell("nginx_ready", told)
        return []

    def close(self, told: Told) -> None:
        self._tell("nginx_close", told)

    def open(self, former: Mapping[str, Mapping[str, str]]) -> None:
        # Who was drained before is marked so still.
        self._tell("nginx_open", {balancer: list(its) for balancer, its in former.items()})


def addresses_of(settings: HostSettings, servers: Servers) -> list[str]:
    """Which of *servers* (``address[:port]``) are on a host: all of its address, or the one that is named whole."""
    plain = settings.name if settings.name in servers else settings.plain_name
    wanted = [settings.balancer_name] if settings.balancer_name else [plain, plain.partition(".")[0]]
    for name in wanted:
        if name in servers:
            return [name]
        if found := [server for server in servers if without_port(server) == name]:
            return found
    return []
