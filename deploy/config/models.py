"""The keys of `fabric.yaml`'s `deploy:` section: each one's type, default, description and rule.

The only place that knows the keys; the configuration reference and the JSON schema are made from it.
"""

from __future__ import annotations

import re
from datetime import date
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

_HOST = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?P<host>\[[0-9A-Fa-f:.%a-z]+\]|[^@\s:\[\]]+)(?::(?P<port>\d{1,5}))?")
_PLACE = r"^((https?|file)://[!-~]+)?$"
_INTERPRETER = r"^([A-Za-z0-9_./][A-Za-z0-9_./+-]*)?$"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


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


def _host(address: str) -> str:
    if address.startswith("-") or not _HOST.fullmatch(address):
        raise ValueError("must look like [user@]host[:port]; an IPv6 address goes in brackets")
    return address


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


class Check(Model):
    """What is looked at in a new release's venv, before anything that serves is touched."""

    imports: Literal["all", "third-party", "off"] = Field(
        "all",
        description="Which import statements of the code have to resolve: all, those of modules that are not the "
        "application's own, or none.",
    )
    ignore: list[str] = Field(
        [],
        description="Modules (with all below them) and shared libraries that may be lacking: `debug_toolbar`, "
        "`libtbb.so.12`.",
    )

    @field_validator("imports", mode="before")
    @classmethod
    def _off(cls, value: Any) -> Any:
        # YAML 1.1 takes a bare `off` for false.
        return "off" if value is False else value


# What the package managers themselves allow: none begins with a dash, none has a space or a letter of the shell.
_DEBIAN_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?")
_PACKAGE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_+.~-]*")


class SystemPackages(Model):
    """Packages of the operating system that the application needs, by the host's package manager."""

    apt: list[str] = Field([], description="On Debian and Ubuntu, such as `libpq5`.")
    dnf: list[str] = Field([], description="On Fedora, RHEL and their relatives, such as `libpq`.")
    pkg: list[str] = Field([], description="On FreeBSD, such as `postgresql16-client`.")

    @field_validator("apt", "dnf", "pkg")
    @classmethod
    def _names(cls, names: list[str], info: ValidationInfo) -> list[str]:
        pattern = _DEBIAN_PACKAGE if info.field_name == "apt" else _PACKAGE
        for name in names:
            if not pattern.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a package")
        return list(dict.fromkeys(names))


class Bundle(Model):
    """Who signs bundles, and whose signatures the hosts take."""

    sign: bool | str = Field(
        False,
        description="Sign with an SSH key: a path (of the `.pub` file, where the agent has the key), relative to the "
        "fabfile; or `true` for `identity`, or else the first of the usual keys in `~/.ssh`.",
    )
    allowed_signers: str = Field(
        "",
        description="An allowed signers file (as in ssh-keygen(1)), relative to the fabfile. `fab setup` puts it on "
        "each host, which then refuses bundles that none of them signed.",
    )
    signers_owner: Literal["deploy", "root"] = Field(
        "deploy",
        description="`root`: the hosts' list lies below `/etc/fabric-wheelhouse`, where only root can change it; "
        "`deploy`: in `.deploy/`, where the deploy user can.",
    )


class Ignore(Model):
    """A vulnerability that is known and borne for a while."""

    id: str = Field(description="Its name, such as `PYSEC-2026-1` or `CVE-2026-1234`.", min_length=1)
    reason: str = Field(description="Why it does no harm here.", min_length=1)
    expires: date = Field(description="From this day on it counts again (`2027-01-31`).")


class Audit(Model):
    """`fab audit`: known vulnerabilities in what a bundle holds."""

    gate: bool = Field(False, description="`deploy` and `update-deps` audit the bundles before anything is sent.")
    service: Literal["pypi", "osv"] = Field("pypi", description="Whom pip-audit asks.")
    url: str = Field("", description="Another address of an OSV service; with `service: osv`.")
    database: str = Field(
        "",
        description="Ask no service, but look here: a directory with OSV records (`*.json`), or a zip file of them, "
        "relative to the fabfile.",
    )
    private: list[str] = Field(
        [], description="Packages that no service knows: their names are not sent, and they are not audited."
    )
    ignore: list[Ignore] = Field([], description="Vulnerabilities that do not count until a day.")

    @model_validator(mode="after")
    def _address_of_osv(self) -> Audit:
        if self.url and self.service != "osv":
            raise ValueError("url is the address of an OSV service; set service: osv with it")
        return self


class TargetSettings(Model):
    """What the wheels must fit, where hosts are not to be asked: files, or a Python and a platform."""

    files: list[str] = Field(
        [], description="Files that `fab targets` wrote, relative to the fabfile; each host takes the one that fits it."
    )
    python: str = Field(
        "",
        description="For example `3.11`, or `3.11.9` where markers of the lock file ask for all of it.",
        pattern=r"^3\.\d+(\.\d+)?$",
    )
    platform: str = Field("", description="For example `manylinux_2_36_x86_64`.", min_length=1)

    @model_validator(mode="after")
    def _either(self) -> TargetSettings:
        if bool(self.files) == bool(self.python or self.platform) or bool(self.python) != bool(self.platform):
            raise ValueError("must have either files, or python and platform")
        return self


class LocalBuilder(Model):
    """Nothing to say about it."""


class BuildHost(Model):
    """A server like those of the stage, with a compiler; reached by SSH as they are."""

    address: str = Field(description="`[user@]host[:port]`, or a name from ssh_config.")
    python: str = Field("", description="Its interpreter; default: `pythonX.Y` of the target.", pattern=_INTERPRETER)

    @field_validator("address")
    @classmethod
    def _reachable(cls, value: str) -> str:
        return _host(value)


class BuildContainer(Model):
    """A container made from an image of the manylinux and musllinux projects, or from one of your own."""

    engine: Literal["docker", "podman"] | None = Field(None, description="Default: the one that is installed.")
    image: str = Field(
        "", description="Default: the published image that fits the target.", pattern=r"^([!-,.-~][!-~]*)?$"
    )
    python: str = Field(
        "", description="The interpreter in it; default: that of the published images, or `pythonX.Y`.",
        pattern=_INTERPRETER,
    )  # fmt: skip
    options: list[str] = Field([], description="Further words for the engine's `run`, such as `--runtime=runc`.")


class Builder(Model):
    """One way to build wheels from source, by one of these keys; one that needs nothing more may be given as a word."""

    native: LocalBuilder | None = Field(None, description="This machine's compiler, where it is like the target.")
    zig: LocalBuilder | None = Field(None, description="Zig: for an older glibc, musl, another architecture.")
    host: BuildHost | None = Field(None, description="A build host, or its address alone.")
    container: BuildContainer | None = Field(None, description="A container, or its image alone.")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {value: {}}
        if not isinstance(value, dict):
            return value
        value = {key: {} if given is None else given for key, given in value.items()}
        longer = {"host": "address", "container": "image"}
        return {
            key: {longer[key]: given} if key in longer and isinstance(given, str) else given
            for key, given in value.items()
        }

    @model_validator(mode="after")
    def _one(self) -> Builder:
        if len([name for name in type(self).model_fields if getattr(self, name) is not None]) != 1:
            raise ValueError("must be one of native, zig, host and container")
        return self


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
        return _host(value)

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
