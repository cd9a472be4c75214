"""Keys about what runs: the service manager, health."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from .basics import Model, Seconds, relative


class _Service(Model):
    timeout: Seconds = Field(600, description="Seconds until the manager's command counts as failed.", gt=0)
    sudo: bool = Field(True, description="Run the manager's command as root, by sudo.")
    pidfile: str = Field(
        "",
        description="File with the main process's number, absolute or below the base path; "
        "by it the release that runs is proven.",
    )


UNIT = re.compile(r"[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]*")
INSTANCE = "{instance}"
"""In a health URL: the name of the instance that is asked."""
_INSTANCE = re.compile(r"[A-Za-z0-9:_.\\-]+")
_MOST_INSTANCES = 100
_KINDS = (".service", ".socket", ".timer", ".path", ".target", ".slice")
UNIT_VALUES = ("app", "stage", "host", "base_path", "current", "shared", "deploy_user")
"""What unit files can name in any case."""


class Systemd(_Service):
    """One systemd unit or several, one after another; which release runs is proven by each one's main process."""

    manager: Literal["systemd"]
    unit: str = Field(
        "", description="For example `guestbook.service`; or a template, `guestbook@.service`, with `instances`."
    )
    units: list[str] = Field([], description="Several units instead: each is restarted and looked at before the next.")
    instances: int | list[int | str] | None = Field(
        None,
        description="The instances of a template: a number (1 to so many), or a list of names, such as ports. Each is "
        "restarted and looked at before the next.",
    )
    unit_file: str | list[str] = Field(
        [],
        description="A unit file of the release, or several (services, sockets, timers), as paths in it: installed "
        "before the restart where it differs. In it, `{{ name }}` stands for a value.",
    )
    unit_values: dict[str, str | int] = Field(
        {},
        description="Values for unit files, beside `app`, `stage`, `host`, `base_path`, `current`, `shared` and "
        "`deploy_user`.",
    )
    action: Literal["restart", "reload", "reload-or-restart"] = Field("restart", description="What systemctl does.")
    user: bool = Field(False, description="Units of the deploy user's own manager (`systemctl --user`).")

    @field_validator("unit")
    @classmethod
    def _named(cls, value: str) -> str:
        return _unit(value) if value else value

    @field_validator("units")
    @classmethod
    def _all_named(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError("one is named twice")
        return [_unit(name) for name in value]

    @field_validator("instances", mode="before")
    @classmethod
    def _instances(cls, value: object) -> object:
        if value is None:
            return value
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST_INSTANCES:
            return value
        if not isinstance(value, list) or not value or any(isinstance(name, bool) for name in value):
            raise ValueError(f"must be a number from 1 to {_MOST_INSTANCES}, or a list of names")
        names = [str(name) for name in value]
        if wrong := [name for name in names if not _INSTANCE.fullmatch(name)]:
            raise ValueError(f"{wrong[0]!r} cannot be the name of an instance")
        if len(set(names)) < len(names):
            raise ValueError("one is named twice")
        return names

    @field_validator("unit_file")
    @classmethod
    def _files(cls, value: str | list[str]) -> list[str]:
        paths = [relative(path) for path in ([value] if isinstance(value, str) else value)]
        names = [PurePosixPath(path).name for path in paths]
        for name in names:
            if not UNIT.fullmatch(name) or not name.endswith(_KINDS):
                raise ValueError(f"{name} is no name of a unit; it ends in one of {', '.join(_KINDS)}")
        if len(set(names)) < len(names):
            raise ValueError("two of the files have the same name")
        return paths

    @field_validator("unit_values")
    @classmethod
    def _values(cls, value: dict[str, str | int]) -> dict[str, str | int]:
        for name, given in value.items():
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise ValueError(f"{name!r} cannot be the name of a value")
            if name in UNIT_VALUES:
                raise ValueError(f"{name} is known already, and cannot be changed here")
            if not str(given).isprintable():
                raise ValueError(f"{name} must be text in one line")
        return value

    @model_validator(mode="after")
    def _one_way(self) -> Systemd:
        if bool(self.unit) == bool(self.units):
            raise ValueError("either unit or units says what is restarted")
        templates = [name for name in self.named if is_template(name)]
        if templates and self.instances is None:
            raise ValueError(f"{templates[0]} is a template; instances says which of it there are")
        if self.instances is not None and not templates:
            raise ValueError(f"instances is for a template, such as {self.named[0].partition('.')[0]}@.service")
        return self

    @property
    def unit_files(self) -> list[str]:
        """Paths in the release."""
        return list(self.unit_file)

    @property
    def named(self) -> list[str]:
        """The units as they are configured, templates as such."""
        return self.units or [self.unit]

    @property
    def instance_names(self) -> list[str]:
        """Of a template; empty where there is none."""
        if isinstance(self.instances, int):
            return [str(number) for number in range(1, self.instances + 1)]
        return [str(name) for name in self.instances or ()]


def is_template(unit: str) -> bool:
    return "@." in unit


def _unit(name: str) -> str:
    if not UNIT.fullmatch(name):
        raise ValueError("must be the name of a unit, such as guestbook.service")
    if name.endswith(".socket"):
        raise ValueError(f"{name} closes its socket when it is restarted; name the service that it starts")
    return name


class Supervisor(_Service):
    """A program or group of supervisord."""

    manager: Literal["supervisor"]
    program: str = Field(description="The program's name, or `group:*`.", pattern=r"^[A-Za-z0-9_.:*][A-Za-z0-9_.:*-]*$")


class Signal(_Service):
    """A process that reloads on a signal."""

    manager: Literal["signal"]
    pidfile: str = Field(description="File with the process's number, absolute or below the base path.", min_length=1)
    signal: Literal["HUP", "USR1", "USR2", "TERM", "INT"] = Field("HUP", description="The signal that reloads it.")
    retire: Literal["TERM", "QUIT", "INT"] | None = Field(
        None,
        description="For a server that starts its successor on USR2 and writes that one's number into `pidfile` with "
        "`.2` behind it, as gunicorn does: the signal that ends the former one, when the new one is well.",
    )
    sudo: bool = Field(False, description="Send the signal as root, by sudo.")

    @model_validator(mode="after")
    def _with_a_successor(self) -> Signal:
        if self.retire and self.signal != "USR2":
            raise ValueError("retire is for a process that starts its successor; it goes with signal: USR2")
        return self


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

    url: str = Field(
        description="Must answer 2xx. `{instance}` in it stands for the instance of a template: then each is asked, "
        "before the next is restarted.",
        pattern=r"^https?://[!-~]+$",
    )
    timeout: float = Field(30, description="Seconds until the release counts as not healthy.", gt=0, le=3600)
    interval: float = Field(1, description="Seconds between two requests at most.", gt=0, le=60)
    host: str = Field(
        "", description="The Host header to send, where the application insists on one.", pattern=r"^[!-~]*$"
    )

    @field_validator("url")
    @classmethod
    def _port(cls, value: str) -> str:
        # Whatever an instance is called, a port is a number.
        if urlsplit(value.replace(INSTANCE, "1")).port == 0:  # a port that is no number raises a ValueError by itself
            raise ValueError("nobody listens on port 0")
        return value

    @property
    def by_instance(self) -> bool:
        """Whether each instance has a URL of its own."""
        return INSTANCE in self.url

    def of(self, instance: str) -> Health:
        """What is asked of one instance."""
        return self.model_copy(update={"url": self.url.replace(INSTANCE, instance)})
