"""What a wheel must fit: Python version, platform tag, libc and its version. Pure; knows no host and no file."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import parse_wheel_filename

from ..errors import ConfigurationError

# PEP 600: older names of some manylinux floors, still found in file names.
_LEGACY = {(2, 17): "manylinux2014", (2, 12): "manylinux2010", (2, 5): "manylinux1"}
_X86 = ("x86_64", "i686")
_PLATFORM = re.compile(r"(?P<libc>manylinux|musllinux)_(?P<major>\d+)_(?P<minor>\d+)_(?P<machine>\w+)")
_MACOS = re.compile(r"macosx_(?P<major>\d+)_(?P<minor>\d+)_(?P<machine>\w+)")


@dataclass(frozen=True, slots=True)
class Target:
    """What the wheels of a bundle must fit. Hosts with equal targets share one bundle.

    :ivar python: major and minor version, such as ``3.11``.
    :ivar system: ``linux`` or ``darwin``.
    :ivar machine: as ``uname -m`` says.
    :ivar libc: ``glibc``, ``musl`` or '' (macOS).
    :ivar version: of the libc, or of macOS, as numbers.
    """

    python: str
    system: str
    machine: str
    libc: str
    version: tuple[int, int]

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Target:
        """The target of a host, by what its host program reports.

        :raises ConfigurationError: an interpreter or system that wheels cannot be chosen for.
        """
        if facts["implementation"] != "cpython":
            raise ConfigurationError(f"only CPython is supported, not {facts['implementation']}", where="deploy.python")
        libc, version = facts["libc"]
        if facts["system"] == "darwin":
            libc, version = "", facts["macos"]
        elif libc == "musl" and not version:
            version = "1.2"  # every musl of a distribution that has Python 3.9 or newer
        return cls(
            python=".".join(facts["python"].split(".")[:2]),
            system=facts["system"],
            machine=facts["machine"],
            libc=libc,
            version=_numbers(version),
        )

    @classmethod
    def local(cls) -> Target:
        """The target that this interpreter and this machine are."""
        libc, version = platform.libc_ver()
        facts = {
            "python": platform.python_version(),
            "implementation": sys.implementation.name,
            "system": "darwin" if sys.platform == "darwin" else platform.system().lower(),
            "machine": platform.machine(),
            "libc": [libc or "musl", version],
            "macos": platform.mac_ver()[0],
        }
        return cls.from_facts(facts)

    @classmethod
    def parse(cls, settings: Mapping[str, str]) -> Target:
        """The target that the configuration names: ``python`` and ``platform`` (a platform tag).

        :raises ConfigurationError: the platform is no tag that says a libc and its version.
        """
        tag = settings["platform"]
        if match := _PLATFORM.fullmatch(tag):
            libc = "glibc" if match["libc"] == "manylinux" else "musl"
            return cls(settings["python"], "linux", match["machine"], libc, (int(match["major"]), int(match["minor"])))
        if match := _MACOS.fullmatch(tag):
            version = (int(match["major"]), int(match["minor"]))
            return cls(settings["python"], "darwin", match["machine"], "", version)
        raise ConfigurationError(
            f"{tag!r} is no platform tag",
            where="deploy.target.platform",
            hint="for example manylinux_2_36_x86_64, musllinux_1_2_aarch64 or macosx_14_0_arm64",
        )

    @property
    def name(self) -> str:
        """A short word for people and for the manifest: ``cp311-manylinux_2_36_x86_64``."""
        return f"cp{self.python.replace('.', '')}-{self.platforms()[0]}"

    def platforms(self) -> list[str]:
        """Platform tags that fit, best first (PEP 600, PEP 656)."""
        major, minor = self.version
        if self.system == "darwin":
            return list(mac_platforms((major, minor), self.machine))
        if self.libc == "musl":
            return [f"musllinux_{major}_{n}_{self.machine}" for n in range(minor, -1, -1)] + [f"linux_{self.machine}"]
        # manylinux_2_5 is the oldest floor there is, and only on x86; elsewhere it is 2.17.
        oldest = 5 if self.machine in _X86 else 17
        tags = []
        for n in range(minor, oldest - 1, -1):
            tags.append(f"manylinux_{major}_{n}_{self.machine}")
            if legacy := _LEGACY.get((major, n)):
                tags.append(f"{legacy}_{self.machine}")
        return [*tags, f"linux_{self.machine}"]

    def tags(self) -> list[Tag]:
        """Every tag that fits, best first."""
        return _tags(self)

    def fits(self, filename: str) -> bool:
        """Whether a wheel of that name can be installed."""
        return not parse_wheel_filename(filename)[3].isdisjoint(self.tags())

    def rank(self, filename: str) -> int:
        """How well a wheel fits; the lowest is the best."""
        tags = parse_wheel_filename(filename)[3]
        return next((index for index, tag in enumerate(self.tags()) if tag in tags), sys.maxsize)

    def markers(self) -> dict[str, str]:
        """The environment that markers are evaluated in (PyPA, "Dependency specifiers")."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Darwin" if self.system == "darwin" else "Linux",
            "platform_version": "",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": self.system,
        }


@cache
def _tags(target: Target) -> list[Tag]:
    version = tuple(int(part) for part in target.python.split("."))
    platforms = target.platforms()
    if target.system == "linux":
        # What was built on such a machine is as good as it gets: `linux_x86_64` comes first, as in packaging.tags.
        platforms = [platforms[-1], *platforms[:-1]]
    interpreter = f"cp{version[0]}{version[1]}"
    return [
        *cpython_tags(version, [interpreter], platforms),
        *compatible_tags(version, interpreter, platforms),
    ]


def _numbers(version: str) -> tuple[int, int]:
    numbers = [int(part) for part in re.findall(r"\d+", version)[:2]]
    return (numbers[0], numbers[1] if len(numbers) > 1 else 0) if numbers else (0, 0)
