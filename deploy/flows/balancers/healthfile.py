"""A file on each host that balancers' health checks ask for; the balancers themselves are not known here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...config import HealthFile
from ...errors import CheckFailed, as_kind
from ...fleet import parallel
from ...host.connection import Host
from ...host.session import HostFailure
from ..run import Run
from .hostwise import Hostwise, in_parallel
from .kinds import Server, Servers, Told, one_after_another


class HealthFileKind:
    """See :class:`deploy.flows.balancers.kinds.Kind`; the balancer's name is the file's."""

    def __init__(self, run: Run, settings: HealthFile) -> None:
        self._run = run
        self._settings = settings
        self._servers = Hostwise(run, lambda hosts: in_parallel(hosts, self._status))

    @property
    def called(self) -> str:
        return "balance"

    @property
    def orders(self) -> tuple[str, str]:
        return "", ""

    @property
    def least(self) -> int:
        return self._settings.min_available

    def look(self, hosts: Sequence[Host]) -> dict[str, Servers]:
        return {self._settings.file: self._servers.look(hosts)}

    def find(self, host: Host, servers: Servers) -> list[str]:
        return [host.name]

    def drain(self, told: Told) -> list[tuple[str, str]]:
        settings = self._settings
        asked = {"notice": settings.notice, "port": settings.port or 0, "timeout": settings.drain_timeout}
        answers = parallel.each(
            self._servers.told(told.get(self._settings.file, ())), lambda host: self._ask(host, "drain", **asked)
        )
        return [
            (host.name, f"after {settings.drain_timeout:g} s, {answer['left']} connections go on")
            for host, answer in answers.items()
            if answer["left"]
        ]

    def undrain(self, told: Told, *, patient: bool) -> list[tuple[str, str]]:
        notice = self._settings.notice if patient else 0.0
        parallel.each(
            self._servers.told(told.get(self._settings.file, ())), lambda host: self._ask(host, "ready", notice=notice)
        )
        return []

    def swap(self, back: Told, out: Told) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        return one_after_another(self, back, out)

    def _status(self, host: Host) -> Server:
        return Server.of(self._ask(host, "look", new=not self._run.facts[host]["live"]))

    def _ask(self, host: Host, operation: str, **asked: Any) -> dict[str, Any]:
        request = (f"healthfile_{operation}", {"file": self._settings.file, **asked})
        try:
            with host.lost_means_failed():
                answer: dict[str, Any] = host.session(self._settings.user).batch([request])[0]
                return answer
        except HostFailure as failure:
            raise as_kind(CheckFailed, failure) from None
