"""Keys about the balancer that hosts are taken out of while they are switched."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from .basics import Model, Seconds, absolute, address, on_host

SERVER = r"^([A-Za-z0-9_.:\[\]-]*)$"
"""haproxy's own rule for names (https://docs.haproxy.org, "Proxies"), and addresses of nginx's servers."""
_USER = r"^([a-z_][a-z0-9_-]*\$?)?$"


class _Balancer(Model):
    min_available: int = Field(
        1, description="As many servers must be up besides those of a batch, or it is not begun.", ge=0
    )


class _WithHosts(_Balancer):
    """A balancer that is told where it runs."""

    hosts: list[str] = Field(
        [],
        description="The balancers, `[user@]host[:port]`, each logged in to and told there; default: the stage's "
        "primary host tells it.",
    )
    python: str = Field(
        "python3", description="The interpreter on `hosts`, 3.9 or newer.", pattern=r"^[A-Za-z0-9_./][A-Za-z0-9_./+-]*$"
    )
    drain_timeout: float = Field(
        30,
        description="Seconds that what a host has at hand may take; then it is switched all the same.",
        ge=0,
        le=86400,
    )

    @field_validator("hosts")
    @classmethod
    def _addresses(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError("one is listed twice")
        return [address(each) for each in value]


class Haproxy(_WithHosts):
    """haproxy, by its runtime socket; it needs `level admin`."""

    kind: Literal["haproxy"]
    socket: str = Field(
        "/run/haproxy/admin.sock", description="The socket: a path, or `address:port` as those hosts reach it."
    )
    user: str = Field(
        "",
        description="Who uses the socket, such as `root`, by sudo; default: the login user of `hosts`, the deploy user "
        "of the primary host.",
        pattern=_USER,
    )
    backend: str = Field(description="The backend that the hosts are servers of.", pattern=r"^[A-Za-z0-9_.:-]+$")
    ready_timeout: float = Field(
        30, description="Seconds until haproxy's own checks must find a host well that is put back.", gt=0, le=3600
    )

    @field_validator("socket")
    @classmethod
    def _place(cls, value: str) -> str:
        if value.startswith("/"):
            return absolute(value)
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})", value)
        if not match or not 0 < int(match.group(2)) < 65536:
            raise ValueError("must be an absolute path, or address:port; an IPv6 address goes in brackets")
        return value


class Nginx(_WithHosts):
    """nginx, by the file that names the servers of an upstream, one a line; it is written anew and nginx reloaded."""

    kind: Literal["nginx"]
    upstream_file: str = Field(description="The file, such as `/etc/nginx/conf.d/guestbook.conf`.")
    upstream: str = Field(
        "",
        description="Which upstream of the file; default: all servers of the file.",
        pattern=r"^([A-Za-z0-9_.-]+)?$",
    )
    user: str = Field("root", description="Who may write the file and reload nginx, by sudo.", pattern=_USER)
    program: str = Field("/usr/sbin/nginx", description="nginx itself, which tests each change first (`nginx -t`).")
    pidfile: str = Field("/run/nginx.pid", description="The file with the number of nginx's main process.")

    _paths = field_validator("upstream_file", "program", "pidfile")(absolute)


class HealthFile(_Balancer):
    """A file on each host that the balancers' health checks ask for, whatever balancers these are."""

    kind: Literal["file"]
    file: str = Field(
        description="The file, absolute or below the base path, such as `shared/up`. The host is out while it is gone: "
        "it is renamed, with `.drained` at its end."
    )
    user: str = Field("", description="Who may rename it, by sudo; default: the deploy user.", pattern=_USER)
    notice: float = Field(
        description="Seconds after which all balancers have noticed: the time between two of their checks, times the "
        "checks that decide.",
        ge=0,
        le=3600,
    )
    port: int | None = Field(
        None,
        description="The port of the host that the balancers connect to: what is connected then is waited for.",
        gt=0,
        lt=65536,
    )
    drain_timeout: Seconds = Field(
        30, description="Seconds that these connections may take; then the host is switched all the same.", ge=0
    )

    _place = field_validator("file")(on_host)


class BalancerCommand(_Balancer):
    """Anything else: commands, each run for one host, which is told by `DEPLOY_HOST` and `DEPLOY_BALANCER_NAME`."""

    kind: Literal["command"]
    drain: str = Field(description="Takes the host out, and ends when nothing is at hand there any more.", min_length=1)
    undrain: str = Field(description="Puts it back, and ends when it is in balance.", min_length=1)
    status: str = Field(
        "", description="Prints what the host is at: `up`, `down`, `drained` or `maint`. It changes nothing."
    )
    where: Literal["local", "hosts", "primary"] = Field(
        "local",
        description="Where the commands run: here, in the fabfile's directory; each on the host that it is about; or "
        "all on the primary one. There in the base path, as the deploy user.",
    )
    timeout: Seconds = Field(120, description="Seconds until one is ended and counts as failed.", gt=0)


Balancer = Annotated[Haproxy | Nginx | HealthFile | BalancerCommand, Field(discriminator="kind")]
