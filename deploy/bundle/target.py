"""What a wheel must fit: Python version, platform tag, libc and its version. Pure; knows no host and no file.

The rules are those of PyPA's "Platform compatibility tags" (PEP 425, 600, 656) and "Dependency specifiers" (markers).
"""

from __future__ import annotations

import hashlib
import json
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
# How CPython's configure calls machines in EXT_SUFFIX, where it is not as `uname -m` does.
_TRIPLETS = {
    "i686": ("i386", "-gnu"),
    "ppc64le": ("powerpc64le", "-gnu"),
    "armv7l": ("arm", "-gnueabihf"),
    "armv8l": ("arm", "-gnueabihf"),
}
# Each host has its own, and a reboot may change them: they would part hosts that take the same wheels.
_OF_THE_KERNEL = ("platform_release", "platform_version")

_MODULES = "extension modules"
_VERSIONS = {"implementation_version", "python_version"}


@dataclass(frozen=True, slots=True)
class Target:
    """What the wheels of a bundle must fit. Hosts with equal targets share one bundle.

    :ivar python: major and minor version, such as ``3.11``.
    :ivar system: ``linux`` or ``darwin``; elsewhere the first word of the platform tag.
    :ivar machine: of the interpreter, as platform tags say it: ``x86_64``.
    :ivar libc: ``glibc``, ``musl`` or '' (macOS).
    :ivar version: of the libc, or of macOS, as numbers.
    :ivar abis: that the interpreter loads, best first: ``cp311``; ``cp313t`` without the GIL, ``cp311d`` for debugging.
    :ivar environment: what markers are evaluated in, sorted, without what is the kernel's.
    :ivar ext_suffixes: of the extension modules that the interpreter imports, best first; () where nobody looked.
    :ivar manylinux_refused: minor versions of glibc 2 whose tags a host does not allow (PEP 600).
    """

    python: str
    system: str
    machine: str
    libc: str
    version: tuple[int, int]
    abis: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    ext_suffixes: tuple[str, ...] = ()
    manylinux_refused: tuple[int, ...] = ()

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Target:
        """The target of a host, by what its host program reports.

        :raises ConfigurationError: an interpreter or system that wheels cannot be chosen for.
        """
        if facts["implementation"] != "cpython":
            raise ConfigurationError(f"only CPython is supported, not {facts['implementation']}", where="deploy.python")
        libc, version = facts["libc"]
        system, _, machine = facts["platform"].partition("_")
        if facts["system"] == "darwin":
            system, machine, libc, version = "darwin", facts["machine"], "", facts["macos"]
        return cls(
            python=".".join(facts["python"].split(".")[:2]),
            system=system,
            machine=machine,
            libc=libc,
            version=_numbers(version),
            abis=tuple(facts["abis"]),
            environment=_sorted(facts["marker_environment"]),
            ext_suffixes=tuple(facts["ext_suffixes"]),
            manylinux_refused=tuple(facts["manylinux_refused"]),
        )

    @classmethod
    def local(cls) -> Target:
        """The target that this interpreter and this machine are."""
        from ..hostside import interpreter

        return cls.from_facts(interpreter.facts())

    @classmethod
    def parse(cls, settings: Mapping[str, str]) -> Target:
        """The target that the configuration names: ``python`` and ``platform`` (a platform tag).

        What is not named is what CPython has there as a rule.

        :raises ConfigurationError: the platform is no tag that says a libc and its version.
        """
        tag = settings["platform"]
        if match := _PLATFORM.fullmatch(tag):
            system, libc = "linux", "glibc" if match["libc"] == "manylinux" else "musl"
        elif match := _MACOS.fullmatch(tag):
            system, libc = "darwin", ""
        else:
            raise ConfigurationError(
                f"{tag!r} is no platform tag",
                where="deploy.target.platform",
                hint="for example manylinux_2_36_x86_64, musllinux_1_2_aarch64 or macosx_14_0_arm64",
            )
        major, minor, *_ = numbers = settings["python"].split(".")
        full = settings["python"] if len(numbers) > 2 else f"{settings['python']}.0"
        return cls(
            python=f"{major}.{minor}",
            system=system,
            machine=match["machine"],
            libc=libc,
            version=(int(match["major"]), int(match["minor"])),
            abis=(f"cp{major}{minor}",),
            environment=_usual_environment(full, system, match["machine"]),
        )

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Target:
        """What :meth:`document` gave.

        :raises ValueError, KeyError, TypeError: it is none.
        """
        words = {key: document[key] for key in ("python", "system", "machine", "libc", "version")}
        lists = {key: document[key] for key in ("abis", "ext_suffixes")}
        markers, refused = document["markers"], document.get("manylinux_refused", [])
        texts = [*words.values(), *(each for values in lists.values() for each in values), *markers, *markers.values()]
        if not all(isinstance(text, str) for text in texts) or not all(isinstance(minor, int) for minor in refused):
            raise TypeError("a value is of the wrong kind")
        if not re.fullmatch(r"3\.\d+", words["python"]) or not re.fullmatch(r"\d+\.\d+", words["version"]):
            raise ValueError("a version is none")
        if not lists["abis"]:
            raise ValueError("abis is empty")
        return cls(
            python=words["python"],
            system=words["system"],
            machine=words["machine"],
            libc=words["libc"],
            version=_numbers(words["version"]),
            abis=tuple(lists["abis"]),
            environment=_sorted(markers),
            ext_suffixes=tuple(lists["ext_suffixes"]),
            manylinux_refused=tuple(refused),
        )

    def document(self) -> dict[str, Any]:
        """All of it, for JSON; what has no value for most is left out."""
        document: dict[str, Any] = {
            "python": self.python,
            "system": self.system,
            "machine": self.machine,
            "libc": self.libc,
            "version": ".".join(str(number) for number in self.version),
            "abis": list(self.abis),
            "ext_suffixes": list(self.ext_suffixes),
            "markers": dict(self.environment),
        }
        if self.manylinux_refused:
            document["manylinux_refused"] = list(self.manylinux_refused)
        return document

    @property
    def name(self) -> str:
        """A short word for people and for the manifest: ``cp311-manylinux_2_36_x86_64``.

        Targets that differ only in what seldom matters (the last number of Python's version) have the same.
        """
        return f"{self.abis[0]}-{self.platforms()[0]}"

    @property
    def fingerprint(self) -> str:
        """Differs where targets differ."""
        canonical = json.dumps(self.document(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    @property
    def full_python(self) -> str:
        """All of Python's version: ``3.11.2``."""
        return dict(self.environment).get("python_full_version", self.python)

    @property
    def libc_version(self) -> str:
        """``glibc 2.36``; ``macOS 14.0``; '' where neither is known."""
        name = {"darwin": "macOS"}.get(self.system, self.libc)
        return f"{name} {'.'.join(str(number) for number in self.version)}" if name else ""

    @property
    def ext_suffix(self) -> str:
        """What the file names of new extension modules end in (EXT_SUFFIX): as found, or as CPython has it by rule."""
        if self.ext_suffixes:
            return self.ext_suffixes[0]
        abi = self.abis[0].removeprefix("cp")
        if self.system == "darwin":
            return f".cpython-{abi}-darwin.so"
        machine, ending = _TRIPLETS.get(self.machine, (self.machine, "-gnu"))
        if self.libc == "musl":
            ending = ending.replace("gnu", "musl")
        return f".cpython-{abi}-{machine}-linux{ending}.so"

    def platforms(self) -> list[str]:
        """Platform tags that fit, best first (PEP 600, PEP 656); those of `linux_` alone, without a libc, last."""
        if self.system == "darwin":
            return list(mac_platforms(self.version, self.machine))
        if self.system != "linux":
            return [f"{self.system}_{self.machine}"]
        machines = ["armv8l", "armv7l"] if self.machine == "armv8l" else [self.machine]
        tagged = self._musllinux if self.libc == "musl" else self._manylinux
        return [*(tag for machine in machines for tag in tagged(machine)), *(f"linux_{each}" for each in machines)]

    def _musllinux(self, machine: str) -> list[str]:
        major, minor = self.version
        return [f"musllinux_{major}_{n}_{machine}" for n in range(minor, -1, -1)]

    def _manylinux(self, machine: str) -> list[str]:
        major, minor = self.version
        # manylinux_2_5 is the oldest floor there is, and only on x86; elsewhere it is 2.17.
        oldest = 5 if machine in _X86 else 17
        tags = []
        for n in range(minor, oldest - 1, -1):
            if n in self.manylinux_refused:
                continue
            tags.append(f"manylinux_{major}_{n}_{machine}")
            if legacy := _LEGACY.get((major, n)):
                tags.append(f"{legacy}_{machine}")
        return tags

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
        """The environment that markers are evaluated in (PyPA, "Dependency specifiers").

        What is the kernel's is empty: see :func:`deploy.bundle.locks.model.holds`.
        """
        return {**dict.fromkeys(_OF_THE_KERNEL, ""), **dict(self.environment)}

    def takes_wheels_of(self, other: Target) -> bool:
        """Whether whatever was chosen or built for *other* can be installed and imported here."""
        if self == other:
            return True
        suffix = not other.ext_suffixes or not self.ext_suffixes or other.ext_suffix in self.ext_suffixes
        return suffix and set(other.tags()) <= set(self.tags())

    def differences(self, found: Target) -> list[str]:
        """In what *found* is not this one, each in a few words: ``Python 3.11.2 expected, 3.13.5 found``.

        What follows from another difference is not told, nor what nobody looked at.
        """
        mine, its = self._features(), found._features()
        if not (mine[_MODULES] and its[_MODULES]):
            its[_MODULES] = mine[_MODULES]
        differing = [what for what in mine if mine[what] != its.get(what, "")]
        follows = {"Python": _VERSIONS, "ABI": {_MODULES}}
        told = [what for what in differing if not any(what in follows.get(other, ()) for other in differing)]
        return [f"{what} {mine[what] or 'nothing'} expected, {its.get(what) or 'nothing'} found" for what in told]

    def _features(self) -> dict[str, str]:
        markers = dict(self.environment)
        kernel = markers.pop("platform_machine", self.machine)
        full = markers.pop("python_full_version", self.python)
        return {
            "Python": full if full.startswith(f"{self.python}.") else f"{self.python} that says it is {full}",
            "ABI": ", ".join(self.abis),
            "machine": self.machine if kernel == self.machine else f"{self.machine} on {kernel}",
            "libc" if self.system == "linux" else "system": self.libc_version or self.system,
            _MODULES: ", ".join(self.ext_suffixes),
            "refused minor versions of manylinux_2": ", ".join(map(str, self.manylinux_refused)),
            **markers,
        }


@cache
def _tags(target: Target) -> list[Tag]:
    major, minor = (int(part) for part in target.python.split("."))
    # What was built on such a machine is as good as it gets: `linux_x86_64` comes first, as in packaging.tags.
    platforms = sorted(target.platforms(), key=lambda tag: not tag.startswith("linux_"))
    return [
        *cpython_tags((major, minor), target.abis, platforms),
        *compatible_tags((major, minor), f"cp{major}{minor}", platforms),
    ]


def _usual_environment(full_version: str, system: str, machine: str) -> tuple[tuple[str, str], ...]:
    return _sorted(
        {
            "implementation_name": "cpython",
            "implementation_version": full_version,
            "os_name": "posix",
            "platform_machine": machine,
            "platform_python_implementation": "CPython",
            "platform_system": "Darwin" if system == "darwin" else "Linux",
            "python_full_version": full_version,
            "python_version": ".".join(full_version.split(".")[:2]),
            "sys_platform": system,
        }
    )


def _sorted(markers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in markers.items() if name not in _OF_THE_KERNEL))


def _numbers(version: str) -> tuple[int, int]:
    numbers = [int(part) for part in re.findall(r"\d+", version)[:2]]
    return (numbers[0], numbers[1] if len(numbers) > 1 else 0) if numbers else (0, 0)
