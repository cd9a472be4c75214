"""Any other balancer, by the user's own commands: each is run for one host, which its environment names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeVar

from ...config import BalancerCommand
from ...errors import CheckFailed
from ...host.connection import Host
from .. import parallel
from .hostwise import Hostwise, in_parallel
from .kinds import Remark, Server, Stage, Told

T = TypeVar("T")

_STATES: dict[str, Literal["", "drain", "maint"]] = {"up": "", "down": "", "drained": "drain", "maint": "maint"}
_NAME = "the balancer"

Execute = Callable[[Host, str, str], str]
"""Runs a command, which has this key in the configuration, for a host: what it said; CheckFailed where it failed."""


class CommandKind(Hostwise):
    """By commands of the user's."""

    def __init__(self, stage: Stage, settings: BalancerCommand, execute: Execute) -> None:
        super().__init__(stage, settings, _NAME, _NAME)
        self._settings = settings
        self._execute = execute
        self.orders = settings.drain, settings.undrain

    def drain(self, told: Told) -> list[Remark]:
        self._each(self._of(told), lambda host: self._execute(host, self._settings.drain, "drain"))
        return []

    def undrain(self, told: Told, *, patient: bool) -> list[Remark]:
        self._each(self._of(told), lambda host: self._execute(host, self._settings.undrain, "undrain"))
        return []

    def _ask_all(self, hosts: Sequence[Host]) -> Mapping[Host, Server]:
        if self._settings.where == "hosts":
            return in_parallel(hosts, self._status)
        return self._each(hosts, self._status)

    def _status(self, host: Host) -> Server:
        if not self._settings.status:
            drained = _NAME in self._stage.facts[host]["drained"]
            return Server(not drained, "drain" if drained else "", "not asked (no deploy.balancer.status)")
        said = self._execute(host, self._settings.status, "status").strip()
        word = said.splitlines()[-1].strip() if said else ""
        if word not in _STATES:
            raise CheckFailed(
                f"deploy.balancer.status says {word!r}; it must print one of {', '.join(_STATES)}", where=host.name
            )
        return Server(word == "up", _STATES[word], word)

    def _each(self, hosts: Sequence[Host], work: Callable[[Host], T]) -> dict[Host, T]:
        if self._settings.where == "hosts":
            return parallel.each(hosts, work)
        # One after another: two that change the balancer's configuration at once may be in each other's way.
        return {host: work(host) for host in hosts}
