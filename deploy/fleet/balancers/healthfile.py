"""A file on each host that balancers' health checks ask for; the balancers themselves are not known here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...config import HealthFile
from ...errors import CheckFailed, as_kind
from ...host.connection import Host
from ...host.session import HostFailure
from .. import parallel
from .hostwise import Hostwise, in_parallel
from .kinds import Remark, Server, Stage, Told


class HealthFileKind(Hostwise):
    """By a file on each host, which is renamed; its name stands for the balancers'."""

    def __init__(self, stage: Stage, settings: HealthFile) -> None:
        super().__init__(stage, settings, "balance", settings.file)
        self._settings = settings

    def drain(self, told: Told) -> list[Remark]:
        settings = self._settings
        asked = {"notice": settings.notice, "port": settings.port or 0, "timeout": settings.drain_timeout}
        answers = parallel.each(self._of(told), lambda host: self._ask(host, "drain", **asked))
        return [
            (host.name, f"after {settings.drain_timeout:g} s, {answer['left']} connections go on")
            for host, answer in answers.items()
            if answer["left"]
        ]

    def undrain(self, told: Told, *, patient: bool) -> list[Remark]:
        notice = self._settings.notice if patient else 0.0
        parallel.each(self._of(told), lambda host: self._ask(host, "ready", notice=notice))
        return []

    def _ask_all(self, hosts: Sequence[Host]) -> Mapping[Host, Server]:
        return in_parallel(hosts, self._status)

    def _status(self, host: Host) -> Server:
        return Server.of(self._ask(host, "look", new=not self._stage.facts[host]["live"]))

    def _ask(self, host: Host, operation: str, **asked: Any) -> dict[str, Any]:
        request = (f"healthfile_{operation}", {"file": self._settings.file, **asked})
        try:
            with host.lost_means_failed():
                answer: dict[str, Any] = host.session(self._settings.user).batch([request])[0]
                return answer
        except HostFailure as failure:
            raise as_kind(CheckFailed, failure) from None
