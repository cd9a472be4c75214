"""The `deploy:` section of `fabric.yaml`: its keys, its stages, its validation, and its schema for editors."""

from __future__ import annotations

from pathlib import Path

from .balancers import Balancer, BalancerCommand, Haproxy, HealthFile, Nginx
from .building import Build
from .bundles import Audit, BuildContainer, Builder, BuildHost, Bundle, Ignore, Index, LocalBuilder, TargetSettings
from .checks import Check, SystemPackages
from .code import Shared, Source
from .hooking import Hook, Hooks
from .loading import load
from .maintenance import Maintenance
from .migrating import Downgrade, Migrate
from .models import HostSettings, Lock, Settings
from .rolling import Canary, Rolling
from .schema import json_schema
from .services import Command, Health, Service, Signal, Supervisor, Systemd, Touch, is_template
from .stages import SECTION_KEYS, choose_stage, resolve

__all__ = [
    "SECTION_KEYS",
    "Audit",
    "Balancer",
    "BalancerCommand",
    "Build",
    "BuildContainer",
    "BuildHost",
    "Builder",
    "Bundle",
    "Canary",
    "Check",
    "Command",
    "Downgrade",
    "Haproxy",
    "Health",
    "HealthFile",
    "Hook",
    "Hooks",
    "HostSettings",
    "Ignore",
    "Index",
    "LocalBuilder",
    "Lock",
    "Maintenance",
    "Migrate",
    "Nginx",
    "Rolling",
    "Service",
    "Settings",
    "Shared",
    "Signal",
    "Source",
    "Supervisor",
    "SystemPackages",
    "Systemd",
    "TargetSettings",
    "Touch",
    "choose_stage",
    "is_template",
    "json_schema",
    "load",
    "relative_to",
    "resolve",
]  # fmt: skip


def relative_to(directory: Path, path: str) -> Path:
    """A path of the configuration: relative ones start at the fabfile's directory, ``~`` is the user's home."""
    return directory / Path(path).expanduser()
