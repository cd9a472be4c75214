"""The kinds of balancers, each with the same face: see :mod:`deploy.flows.balancers.kinds`."""

from __future__ import annotations

from ..run import Run
from .haproxy import HaproxyKind
from .kinds import Kind, Server, Servers, Told

__all__ = ["Kind", "Server", "Servers", "Told", "configured"]


def configured(run: Run) -> Kind | None:
    """The balancer of the run's stage; None where it has none."""
    if run.settings.balancer is None:
        return None
    return HaproxyKind(run, run.settings.balancer)
