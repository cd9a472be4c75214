"""Hosts that cannot be reached: whether the rest goes on without them, and who is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import DeployError, NotReached, because, combine

if TYPE_CHECKING:
    from ..host.connection import Host
    from .run import Run


def leave_out(run: Run, failures: Mapping[Host, DeployError]) -> None:
    """Go on without the hosts of *failures*, where the task, the command line and the configuration allow it.

    :raises ConnectionFailed: they do not, the primary is one of them, they are too many, or all.
    :raises DeployError: a host failed that was reached.
    """
    if _may(run, failures) and (primary := failures.get(run.primary)):
        lies = "the deploy lock of the stage lies there, so nothing is done without it"
        raise because(NotReached, f"the primary host is not reached ({primary.what}); {lies}", primary)
    pass_over(run, failures)


def pass_over(run: Run, failures: Mapping[Host, DeployError]) -> None:
    """As :func:`leave_out`, for what only looks and takes no deploy lock: without the primary, too.

    :raises ConnectionFailed: they may not be left out, or are too many, or all.
    :raises DeployError: a host failed that was reached.
    """
    if not failures:
        return
    cause = combine(list(failures.values()))
    if not _may(run, failures):
        raise cause
    known = {*run.hosts, *run.unreachable, *failures}
    out = {**run.unreachable, **failures}
    limit = _limit(run, len(known))
    if len(out) > limit:
        what = f"{len(out)} of {len(known)} hosts are not reached and deploy.max_unreachable allows {limit}"
        raise NotReached(what, parts=cause.parts or (cause,))
    if len(out) == len(known):
        raise cause
    run.unreachable.update(failures)
    run.hosts = [host for host in run.hosts if host not in failures]
    for host, error in failures.items():
        run.report.warn(f"left out: {error.what}", host.name)


def _may(run: Run, failures: Mapping[Host, DeployError]) -> bool:
    skip = run.options.skip_unreachable
    allowed = skip is not None and (skip or run.settings.max_unreachable is not None)
    return allowed and all(isinstance(error, NotReached) for error in failures.values())


def _limit(run: Run, hosts: int) -> int:
    most = run.settings.max_unreachable
    if most is None:
        return hosts
    return most if isinstance(most, int) else hosts * int(most.rstrip("%")) // 100


def tell(run: Run) -> None:
    """The last word about who was left out."""
    if run.unreachable:
        names = ", ".join(host.name for host in run.unreachable)
        what = f"left out, because not reached: {names}; the next deploy that reaches them brings them up"
        run.report.warn(what)
