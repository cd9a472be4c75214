"""The keys of `fabric.yaml`'s `deploy:` section: each one's type, default, description and rule.

The only place that knows the keys; the configuration reference and the JSON schema are made from it.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

_HOST = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?P<host>\[[0-9A-Fa-f:.%a-z]+\]|[^@\s:\[\]]+)(?::(?P<port>\d{1,5}))?")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PLACE = r"^((https?|file)://[!-~]+)?$"


class Model(BaseModel):
    """A part of the configuration: unknown keys are refused, values are not changed after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _relative(path: str) -> str:
    plain = PurePosixPath(path)
    if path.startswith(("/", "-")) or ".." in plain.parts or not plain.parts or "\0" in path:
        raise ValueError("must be a path inside the release, without '..'")
    return str(plain)


def _absolute(path: str) -> str:
    if not path.startswith("/") or ".." in path.split("/") or path.rstrip("/") == "":
        raise ValueError("must be an absolute path below /, without '..'")
    # A ':' parts what is on PATH; the others mean something in the scripts that a venv brings.
    if not path.isprintable() or any(letter in path for letter in ':"$`\\'):
        raise ValueError('must be without control characters and without : " $ ` \\')
    return path.rstrip("/")


class Source(Model):
    """Where the code comes from and how it travels."""

    strategy: Literal["auto", "rsync", "stream"] = Field(
        "auto",
        description="`rsync`, `stream` (over the connection itself), or `auto`: rsync where both ends have it, "
        "and the stream for little.",
    )
    path: str = Field(".", description="The directory to push, relative to the fabfile.")
    exclude: list[str] = Field(
        [], description="Patterns, as in a .gitignore, of what stays behind beside what never goes."
    )


class Shared(Model):
    """What outlives a release: linked from `shared/` into each one."""

    files: list[str] = Field([], description="Files that must be in `shared/` on each host, such as `.env`.")
    dirs: list[str] = Field([], description="Directories; made where they are lacking.")

    _inside = field_validator("files", "dirs")(lambda paths: [_relative(path) for path in paths])

    @model_validator(mode="after")
    def _apart(self) -> Shared:
        paths = sorted(PurePosixPath(path) for path in self.files + self.dirs)
        for outer, inner in pairwise(paths):
            if inner.is_relative_to(outer):
                raise ValueError(f"shared paths may not lie in each other: {inner} in {outer}")
        return self


class Migrate(Model):
    """The command that brings the database to the new release's schema."""

    command: str = Field(
        description="Run once, on the primary host, in the staged release; its venv first on PATH, `.env` loaded.",
        min_length=1,
    )


class _Service(Model):
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


class Lock(Model):
    """The deploy lock."""

    expiry: float = Field(
        60,
        description="Seconds after which the lock of a dead run may be taken over; a run that lives extends it.",
        ge=3,
    )


class TargetSettings(Model):
    """What the wheels must fit, where hosts are not to be asked."""

    python: str = Field(description="For example `3.11`.", pattern=r"^3\.\d+$")
    platform: str = Field(description="For example `manylinux_2_36_x86_64`.", min_length=1)


class Index(Model):
    """Where wheels and source distributions come from; options in the lock file itself count as well."""

    url: str = Field(
        "",
        description="The package index. Default: the lock file's, then the ambient one, then PyPI.",
        pattern=_PLACE,
    )
    extra_urls: list[Annotated[str, Field(pattern=_PLACE, min_length=1)]] = Field(
        [], description="More indexes; a file is taken from whichever has it, as its hash is in the lock file."
    )
    find_links: list[Annotated[str, Field(min_length=1)]] = Field(
        [], description="Directories, relative to the fabfile, or pages with links to files."
    )
    ca: str = Field(
        "", description="A file with certificates to trust beside the system's own, relative to the fabfile."
    )
    proxy: str = Field(
        "", description="A proxy for http and https, instead of the environment's.", pattern=r"^(https?://[!-~]+)?$"
    )
    ambient: bool = Field(
        False,
        description="Take indexes, directories, certificate and proxy also from pip's and uv's own configuration "
        "(`pip.conf`, `PIP_*`, `uv.toml`, `UV_*`) of whoever runs `fab`.",
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

    @field_validator("host")
    @classmethod
    def _address(cls, value: str) -> str:
        if value.startswith("-") or not _HOST.fullmatch(value):
            raise ValueError("must look like [user@]host[:port]; an IPv6 address goes in brackets")
        return value

    _base = field_validator("base_path")(lambda path: _absolute(path) if path else path)

    @property
    def name(self) -> str:
        """The address without the user: what the host is called in reports and by ``--limit``."""
        return self.host.rpartition("@")[2]


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
        "auto", description="What the wheels must fit: asked of the hosts (`auto`), this machine (`local`), or named."
    )
    source: Source = Field(Source(), description="Where the code comes from.")
    shared: Shared = Field(Shared(), description="What outlives a release.")
    migrate: Migrate | None = Field(None, description="Migration of the database.")
    service: Service | None = Field(None, description="What has to be restarted, and how.")
    health: Health | None = Field(None, description="How health is asked.")
    keep_releases: int = Field(5, description="Good releases that are kept.", ge=1)
    min_free_mb: int = Field(200, description="MiB that must be free on a host before a deploy starts.", ge=0)
    lock: Lock = Field(Lock(), description="The deploy lock.")
    connect_timeout: float = Field(15, description="Seconds until a host counts as not reachable.", gt=0)
    silence_timeout: float = Field(30, description="Seconds without a sign of life until a host counts as lost.", ge=15)
    known_hosts: str = Field("", description="A known_hosts file read beside the user's own, relative to the fabfile.")
    identity: str = Field("", description="A private key file offered beside the user's own, relative to the fabfile.")

    @field_validator("app")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError("must be letters, digits, '.', '_' and '-'")
        return value

    @field_validator("deploy_user")
    @classmethod
    def _user(cls, value: str) -> str:
        if value and not re.fullmatch(r"[a-z_][a-z0-9_-]*\$?", value):
            raise ValueError("must be the name of a user")
        return value

    @field_validator("python")
    @classmethod
    def _interpreter(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_./+-]+", value) or value.startswith("-"):
            raise ValueError("must be the name or the path of an interpreter, without arguments")
        return value

    _base = field_validator("base_path")(_absolute)

    @field_validator("hosts", mode="before")
    @classmethod
    def _short_hosts(cls, value: Any) -> Any:
        if isinstance(value, list):
            return [{"host": item} if isinstance(item, str) else item for item in value]
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
