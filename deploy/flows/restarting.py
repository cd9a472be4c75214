"""A service told to run the live release, and looked at: is it well, and is it that release which runs?"""

from __future__ import annotations

import contextlib
import time
from typing import Any

from ..errors import ConnectionFailed, DeployError
from ..host.connection import CommandResult, Host
from ..service import manager
from . import commands
from .run import Run

PROOF_TIMEOUT_S = 30.0
START_LIMIT_S = 11.0
"""A little more than systemd's default interval in which it counts starts."""


class NotHealthy(DeployError):
    """The release is live and is not well, or is not what runs."""


def restart_and_look(run: Run, host: Host, release: str, *, insist: bool = False) -> None:
    """Restart the service, then wait until it is healthy and proven to run *release*."""
    restart(run, host, release, insist=insist)
    look(run, host, release)


def restart(run: Run, host: Host, release: str, *, insist: bool = False) -> None:
    """Tell the service manager.

    :param insist: try twice. A release that crashes at once may use up the starts that systemd allows a unit in a
        while, and then the former one would not be started either.
    :raises NotHealthy: its command failed; with its output and what the manager says of the service.
    """
    service = run.service(host)
    if service is None:
        return
    command = manager.restart(service, host.base_path, commands.by_hand(host, release))
    with run.report.step("restart", host.name) as step:
        result = _tell_manager(run, host, release, command)
        if not result.ok and insist and (forget := manager.forget_failures(service)):
            step.progress("waiting until systemd lets it be started again")
            if not host.run(str(forget), user=forget.user or host.deploy_user).ok:
                time.sleep(START_LIMIT_S)  # sudo may allow the restart alone
            result = _tell_manager(run, host, release, command)
        if not result.ok:
            raise NotHealthy(
                f"the restart {commands.problem(result, service.timeout)}: {command.configured or command}",
                where=host.name,
                output=_why(host, service) or hidden(host, result.output),
                hint=f"to see it again there: {command}" if command.configured else "",
            )
        step.outcome = f"restarted ({command})" if len(str(command)) < 60 else "restarted"


def _tell_manager(run: Run, host: Host, release: str, command: manager.ServiceCommand) -> CommandResult:
    timeout_s = run.service(host).timeout
    if command.inside:
        return commands.execute(run, host, release, command.inside, timeout_s=timeout_s)
    return host.run(str(command), user=command.user or host.deploy_user, timeout_s=timeout_s)


def hidden(host: Host, output: str) -> str:
    """What a program of the host said, without the values of `.env`; nothing where they cannot be known."""
    if not output:
        return ""
    try:
        return str(host.call("mask", texts=[output])["texts"][0])
    except DeployError:
        return ""


def _why(host: Host, service: Any) -> str:
    return hidden(host, _state(host, service))


def _state(host: Host, service: Any) -> str:
    question = manager.inspect(service)
    if question is None:
        return ""
    with contextlib.suppress(ConnectionFailed):
        answer = host.run(str(question), user=question.user or host.deploy_user)
        if answer.output and "sudo:" not in answer.output:
            return answer.output
    # sudo may allow the restart alone; a login user sees the state without the service's last words.
    return host.run(str(question)).output


def look(run: Run, host: Host, release: str) -> None:
    """Ask for health, and look at the service's processes.

    :raises NotHealthy: not healthy in time, no process runs, or one runs another release.
    """
    service, health = run.service(host), run.health(host)
    if service is None and health is None:
        return
    with run.report.step("health", host.name) as step:
        told = manager.description(service, host.base_path) if service else None
        if query := manager.pid_query(service) if service else None:
            answer = host.run(str(query), user=query.user or host.deploy_user)
            if answer.output.isdigit():
                told = {**(told or {}), "pid": int(answer.output)}
        timeout = health.timeout if health else PROOF_TIMEOUT_S
        question = health.model_dump() if health else None
        asked: dict[str, Any] = {"identifier": release, "health": question, "timeout": timeout}
        result = host.call("verify", service=told, **asked)
        if result["verdict"] == "hidden":
            proof = _prove_as_root(host, told or {}, release, timeout, result["detail"])
            # Old processes may have been there while health was asked, so it may have been they who answered.
            result = {**host.call("verify", service=None, **asked), **proof}
        if not result["healthy"]:
            raise NotHealthy(
                f"not healthy after {health.timeout:g} s: {health.url} says {result['last']}",
                where=host.name,
                output=_why(host, service) if service else "",
            )
        if result["verdict"] in ("stale", "down"):
            raise NotHealthy(f"the new release is not what runs: {result['detail']}", where=host.name)
        well = "healthy" if health else "restarted"
        if result["verdict"] == "proven":
            step.outcome = f"{well}; {release} is what runs ({result['detail']})"
        else:
            step.outcome = well
            if service is not None:
                run.report.warn(f"which release runs cannot be known: {result['detail']}", host.name)


def _prove_as_root(host: Host, service: dict[str, Any], release: str, timeout: float, why: str) -> dict[str, Any]:
    try:
        with host.lost_means_failed():
            operation = ("prove", {"service": service, "identifier": release, "timeout": timeout})
            result: dict[str, Any] = host.session("root").batch([operation])[0]
            return result
    except ConnectionFailed:
        return {"verdict": "unknown", "detail": f"{why}, and sudo does not let us look"}
