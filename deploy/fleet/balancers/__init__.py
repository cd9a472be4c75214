"""The kinds of balancers, each with the same face: see :mod:`deploy.fleet.balancers.kinds`."""

from __future__ import annotations

from .command import CommandKind
from .haproxy import HaproxyKind
from .healthfile import HealthFileKind
from .kinds import Kind, Remark, Server, Servers, Stage, Told
from .nginx import NginxKind
from .remote import Remote

__all__ = [
    "CommandKind",
    "HaproxyKind",
    "HealthFileKind",
    "Kind",
    "NginxKind",
    "Remark",
    "Remote",
    "Server",
    "Servers",
    "Stage",
    "Told",
]
