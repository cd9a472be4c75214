"""What hosts found when they looked at a new release in its venv: told for all of them at once, before it may serve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import DeployError, StagingFailed, as_kind, by_host, combine
from ..host.connection import Host
from .run import Run

LISTED = 100
"""How many problems of a release are told."""

Findings = Mapping[Host, Mapping[str, Any]]
"""What :func:`deploy.hostside.checking.check` says, by host."""


def show(run: Run, host: Host, found: Mapping[str, Any]) -> None:
    """One line for one host; none where all was seen before."""
    with run.report.step("check", host.name) as step:
        counts = [("module", "open"), ("import", "resolve")]
        looked = [_counted(number, what, verb) for what, verb in counts if (number := found[f"{what}s"])]
        step.outcome = f"check: {len(found['problems'])} in the way" if found["problems"] else ", ".join(looked)


def _counted(number: int, what: str, verb: str) -> str:
    return f"1 {what} {verb}s" if number == 1 else f"{number} {what}s {verb}"


def judge(run: Run, found: Findings, failures: Mapping[Host, DeployError]) -> None:
    """End here where a release would not work, or could not be staged at all.

    :param failures: of the hosts that have no findings.
    :raises StagingFailed: with every module and every import on every host.
    """
    warnings = [(host.name, warning) for host, its in found.items() for warning in its["warnings"]]
    if warnings:
        run.report.warn(f"optional and not there, or not looked at:\n{by_host(warnings)}")
    problems = [(host.name, problem) for host, its in found.items() for problem in its["problems"]]
    errors = [as_kind(StagingFailed, error) for error in failures.values()]
    if problems:
        lines = by_host(problems).splitlines()
        more = f"\n  and {len(lines) - LISTED} more" if len(lines) > LISTED else ""
        errors.append(
            StagingFailed(
                "the release would not work in its venv; nothing that serves was touched:\n"
                + "\n".join(lines[:LISTED])
                + more,
                hint="add what is lacking to the code or to the lock file, "
                "or name in deploy.check.ignore what the application does without",
            )
        )
    if errors:
        raise combine(errors)
