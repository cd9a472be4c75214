"""What a wheel can depend on: this interpreter, its platform, its libc.

Facts only. Which tags follow from them, and in which order, :class:`deploy.bundle.target.Target` computes by the same
rules (PyPA, "Platform compatibility tags"; PEP 425, 600, 656). The rules that must be applied here, because only this
interpreter can be asked, are applied here.
"""

from __future__ import annotations

import importlib.machinery
import os
import platform
import re
import struct
import sys
import sysconfig
from typing import Any

# manylinux tags are defined for these; for armv7l and i686 the interpreter's own file must be of the right kind.
_MANYLINUX = {"x86_64", "aarch64", "ppc64", "ppc64le", "s390x", "loongarch64", "riscv64"}
_LEGACY = {5: "manylinux1_compatible", 12: "manylinux2010_compatible", 17: "manylinux2014_compatible"}


def facts() -> dict[str, Any]:
    """What decides which wheels fit.

    :returns: among others ``platform`` (``linux_x86_64``: the interpreter's; it may have 32 bits on a kernel of 64),
        ``libc`` (name and version), ``abis`` (best first), ``ext_suffixes`` (best first), ``manylinux_refused`` (minor
        versions of glibc 2 whose manylinux tags must not be used here) and ``marker_environment`` (PyPA, "Dependency
        specifiers").
    """
    libc = _libc()
    architecture = platform_tag()
    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "cache_tag": sys.implementation.cache_tag,
        "executable": sys.executable or "",
        "interpreter": os.path.realpath(sys.executable) if sys.executable else "",
        "system": sys.platform if sys.platform == "darwin" else platform.system().lower(),
        "machine": platform.machine(),
        "platform": architecture,
        "libc": libc,
        "macos": platform.mac_ver()[0] if sys.platform == "darwin" else "",
        "abis": _abis(),
        "soabi": sysconfig.get_config_var("SOABI") or "",
        "ext_suffix": sysconfig.get_config_var("EXT_SUFFIX") or "",
        "ext_suffixes": list(importlib.machinery.EXTENSION_SUFFIXES),
        "manylinux_refused": _manylinux_refused(architecture.partition("_")[2], libc),
        "marker_environment": _marker_environment(),
    }


def platform_tag() -> str:
    """The basic platform tag (PEP 425, "Platform Tag")."""
    tag = re.sub(r"[-. ]", "_", sysconfig.get_platform())
    if struct.calcsize("P") == 4:
        # uname tells of the kernel.
        tag = {"linux_x86_64": "linux_i686", "linux_aarch64": "linux_armv8l"}.get(tag, tag)
    return tag


def _abis() -> list[str]:
    """CPython's ABIs that this interpreter loads, best first (PEP 425; PEP 703 for ``t``)."""
    version = f"cp{sys.version_info.major}{sys.version_info.minor}"
    free = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    if sysconfig.get_config_var("Py_DEBUG"):
        # A debug build loads the modules of other builds too, since Python 3.8.
        return [f"{version}{free}d", f"{version}{free}"]
    return [version + free]


def _libc() -> list[str]:
    try:
        name, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        return [name, version]
    except (ValueError, OSError, AttributeError):
        return ["musl", version] if (version := musl_version(sys.executable)) else ["", ""]


def musl_version(executable: str) -> str:
    """The version of the musl that *executable* runs on, by what its loader says of itself (PEP 656); '' for none."""
    from . import elf

    header = elf.read(executable)
    if header is None or "musl" not in header.loader:
        return ""
    import subprocess

    try:
        said = subprocess.run(
            [header.loader], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=10
        ).stderr.decode(errors="replace")
    except (OSError, subprocess.SubprocessError):
        return ""
    found = re.match(r"\s*musl.*\n\s*Version (\d+\.\d+)", said)
    return found[1] if found else ""


def _manylinux_refused(architecture: str, libc: list[str]) -> list[int]:
    """The minor versions of glibc 2 whose tags must not be used: by the module ``_manylinux`` (PEP 600, "Package
    installers"), or because this interpreter is of a kind that manylinux does not know.
    """
    number = re.match(r"2\.(\d+)", libc[1]) if libc[0] == "glibc" else None
    minors = range(int(number[1]) + 1 if number else 0)
    if not _is_manylinux(architecture):
        return list(minors)
    try:
        policy: Any = __import__("_manylinux")
    except ImportError:
        return []
    return [minor for minor in minors if not _allowed(policy, minor, architecture)]


def _allowed(policy: Any, minor: int, architecture: str) -> bool:
    if hasattr(policy, "manylinux_compatible"):
        answer = policy.manylinux_compatible(2, minor, architecture)
        return answer is None or bool(answer)
    return bool(getattr(policy, _LEGACY.get(minor, ""), True))


def _is_manylinux(architecture: str) -> bool:
    if architecture not in ("armv7l", "armv8l", "i686"):
        return architecture in _MANYLINUX
    from . import elf

    header = elf.read(sys.executable)
    return header is not None and (header.is_i686 if architecture == "i686" else header.is_armhf)


def _marker_environment() -> dict[str, str]:
    info = sys.implementation.version
    implementation = f"{info.major}.{info.minor}.{info.micro}"
    if info.releaselevel != "final":
        implementation += info.releaselevel[0] + str(info.serial)
    return {
        "implementation_name": sys.implementation.name,
        "implementation_version": implementation,
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "python_full_version": platform.python_version(),
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "sys_platform": sys.platform,
    }
