"""The kinds of balancers, each with the same face: see :mod:`deploy.flows.balancers.kinds`."""

from __future__ import annotations

from ...config import BalancerCommand, Haproxy, HealthFile, Nginx
from ..run import Run
from .command import CommandKind
from .haproxy import HaproxyKind
from .healthfile import HealthFileKind
from .kinds import Kind, Remark, Server, Servers, Told
from .nginx import NginxKind
from .remote import Remote

__all__ = ["Kind", "Remark", "Remote", "Server", "Servers", "Told", "configured"]


def configured(run: Run) -> Kind | None:
    """The balancer of the run's stage; None where it has none."""
    match run.settings.balancer:
        case Haproxy() as settings:
            return HaproxyKind(run, settings)
        case Nginx() as settings:
            return NginxKind(run, settings)
        case HealthFile() as settings:
            return HealthFileKind(run, settings)
        case BalancerCommand() as settings:
            return CommandKind(run, settings)
    return None
