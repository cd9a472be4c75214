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
from .kinds import Remark, Server, Told

T = TypeVar("T")

_STATES: dict[str, Literal["", "drain", "maint"]] = {"up": "", "down": "", "drained": "drain", "maint": "maint"}
_NAME = "the balancer"


class CommandKind(Hostwise):
    """By commands of the user's."""

    def __init__(self, run: Run, settings: BalancerCommand) -> None:
        super().__init__(run, settings, _NAME, _NAME)
        self._settings = settings
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
