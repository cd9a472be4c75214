"""Any other balancer, by the user's own commands: each is run for one host, which its environment names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeVar

from ...config import BalancerCommand
from ...errors import CheckFailed
from ...fleet import parallel
from ...host.connection import Host
from .. import commands, here
from ..run import Run
from .hostwise import Hostwise, in_parallel
from .kinds import Server, Servers, Told, one_after_another

T = TypeVar("T")

_STATES: dict[str, Literal["", "drain", "maint"]] = {"up": "", "down": "", "drained": "drain", "maint": "maint"}
_NAME = "the balancer"


class CommandKind:
    """See :class:`deploy.flows.balancers.kinds.Kind`."""

    def __init__(self, run: Run, settings: BalancerCommand) -> None:
        self._run = run
        self._settings = settings
        self._servers = Hostwise(run, self._ask)

    @property
    def called(self) -> str:
        return _NAME

    @property
    def orders(self) -> tuple[str, str]:
        return self._settings.drain, self._settings.undrain

    @property
    def least(self) -> int:
        return self._settings.min_available

    def look(self, hosts: Sequence[Host]) -> dict[str, Servers]:
        return {_NAME: self._servers.look(hosts)}

    def find(self, host: Host, servers: Servers) -> list[str]:
        return [host.name]

    def drain(self, told: Told) -> list[tuple[str, str]]:
        self._each(
            self._servers.told(told.get(_NAME, ())), lambda host: self._execute(host, self._settings.drain, "drain")
        )
        return []

    def undrain(self, told: Told, *, patient: bool) -> list[tuple[str, str]]:
        self._each(
            self._servers.told(told.get(_NAME, ())), lambda host: self._execute(host, self._settings.undrain, "undrain")
        )
        return []

    def swap(self, back: Told, out: Told) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        return one_after_another(self, back, out)

    def _ask(self, hosts: Sequence[Host]) -> Mapping[Host, Server]:
        if self._settings.where == "hosts":
            return in_parallel(hosts, self._status)
        return self._each(hosts, self._status)

    def _status(self, host: Host) -> Server:
        if not self._settings.status:
            drained = _NAME in self._run.facts[host]["drained"]
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

    def _execute(self, host: Host, command: str, key: str) -> str:
        """What it says.

        :raises CheckFailed: it failed.
        """
        run, settings = self._run, self._settings
        its = run.host_settings[host]
        told = {"DEPLOY_HOST": host.name, "DEPLOY_BALANCER_NAME": its.balancer_name or its.name.partition(":")[0]}
        output: list[str] = []
        if settings.where == "local":
            variables = {**commands.environment(run, host, ""), **told}
            ended = here.run(command, run.directory, variables, settings.timeout, output.append)
            problem, said, hint = ended.problem, ended.output, ""
        else:
            teller = run.primary if settings.where == "primary" else host
            result = commands.execute(
                run, teller, "", command, more=told, timeout_s=settings.timeout, progress=output.append
            )
            problem, said = commands.problem(result, settings.timeout), result.output
            hint = commands.again(run, teller, "", command, told)
        if problem:
            raise CheckFailed(f"deploy.balancer.{key} {problem}: {command}", where=host.name, output=said, hint=hint)
        return "\n".join(output)
