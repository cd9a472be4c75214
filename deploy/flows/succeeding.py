"""A main process that starts its own successor on a signal: the former one is ended only when the new one is well."""

from __future__ import annotations

from ..config import Signal
from ..host.connection import CommandResult, Host
from ..service import manager
from ..service.manager import Part, ServiceCommand
from . import commands, proving
from .proving import NotHealthy
from .run import Run


def hand_over(run: Run, host: Host, release: str, part: Part) -> None:
    """Have the main process start its successor, look at that one, and end the former.

    :raises NotHealthy: the successor is not well; it was ended, and the former one serves on.
    """
    service = part.service
    assert isinstance(service, Signal)
    with run.report.step("restart", host.name) as step:
        former = _number(host, service)
        # Of a run that was cut off, one may be there that would keep another from being started.
        _tell(host, service, manager.dismiss(service, host.base_path, former))
        _insist(host, service, manager.restart(service, host.base_path))
        step.progress(f"looking at what {former} started")
        try:
            pidfile = manager.successors_pidfile(service, host.base_path)
            proving.look_at_successor(run, host, release, part, pidfile, former)
        except BaseException:
            _tell(host, service, manager.dismiss(service, host.base_path, former))
            raise
        _insist(host, service, manager.retire(service, former))
        step.outcome = f"process {former} has a successor that is well, and was told to end"


def _number(host: Host, service: Signal) -> int:
    found = _tell(host, service, manager.number(service, host.base_path))
    if not found.ok or not found.output.strip().isdigit():
        raise NotHealthy(
            f"{manager.below(host.base_path, service.pidfile)} names no process that runs", where=host.name
        )
    return int(found.output)


def _insist(host: Host, service: Signal, command: ServiceCommand) -> None:
    result = _tell(host, service, command)
    if not result.ok:
        raise NotHealthy(
            f"the restart {commands.problem(result, service.timeout)}: {command}",
            where=host.name,
            output=proving.masked(host, result.output),
        )


def _tell(host: Host, service: Signal, command: ServiceCommand) -> CommandResult:
    return host.run(str(command), user=command.user or host.deploy_user, timeout_s=service.timeout)
