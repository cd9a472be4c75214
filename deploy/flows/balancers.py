"""The balancer of a run's stage: who speaks with it, and how the user's own commands are run for it."""

from __future__ import annotations

from functools import partial

from ..config import BalancerCommand, Haproxy, HealthFile, Nginx
from ..errors import CheckFailed
from ..fleet.balancers import CommandKind, HaproxyKind, HealthFileKind, Kind, NginxKind
from ..host.connection import Host
from . import commands, here
from .run import Run


def configured(run: Run) -> Kind | None:
    """The balancer of the run's stage; None where it has none."""
    match run.settings.balancer:
        case Haproxy() as settings:
            return HaproxyKind(run, settings, _tellers(run, settings))
        case Nginx() as settings:
            return NginxKind(run, settings, _tellers(run, settings))
        case HealthFile() as settings:
            return HealthFileKind(run, settings)
        case BalancerCommand() as settings:
            return CommandKind(run, settings, partial(_execute, run, settings))
    return None


def _tellers(run: Run, settings: Haproxy | Nginx) -> list[Host]:
    """The balancers' own hosts, or the primary one."""
    for address in settings.hosts:
        if address not in run.balancers:
            run.balancers[address] = run.primary.beside(address, settings.python)
            run.closing.callback(run.balancers[address].close)
    return [run.balancers[address] for address in settings.hosts] or [run.primary]


def _execute(run: Run, settings: BalancerCommand, host: Host, command: str, key: str) -> str:
    """What one of the user's commands says of *host*, where they are to be run.

    :param key: which of the configuration's it is.
    :raises CheckFailed: it failed.
    """
    its = run.host_settings[host]
    told = {"DEPLOY_HOST": host.name, "DEPLOY_BALANCER_NAME": its.balancer_name or its.plain_name}
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
