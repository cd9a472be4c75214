"""pip as a program: how it is run, and what its failures mean. Knows no lock file and no target."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import BuildError
from .target import Target

QUIET = ("--disable-pip-version-check", "--no-input", "--progress-bar=off")

_FRAMED = re.compile(r"^ *╰─> \[\d+ lines? of output\]\n(.*?)^ *\[end of output\]", re.MULTILINE | re.DOTALL)
TRACE = re.compile(r"^Traceback \(most recent call last\):\n(?: .*\n)+", re.MULTILINE)
_NO_COMPILER = re.compile(r"(cc|\+\+)'? failed: No such file|No such file or directory: '[^']*(cc|\+\+)'")
_NAME = re.compile(r"Failed to build '([^']+)'")


def _full(target: Target) -> str:
    """All of the target's version, as files ask for it: ``3.9.2`` may take what ``3.9.0`` may not.

    Where it is not known, it is the series' last for pip, which would take it for the first.
    """
    full = target.markers()["python_full_version"]
    return full if re.fullmatch(r"\d+\.\d+\.\d+", full) else f"{target.python}.99"


def local_pip() -> list[str]:
    """pip of the Python that runs us."""
    return [sys.executable, "-m", "pip"]


def for_interpreter(python: str) -> list[str]:
    """pip of the Python that runs us, working in another one's environment."""
    return [*local_pip(), "--python", python]


def supports(python: str) -> bool:
    """Whether pip of the Python that runs us can work for another of that version."""
    from importlib.metadata import metadata

    from packaging.specifiers import SpecifierSet

    return SpecifierSet(metadata("pip")["Requires-Python"] or "").contains(f"{python}.0")


def run(command: Sequence[str], failed: str, environment: dict[str, str] | None = None) -> None:
    """Run pip.

    :raises BuildError: it failed; *failed* says what that means, its last lines why.
    """
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, check=False
    )
    if result.returncode:
        said = "\n".join(
            line for line in (result.stdout + result.stderr).splitlines() if "WARNING: Location" not in line
        )
        name = _NAME.search(said)
        named = name is not None and "/" not in name[1]  # what has no name yet is called by its path
        raise BuildError(
            f"{name[1]} could not be built" if name and named else failed, output=last_words(said), hint=advice(said)
        )


def wheels_for(target: Target) -> list[str]:
    """pip's options for another machine: wheels only, for each platform tag that fits."""
    # pip takes older Pythons for wheels of the stable ABI itself, given the target's version.
    abis = [*target.abis, "abi3t" if "t" in target.abis[0] else "abi3", "none"]
    return [
        "--only-binary=:all:", "--implementation=cp", f"--python-version={_full(target)}",
        *(f"--abi={abi}" for abi in abis), *(f"--platform={tag}" for tag in target.platforms()),
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Result:
    """How a pip ended, and all that it said."""

    returncode: int
    said: str


def run_together(commands: Sequence[Sequence[str]], environment: Mapping[str, str]) -> list[Result]:
    """Run several pips at once and wait for all; whatever interrupts us ends them."""
    with contextlib.ExitStack() as stack:
        started = []
        for command in commands:
            output = stack.enter_context(tempfile.TemporaryFile("w+", errors="replace"))
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=dict(environment)
            )
            stack.callback(_end, child)
            started.append((child, output))
        results = []
        for child, output in started:
            child.wait()
            output.seek(0)
            results.append(Result(child.returncode, output.read()))
        return results


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.terminate()
    child.wait()


def last_words(said: str) -> str:
    """What a build itself said, out of pip's output: without pip's frame, and of tracebacks only what they end in.

    A compiler's message stands before both, and would be pushed off the last lines by them.
    """
    framed = _FRAMED.findall(said)
    return TRACE.sub("", textwrap.dedent(framed[-1])) if framed else said


def nothing_fits(said: str) -> bool:
    """Whether pip found no file that fits, by what it said; an index that is out of reach is another matter."""
    return "No matching distribution" in said and not unreachable(said)


def is_not_locked(said: str) -> bool:
    """Whether a file that pip found has another hash than the lock file, by what pip said."""
    return "THESE PACKAGES DO NOT MATCH THE HASHES" in said


def unreachable(said: str) -> bool:
    """Whether pip reached no index, by what it said."""
    # pip tells of each attempt, and then that it found no file.
    return any(words in said for words in ("connection broken", "ConnectionError", "Read timed out"))


def advice(said: str) -> str:
    """What to do about what pip, or a build, said; '' where nobody knows."""
    if is_not_locked(said):
        return "a file is not the one that was locked: somebody changed it, or the lock file needs to be made again"
    if unreachable(said):
        return "is the index in reach? A bundle that exists already needs no network"
    if (
        "Python.h" in said
        or _NO_COMPILER.search(said)
        or (_FRAMED.search(said) and not (shutil.which("cc") or shutil.which("gcc")))
    ):
        return "a compiler and the Python headers are needed for C code (Debian: apt install gcc python3-dev)"
    if "(from versions: none)" in said:
        return "the index has no file of it that fits the target, or is not in reach"
    if "No matching distribution" in said:
        return "no file of that version fits the target, or the index does not have it"
    return ""
