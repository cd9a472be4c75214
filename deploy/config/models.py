"""The `deploy:` section of `fabric.yaml` as a whole: what a stage and its hosts are.

These models are the only place that knows the keys; the configuration reference and the JSON schema are made from them.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from .balancers import SERVER, Balancer, Haproxy, Nginx
from .basics import NAME, Model, Seconds, absolute, address, without_port
from .building import Build
from .bundles import Audit, Builder, Bundle, Index, LocalBuilder, TargetSettings
from .checks import Check, SystemPackages
from .code import Shared, Source
from .environment import Environment
from .hooking import Hooks
from .maintenance import Maintenance
from .migrating import Migrate
from .rolling import Rollback, Rolling
from .services import INSTANCE, Health, Service, Systemd


class Lock(Model):
    """The deploy lock."""

    expiry: Seconds = Field(
        60,
        description="Seconds after which the lock of a dead run may be taken over; a run that lives extends it.",
        ge=3,
    )


class HostSettings(Model):
    """One server, and what differs on it."""

    host: str = Field(description="`[user@]host[:port]`, or a name from ssh_config.")
    primary: bool = Field(False, description="Migrations run here; default: the first host of the stage.")
    base_path: str = Field("", description="Instead of the stage's.")
    deploy_user: str = Field("", description="Instead of the stage's.")
    python: str = Field("", description="Instead of the stage's.")
    service: Service | None = Field(None, description="Instead of the stage's.")
    health: Health | None = Field(None, description="Instead of the stage's.")
    balancer_name: str = Field(
        "",
        description="What the balancer calls it; default: its name without the user and the port, or the part of that "
        "before the first dot.",
        pattern=SERVER,
    )

    @field_validator("host")
    @classmethod
    def _address(cls, value: str) -> str:
        return address(value)

    _base = field_validator("base_path")(lambda path: absolute(path) if path else path)

    @property
    def name(self) -> str:
        """The address without the user: what the host is called in reports and by ``--limit``."""
        return self.host.rpartition("@")[2]

    @property
    def plain_name(self) -> str:
        """The address without the user and the port."""
        return without_port(self.name)

    def called(self, name: str) -> bool:
        """Whether *name* means this host: with or without its user and its port."""
        return name in (self.host, self.name, self.plain_name)


class Settings(Model):
    """The `deploy:` section, as one stage sees it."""

    app: str = Field(description="The application's name.")
    base_path: str = Field(description="The directory on the hosts that holds everything.")
    hosts: list[HostSettings] = Field(description="The stage's hosts.", min_length=1)
    deploy_user: str = Field("", description="Owner of everything under `base_path`; default: the login user.")
    python: str = Field(
        "python3", description="The hosts' interpreter, 3.9 or newer: a name on PATH or an absolute path."
    )
    requirements: str = Field(
        "requirements.txt",
        description="The lock file, relative to the fabfile: `requirements.txt` with hashes, `pylock.toml`, `uv.lock` "
        "or `poetry.lock`.",
    )
    extras: list[Annotated[str, Field(pattern=NAME.pattern)]] = Field(
        [], description="Extras of the project that are installed, where the lock file knows them."
    )
    groups: list[Annotated[str, Field(pattern=NAME.pattern)]] = Field(
        [], description="Dependency groups that are installed as well, where the lock file knows them."
    )
    hashes: Literal["require", "warn"] = Field(
        "require",
        description="A requirement without a hash is refused, or (`warn`) fetched, warned of and recorded.",
    )
    package: bool = Field(
        False, description="The app is a package itself: it is built and installed, with its entry points."
    )
    index: Index = Field(Index(), description="Where wheels and source distributions come from.")
    target: Literal["auto", "local"] | TargetSettings = Field(
        "auto",
        description="What the wheels must fit: asked of the hosts (`auto`), this machine (`local`), or named: by files "
        "of `fab targets`, or by a Python and a platform.",
    )
    builders: list[Builder] = Field(
        [Builder(native=LocalBuilder()), Builder(zig=LocalBuilder())],
        description="What builds wheels from source distributions, tried in this order.",
        min_length=1,
    )
    build_constraints: str = Field(
        "", description="A file that pins what builds need (setuptools, Cython, ...); relative to the fabfile."
    )
    accept_wheels: list[str] = Field(
        [], description="Projects whose wheels are taken although their inspection finds something; it is warned about."
    )
    check: Check = Field(Check(), description="What is looked at before a release may serve.")
    system_packages: SystemPackages = Field(
        SystemPackages(), description="Packages that have to be on the hosts; `fab setup --packages` installs them."
    )
    bundle: Bundle = Field(Bundle(), description="Signatures of bundles.")
    audit: Audit = Field(Audit(), description="Known vulnerabilities.")
    source: Source = Field(Source(), description="Where the code comes from.")
    build: list[Build] = Field([], description="Commands that run here, in order, before any host is touched.")
    shared: Shared = Field(Shared(), description="What outlives a release.")
    env: Environment = Field(
        {},
        description="Variables (names to text) for the commands that run on the hosts: `migrate`, hooks, a service's "
        "`command`. They go before those of `.env`.",
    )
    migrate: Migrate | None = Field(None, description="Migration of the database.")
    service: Service | None = Field(None, description="What has to be restarted, and how.")
    health: Health | None = Field(None, description="How health is asked.")
    rolling: Rolling = Field(Rolling(), description="In which batches hosts are switched.")
    balancer: Balancer | None = Field(None, description="What hosts are taken out of before their turn.")
    maintenance: Maintenance | None = Field(None, description="Who shows a page for `fab maintenance on`.")
    rollback: Rollback = Field(
        "all",
        description="Where a batch fails: it and those before it go back (`all`), it alone does (`batch`), or all is "
        "left as it is (`off`).",
    )
    hooks: Hooks = Field(Hooks(), description="Commands of your own at points of a deploy.")
    keep_releases: int = Field(5, description="Good releases that are kept.", ge=1)
    min_free_mb: int = Field(200, description="MiB that must be free on a host before a deploy starts.", ge=0)
    lock: Lock = Field(Lock(), description="The deploy lock.")
    parallel: int = Field(
        30, description="Hosts that are worked on, and connections that are open, at once, at most.", ge=1, le=500
    )
    max_unreachable: int | str | None = Field(
        None,
        description="Hosts that a task may leave out because they are not reached: a number, or a part such as `10%`; "
        "more stop it before anything is touched. Default: none, or with `--skip-unreachable` any but the primary.",
    )
    connect_timeout: Seconds = Field(15, description="Seconds until a host counts as not reachable.", gt=0)
    connect_attempts: int = Field(
        3,
        description="How often a host is tried that refuses, resets or does not greet; a wrong key is not tried again.",
        ge=1,
        le=10,
    )
    silence_timeout: Seconds = Field(
        30,
        description="Seconds without a sign of life until a host counts as lost, whatever it was doing. A command that "
        "says nothing for longer is none: its host answers for it.",
        ge=15,
    )
    known_hosts: str = Field("", description="A known_hosts file read beside the user's own, relative to the fabfile.")
    identity: str = Field("", description="A private key file offered beside the user's own, relative to the fabfile.")

    @field_validator("app")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError("must be letters, digits, '.', '_' and '-'")
        return value

    @field_validator("rollback", mode="before")
    @classmethod
    def _off(cls, value: Any) -> Any:
        return "off" if value is False else value  # what YAML makes of the word

    @field_validator("deploy_user")
    @classmethod
    def _user(cls, value: str) -> str:
        if value and not re.fullmatch(r"[a-z_][a-z0-9_-]*\$?", value):
            raise ValueError("must be the name of a user")
        return value

    @field_validator("max_unreachable")
    @classmethod
    def _part(cls, value: int | str | None) -> int | str | None:
        if isinstance(value, str) and not re.fullmatch(r"(100|[0-9]{1,2})%", value):
            raise ValueError('must be a number of hosts, or a part such as "10%"')
        if isinstance(value, int) and value < 0:
            raise ValueError("must not be negative")
        return value

    @field_validator("python")
    @classmethod
    def _interpreter(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_./+-]+", value) or value.startswith("-"):
            raise ValueError("must be the name or the path of an interpreter, without arguments")
        return value

    _base = field_validator("base_path")(absolute)

    @field_validator("hosts", mode="before")
    @classmethod
    def _short_hosts(cls, value: Any) -> Any:
        if isinstance(value, list):
            return [{"host": item} if isinstance(item, str) else item for item in value]
        return value

    @field_validator("build", mode="before")
    @classmethod
    def _short_builds(cls, value: Any) -> Any:
        if isinstance(value, list):
            return [{"command": item} if isinstance(item, str) else item for item in value]
        return value

    @model_validator(mode="after")
    def _distinct_hosts(self) -> Settings:
        seen = set()
        for host in self.hosts:
            key = (host.host, host.base_path)
            if key in seen:
                raise ValueError(f"hosts: {host.host} is listed twice")
            seen.add(key)
        if sum(host.primary for host in self.hosts) > 1:
            raise ValueError("hosts: only one may be primary")
        return self

    @model_validator(mode="after")
    def _health_of_instances(self) -> Settings:
        for host in self.hosts:
            service, health = host.service or self.service, host.health or self.health
            instances = service.instance_names if isinstance(service, Systemd) else []
            if not health or not health.by_instance:
                continue
            if not instances:
                raise ValueError(f"health.url: {INSTANCE} is for a template of systemd, with service.instances")
            for name in instances:
                try:
                    Health.model_validate(health.of(name).model_dump())
                except ValueError:
                    raise ValueError(f"health.url: {health.of(name).url} is no URL") from None
        return self

    @model_validator(mode="after")
    def _page(self) -> Settings:
        shown = self.maintenance is not None and self.maintenance.by == "balancer"
        if shown and not isinstance(self.balancer, Haproxy | Nginx):
            raise ValueError("maintenance.by: balancer needs a balancer of kind haproxy or nginx")
        return self

    @model_validator(mode="after")
    def _canaries(self) -> Settings:
        canary = self.rolling.canary
        unknown = [name for name in canary.hosts if not any(host.called(name) for host in self.hosts)] if canary else []
        if unknown:
            known = ", ".join(host.name for host in self.hosts)
            raise ValueError(
                f"rolling.canary.hosts: {', '.join(unknown)} is not in this stage; its hosts are: {known} "
                "(set it in the stage that it belongs to)"
            )
        return self
