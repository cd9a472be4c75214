"""Hosts back to the release that served before: switched, restarted, looked at; nothing is known here of batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ..errors import DeployError, NotRolledBack, because, combine
from ..fleet import parallel
from ..host.connection import Host
from ..host.session import HostFailure
from .proving import look
from .restarting import restart
from .run import Run

Verdict = Literal["bad", "staged"]
"""What becomes of the release: `staged` where a run was interrupted, and nobody knows anything bad of it."""


def revert(run: Run, releases: Mapping[Host, str], cause: DeployError) -> str:
    """Bring all hosts back from *releases* at once; what was done, in words.

    :param cause: why.
    :raises NotRolledBack: some host could not be brought back.
    """
    done, failures = attempt(run, releases, cause.line, "bad")
    if failures:
        raise not_rolled_back(run, cause, list(failures.values()))
    return words(any(done.values()))


def words(switched: bool) -> str:
    return "the former release serves again" if switched else "the former release serves on"


def not_rolled_back(run: Run, cause: DeployError, failures: Sequence[DeployError]) -> NotRolledBack:
    """What to say where something failed and going back failed, too."""
    second = combine(failures)
    back = (because(DeployError, f"going back: {each.what}", each) for each in second.parts or (second,))
    return NotRolledBack(
        "the former release could not be brought back",
        hint=f"look at it with {run.fab('status')}, then {run.fab('deploy')} or {run.fab('rollback')}",
        parts=(*(cause.parts or (cause,)), *back),
    )


def attempt(
    run: Run, releases: Mapping[Host, str], reason: str, verdict: Verdict
) -> tuple[dict[Host, bool], dict[Host, DeployError]]:
    """Bring hosts back from *releases*; which had to be switched, and which could not be brought back.

    :param reason: is recorded with the verdict.
    """
    return parallel.attempt(list(releases), lambda host: _one(run, host, releases[host], reason, verdict))


def _one(run: Run, host: Host, release: str, reason: str, verdict: Verdict) -> bool:
    """Whether *host* had to be switched back."""
    with run.report.step("roll back", host.name) as step:
        records = host.call("records")
        judged = ("judge", {"identifier": release, "verdict": verdict, "reason": reason})
        if records["live"] != release:
            if release in records["releases"]:
                _note(run, host, release, judged)
            return False
        former = _former(run, host, release) or records["rollback"]
        if not former:
            if verdict == "bad":  # what serves is not staged
                host.batch([judged])
            raise DeployError("there is no former release to go back to", where=host.name)
        # What serves is never called staged, and what is bad is called so before anything else can happen.
        switched = ("activate", {"identifier": former})
        host.batch([judged, switched] if verdict == "bad" else [switched, judged])
        restart(run, host, former, insist=True)
        look(run, host, former)
        host.call("judge", identifier=former, verdict="good", reason="")
        step.outcome = f"back on {former}"
        return True


def _note(run: Run, host: Host, release: str, judged: tuple[str, dict[str, Any]]) -> None:
    """Record what became of a release that never served there: the former one serves on, whether that can be or not."""
    try:
        host.batch([judged])
    except HostFailure as failure:
        run.report.warn(f"it could not be recorded that {release} failed: {failure.what}", host.name)


def _former(run: Run, host: Host, release: str) -> str:
    """What served when the run began, if it may be gone back to."""
    facts = run.facts.get(host, {})
    live = facts.get("live", "")
    state = facts.get("releases", {}).get(live, {}).get("state", "")
    return live if live != release and state in ("live", "good") else ""
