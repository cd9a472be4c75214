"""Keys about what runs: the migration, the service manager, health."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from .basics import Model


class Migrate(Model):
    """The command that brings the database to the new release's schema."""

    command: str = Field(
        description="Run once, on the primary host, in the staged release; its venv first on PATH, `.env` loaded.",
        min_length=1,
    )
    timeout: float | None = Field(
        None, description="Seconds until it is ended and counts as failed; default: it takes what it takes.", gt=0
    )


class _Service(Model):
    timeout: float = Field(600, description="Seconds until the manager's command counts as failed.", gt=0)
    sudo: bool = Field(True, description="Run the manager's command as root, by sudo.")
    pidfile: str = Field(
        "",
        description="File with the main process's number, absolute or below the base path; "
        "by it the release that runs is proven.",
    )


class Systemd(_Service):
    """A systemd unit; which release runs is proven by its main process."""

    manager: Literal["systemd"]
    unit: str = Field(description="For example `guestbook.service`.", pattern=r"^[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]*$")
    action: Literal["restart", "reload", "reload-or-restart"] = Field("restart", description="What systemctl does.")
    user: bool = Field(False, description="A unit of the deploy user's own manager (`systemctl --user`).")


class Supervisor(_Service):
    """A program or group of supervisord."""

    manager: Literal["supervisor"]
    program: str = Field(description="The program's name, or `group:*`.", pattern=r"^[A-Za-z0-9_.:*][A-Za-z0-9_.:*-]*$")


class Signal(_Service):
    """A process that reloads on a signal."""

    manager: Literal["signal"]
    pidfile: str = Field(description="File with the process's number, absolute or below the base path.", min_length=1)
    signal: Literal["HUP", "USR1", "USR2", "TERM", "INT"] = Field("HUP", description="The signal that reloads it.")
    sudo: bool = Field(False, description="Send the signal as root, by sudo.")


class Touch(_Service):
    """A server that watches a file (uWSGI's touch-reload)."""

    manager: Literal["touch"]
    file: str = Field(description="The file to touch, absolute or below the base path.", min_length=1)
    sudo: bool = Field(False, description="Touch it as root, by sudo.")


class Command(_Service):
    """Anything else: a command, run in the new release with its venv first on PATH."""

    manager: Literal["command"]
    command: str = Field(description="Restarts the application.", min_length=1)
    sudo: bool = Field(
        False, description="Run it as root, by sudo; in the release's directory, but without its venv and `.env`."
    )


Service = Annotated[Systemd | Supervisor | Signal | Touch | Command, Field(discriminator="manager")]


class Health(Model):
    """How the application says that it is well; asked on the host itself."""

    url: str = Field(description="Must answer 2xx.", pattern=r"^https?://[!-~]+$")
    timeout: float = Field(30, description="Seconds until the release counts as not healthy.", gt=0, le=3600)
    interval: float = Field(1, description="Seconds between two requests at most.", gt=0, le=60)
    host: str = Field(
        "", description="The Host header to send, where the application insists on one.", pattern=r"^[!-~]*$"
    )

    @field_validator("url")
    @classmethod
    def _port(cls, value: str) -> str:
        if urlsplit(value).port == 0:  # a port that is no number raises a ValueError by itself
            raise ValueError("nobody listens on port 0")
        return value
