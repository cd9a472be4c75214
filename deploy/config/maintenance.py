"""Keys about the page that is shown instead of the application while somebody works on it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from .basics import Model, on_host


class Maintenance(Model):
    """Who shows a page instead of the application, for `fab maintenance on`."""

    by: Literal["hosts", "balancer"] = Field(
        "hosts",
        description="Each host, by its application or its web server, for as long as `file` is there; or haproxy or "
        "nginx as `balancer`, which have all servers taken out and show their own page for that.",
    )
    file: str = Field("shared/maintenance.html", description="The file on the hosts, absolute or below the base path.")
    page: str = Field(
        "", description="What is in it: a file here, relative to the fabfile; default: a page of one sentence."
    )

    _place = field_validator("file")(on_host)
