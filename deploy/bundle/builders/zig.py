"""Build with zig as C and C++ compiler: for an older glibc, for musl, for another architecture; on Linux and macOS.

Zig brings the C library's headers and stubs for every glibc version and architecture, so the target's system is not
needed. The interpreter is one of this machine, of the target's minor version.
"""

from __future__ import annotations

import importlib.util
import shlex
from dataclasses import dataclass
from pathlib import Path

from ..interpreters import ask, find
from ..target import Target
from ..wheelhouse import default_root
from . import cross
from .job import Job, Made, made
from .native import build_here

# 64 bits: pyconfig.h is written for those.
_TRIPLES = {
    "aarch64": "aarch64-linux",
    "loongarch64": "loongarch64-linux",
    "ppc64le": "powerpc64le-linux",
    "riscv64": "riscv64-linux",
    "s390x": "s390x-linux",
    "x86_64": "x86_64-linux",
}
# Zig knows no newer one for sure; what is built for an older one runs on a newer.
_NEWEST_GLIBC = (2, 38)


@dataclass(frozen=True, slots=True)
class Zig:
    """``zig``: needs ``pip install fabric-wheelhouse[zig]``, and Python of the target's minor version with headers."""

    name: str = "zig"

    def unfit(self, target: Target) -> str:
        if program() is None:
            return "ziglang is not installed (pip install 'fabric-wheelhouse[zig]')"
        if target.system != "linux" or target.machine not in _TRIPLES:
            return f"it does not build for {target.platforms()[0]}"
        python = find(target.python)
        if python is None:
            return f"python{target.python} is not installed here; its headers, and itself to run the build, are needed"
        if headers(python) is None:
            return f"the headers of {python} are not there (Debian: apt install libpython{target.python}-dev)"
        return ""

    def build(self, job: Job) -> Made:
        """:raises BuildError: with the end of what the build said."""
        python, zig = find(job.target.python), program()
        assert python is not None and zig is not None
        include = headers(python)
        assert include is not None
        folder = job.space.with_name(f"{job.space.name}-zig")
        variables = cross.write(folder, job.target, include, programs(zig, job.target, [job.space, folder]))
        variables["ZIG_GLOBAL_CACHE_DIR"] = str(default_root() / "zig")
        variables["ZIG_LOCAL_CACHE_DIR"] = str(folder / "cache")
        result = build_here(job, python, variables)
        result["compiler"] = f"ziglang {_version()}, {result['compiler']}"
        return made(job, self.name, result)


def triple(target: Target) -> str:
    """Zig's name of a target, with the glibc to be content with."""
    name = _TRIPLES[target.machine]
    if target.libc == "musl":
        return f"{name}-musl"
    major, minor = min(target.version, _NEWEST_GLIBC)
    return f"{name}-gnu.{major}.{minor}"


def programs(zig: Path, target: Target, folders: list[Path]) -> dict[str, str]:
    """The compiler's programs, by the names that build scripts call them.

    :param folders: whose paths must not be told in the binary.
    """
    # Without -O, zig would build in a run-time for undefined behaviour, which a server does not have.
    options = ["-target", triple(target), "-fno-sanitize=undefined", "-g0", "-s"]
    options += [f"-ffile-prefix-map={folder}=/build" for folder in folders]
    c, cxx = (shlex.join([str(zig), word, *options]) for word in ("cc", "c++"))
    names = dict.fromkeys(("cc", "gcc", "clang"), c) | dict.fromkeys(("c++", "g++", "clang++"), cxx)
    return names | {name: shlex.join([str(zig), name]) for name in ("ar", "ranlib")}


def program() -> Path | None:
    """Zig's program out of the package ziglang, if it is installed."""
    found = importlib.util.find_spec("ziglang")
    places = found.submodule_search_locations if found else None
    program = Path(next(iter(places))) / "zig" if places else None
    return program if program and program.exists() else None


def headers(python: str) -> Path | None:
    """The directory of ``Python.h`` beside an interpreter."""
    include = ask(python, "sysconfig.get_path('include')")
    return Path(include) if include and (Path(include) / "Python.h").exists() else None


def _version() -> str:
    from importlib.metadata import version

    return version("ziglang")
