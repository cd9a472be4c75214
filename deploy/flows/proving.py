"""A service looked at: is it well, and is it the live release that runs?"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..config import Health
from ..errors import ConnectionFailed, DeployError
from ..host.connection import Host
from ..service import manager
from ..service.manager import Part
from .run import Run

PROOF_TIMEOUT_S = 30.0


class NotHealthy(DeployError):
    """The release is live and is not well, or is not what runs."""


@dataclass(frozen=True, slots=True)
class _Question:
    """What is looked at together.

    :ivar part: None where nothing but health is configured.
    :ivar health: what is asked, where something is.
    """

    part: Part | None
    health: Health | None

    def told(self, host: Host) -> dict[str, Any] | None:
        """The service as the host program is told of it, with the number of its process where only root is told."""
        if self.part is None:
            return None
        described = manager.description(self.part.service, host.base_path)
        if query := manager.pid_query(self.part.service):
            answer = host.run(str(query), user=query.user or host.deploy_user)
            if answer.output.isdigit():
                described["pid"] = int(answer.output)
        return described

    def asked(self, release: str, timeout: float | None = None) -> dict[str, Any]:
        if timeout is None:
            timeout = self.health.timeout if self.health else PROOF_TIMEOUT_S
        health = self.health.model_dump() if self.health else None
        return {"identifier": release, "health": health, "timeout": timeout}


def look(run: Run, host: Host, release: str) -> None:
    """Ask for health, and look at the processes of every part of the service.

    :raises NotHealthy: not healthy in time, no process runs, or one runs another release.
    """
    service, health = run.service(host), run.health(host)
    parts: list[Part | None] = [*manager.parts(service)] if service else [None]
    questions = [_Question(part, part.health(health) if part else None) for part in parts]
    if health and not health.by_instance:
        # With the last one, when all are known to be there.
        questions[-1] = _Question(parts[-1], health)
    if service or health:
        _look(run, host, release, questions)


def look_at(run: Run, host: Host, release: str, part: Part) -> None:
    """The same for one part alone; a health that is not its own is not asked.

    :raises NotHealthy: as above.
    """
    _look(run, host, release, [_Question(part, part.health(run.health(host)))])


def runs(host: Host, release: str, part: Part, within: float = 0) -> bool:
    """Whether *part* is proven to run *release*.

    :param within: seconds that other processes of it may take to end.
    """
    question = _Question(part, None)
    result = host.call("verify", service=question.told(host), **question.asked(release, within))
    if result["verdict"] == "hidden":
        result = _prove_as_root(host, question, release, result["detail"], within)
    return bool(result["verdict"] == "proven")


def look_at_successor(run: Run, host: Host, release: str, part: Part, pidfile: str, former: int) -> None:
    """Ask a process for its health that was started beside the one that still serves, and look at it.

    :param pidfile: with its number.
    :param former: the number of the other one.
    :raises NotHealthy: it is not well, does not run *release*, or cannot be seen.
    """
    question = _Question(part, run.health(host))
    asked = {**question.asked(release), "pidfile": pidfile, "former": former}
    result = host.call("verify_successor", **asked)
    if result["verdict"] == "hidden":
        try:
            with host.lost_means_failed():
                result = host.session("root").batch([("verify_successor", asked)])[0]
        except ConnectionFailed:
            detail = f"{result['detail']}, and sudo does not let us look"
            raise NotHealthy(f"the new main process cannot be looked at: {detail}", where=host.name) from None
    _judge(host, question, result)


def _look(run: Run, host: Host, release: str, questions: Sequence[_Question]) -> None:
    with run.report.step("health", host.name) as step:
        asked = [("verify", {"service": each.told(host), **each.asked(release)}) for each in questions]
        proven = []
        for question, result in zip(questions, host.batch(asked), strict=True):
            if result["verdict"] == "hidden":
                proof = _prove_as_root(host, question, release, result["detail"])
                # Old processes may have been there while health was asked, so it may have been they who answered.
                result = {**host.call("verify", service=None, **question.asked(release)), **proof}
            _judge(host, question, result)
            if result["verdict"] == "proven":
                proven.append(_of(question, result["detail"]))
            elif question.part is not None:
                detail = _of(question, result["detail"])
                run.report.warn(f"which release runs cannot be known: {detail}", host.name)
        well = "healthy" if any(question.health for question in questions) else "restarted"
        step.outcome = f"{well}; {release} is what runs" if proven else well
        step.detail = "; ".join(proven)


def _judge(host: Host, question: _Question, result: dict[str, Any]) -> None:
    health, part = question.health, question.part
    if health and not result["healthy"]:
        raise NotHealthy(
            _of(question, f"not healthy after {health.timeout:g} s: {health.url} says {result['last']}"),
            where=host.name,
            output=why(host, part.service) if part else "",
        )
    if result["verdict"] in ("stale", "down"):
        detail = _of(question, result["detail"])
        raise NotHealthy(f"the new release is not what runs: {detail}", where=host.name)


def _of(question: _Question, said: str) -> str:
    return f"{question.part.name}: {said}" if question.part and question.part.name else said


def _prove_as_root(
    host: Host, question: _Question, release: str, hidden: str, timeout: float | None = None
) -> dict[str, Any]:
    asked = question.asked(release, timeout)
    try:
        with host.lost_means_failed():
            told = {"service": question.told(host), "identifier": release, "timeout": asked["timeout"]}
            result: dict[str, Any] = host.session("root").batch([("prove", told)])[0]
            return result
    except ConnectionFailed:
        return {"verdict": "unknown", "detail": f"{hidden}, and sudo does not let us look"}


def why(host: Host, service: Any) -> str:
    """What the manager says of a service that is not well, without the values of `.env`."""
    return masked(host, _state(host, service))


def masked(host: Host, output: str) -> str:
    """What a program of the host said, without the values of `.env`; nothing where they cannot be known."""
    if not output:
        return ""
    try:
        return str(host.call("mask", texts=[output])["texts"][0])
    except DeployError:
        return ""


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
