"""A service told to run the live release: one part after another, each looked at before the next."""

from __future__ import annotations

import time

from ..host.connection import CommandResult, Host
from ..service import manager
from ..service.manager import Part
from . import commands, proving, succeeding, units
from .proving import NotHealthy
from .run import Run

ENDING_S = 5.0
START_LIMIT_S = 11.0
"""A little more than systemd's default interval in which it counts starts."""


def restart_and_look(run: Run, host: Host, release: str, *, insist: bool = False) -> None:
    """Restart the service, then wait until it is healthy and proven to run *release*."""
    restart(run, host, release, insist=insist)
    proving.look(run, host, release)


def restart(run: Run, host: Host, release: str, *, insist: bool = False) -> None:
    """Tell the service manager; of several units, each one is proven to run *release* before the next is told.

    :param insist: try twice. A release that crashes at once may use up the starts that systemd allows a unit in a
        while, and then the former one would not be started either. Of several units, those that run *release* are left
        alone: they never were restarted. So is a process whose successor was not well.
    :raises NotHealthy: its command failed, with its output and what the manager says of the service; or a unit is not
        well, and those behind it were left as they are.
    """
    service = run.service(host)
    if service is None:
        return
    units.bring(run, host, release, back=insist)
    parts = manager.parts(service)
    for number, part in enumerate(parts, 1):
        handed_over = manager.hands_over(part.service)
        # A successor that was not well may take a moment to end.
        within = ENDING_S if handed_over else 0
        if insist and (part.name or handed_over) and proving.runs(host, release, part, within):
            run.report.say(f"{part.name or 'the main process'} runs {release}: left alone", host.name)
        elif handed_over:
            succeeding.hand_over(run, host, release, part)
        else:
            _restart_one(run, host, release, part, insist=insist)
        if number < len(parts):
            proving.look_at(run, host, release, part)


def _restart_one(run: Run, host: Host, release: str, part: Part, *, insist: bool) -> None:
    service = part.service
    command = manager.restart(service, host.base_path, commands.by_hand(host, release))
    with run.report.step("restart", host.name) as step:
        _open_sockets(run, host, part)
        result = _tell_manager(run, host, release, command)
        if not result.ok and insist and (forget := manager.forget_failures(service)):
            step.progress("waiting until systemd lets it be started again")
            if not host.run(str(forget), user=forget.user or host.deploy_user).ok:
                time.sleep(START_LIMIT_S)  # sudo may allow the restart alone
            _open_sockets(run, host, part)
            result = _tell_manager(run, host, release, command)
        if not result.ok:
            raise NotHealthy(
                f"the restart {commands.problem(result, service.timeout)}: {command.configured or command}",
                where=host.name,
                output=proving.why(host, service) or proving.masked(host, result.output),
                hint=f"to see it again there: {command}" if command.configured else "",
            )
        step.outcome = f"restarted ({command})" if len(str(command)) < 60 else "restarted"


def _open_sockets(run: Run, host: Host, part: Part) -> None:
    """Have systemd listen again where a release that crashes whenever it is started made it give up a socket."""
    if not run.facts[host]["units_with_sockets"]:
        return
    states = host.call("sockets", service=manager.description(part.service, host.base_path))
    for name in (name for name, state in states.items() if state == "failed"):
        lines = manager.open_again(part.service, name)
        if all(host.run(str(each), user=each.user or host.deploy_user).ok for each in lines):
            run.report.say(f"{name} had failed, and listens again", host.name)
        else:
            by_hand = "; ".join(map(str, lines))
            run.report.warn(f"{name} has failed, so nobody listens, and it cannot be started: {by_hand}", host.name)


def _tell_manager(run: Run, host: Host, release: str, command: manager.ServiceCommand) -> CommandResult:
    timeout_s = run.service(host).timeout
    if command.inside:
        return commands.execute(run, host, release, command.inside, timeout_s=timeout_s)
    return host.run(str(command), user=command.user or host.deploy_user, timeout_s=timeout_s)
