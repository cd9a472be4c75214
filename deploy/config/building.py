"""Keys about what is made here before it is pushed."""

from __future__ import annotations

from pydantic import Field

from .basics import Model


class Build(Model):
    """A command that runs on this machine before any host is touched."""

    command: str = Field(description="Run by `/bin/sh -c` in the fabfile's directory.", min_length=1)
    timeout: float | None = Field(None, description="Seconds until it is ended and counts as failed.", gt=0)
