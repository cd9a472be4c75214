"""Keys about bundles: where files come from, targets, what builds wheels, signatures, audits."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from .basics import Model
from .basics import address as assert_address

_PLACE = r"^((https?|file)://[!-~]+)?$"
_INTERPRETER = r"^([A-Za-z0-9_./][A-Za-z0-9_./+-]*)?$"


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
        return assert_address(value)


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
