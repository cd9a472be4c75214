"""Keys about the balancer that hosts are taken out of while they are switched."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from .basics import Model, absolute, address

SERVER = r"^([A-Za-z0-9_.:-]*)$"
"""haproxy's own rule for names, https://docs.haproxy.org: "Proxies"."""


class Haproxy(Model):
    """haproxy, by its runtime socket; it needs `level admin`."""

    kind: Literal["haproxy"]
    hosts: list[str] = Field(
        [],
        description="The balancers, `[user@]host[:port]`, each logged in to and told by its own socket; default: the "
        "stage's primary host tells it.",
    )
    socket: str = Field(
        "/run/haproxy/admin.sock", description="The socket: a path, or `address:port` as those hosts reach it."
    )
    user: str = Field(
        "",
        description="Who uses the socket, such as `root`, by sudo; default: the login user of `hosts`, the deploy user "
        "of the primary host.",
        pattern=r"^([a-z_][a-z0-9_-]*\$?)?$",
    )
    python: str = Field(
        "python3", description="The interpreter on `hosts`, 3.9 or newer.", pattern=r"^[A-Za-z0-9_./][A-Za-z0-9_./+-]*$"
    )
    backend: str = Field(description="The backend that the hosts are servers of.", pattern=r"^[A-Za-z0-9_.:-]+$")
    drain_timeout: float = Field(
        30, description="Seconds that sessions have to end; then their host is switched all the same.", ge=0, le=86400
    )
    ready_timeout: float = Field(
        30, description="Seconds until haproxy's own checks must find a host well that is put back.", gt=0, le=3600
    )
    min_available: int = Field(
        1, description="As many servers of the backend must be up besides those of a batch, or it is not begun.", ge=0
    )

    @field_validator("hosts")
    @classmethod
    def _addresses(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError("one is listed twice")
        return [address(each) for each in value]

    @field_validator("socket")
    @classmethod
    def _place(cls, value: str) -> str:
        if value.startswith("/"):
            return absolute(value)
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})", value)
        if not match or not 0 < int(match.group(2)) < 65536:
            raise ValueError("must be an absolute path, or address:port; an IPv6 address goes in brackets")
        return value
