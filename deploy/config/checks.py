"""Keys about what is looked at before a release may serve, and what has to be on the hosts."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from .basics import Model


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
