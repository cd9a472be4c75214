"""Wheels and source distributions from an index, by pip, with the lock file's hashes enforced."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import BuildError
from .lockfile import Pin
from .target import Target

QUIET = ("--disable-pip-version-check", "--no-input", "--progress-bar=off")


def download(
    pip: Sequence[str], requirements: Path, destination: Path, options: Sequence[str], choice: Sequence[str]
) -> list[str]:
    """pip's command line that fetches exactly the files of a lock file."""
    return [
        *pip, "download", *QUIET, "--no-deps", "--require-hashes", *options, *choice,
        "--dest", str(destination), "--requirement", str(requirements),
    ]  # fmt: skip


def wheels_for(target: Target) -> list[str]:
    """pip's options for another machine: wheels only, for each platform tag that fits."""
    minor = int(target.python.split(".")[1])
    # pip takes the newest Python for abi3 wheels itself, given the target's version.
    abis = [f"cp3{minor}", "abi3", "none"]
    return [
        "--only-binary=:all:", "--implementation=cp", f"--python-version={target.python}",
        *(f"--abi={abi}" for abi in abis), *(f"--platform={tag}" for tag in target.platforms()),
    ]  # fmt: skip


def fetch(
    pins: Iterable[Pin], options: Sequence[str], choice: Sequence[str], directory: Path, pip: Sequence[str]
) -> list[Path]:
    """Download one file for each pin into *directory*.

    :raises BuildError: with pip's last lines.
    """
    requirements = directory / "requirements.txt"
    requirements.write_text("".join(f"{pin.text}\n" for pin in pins))
    files = directory / "files"
    files.mkdir(exist_ok=True)
    run(download(pip, requirements, files, options, choice), "the wheels could not be fetched")
    return sorted(path for path in files.iterdir() if path.is_file())


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
        raise BuildError(failed, output=said, hint=_advice(said))


def _advice(said: str) -> str:
    if "THESE PACKAGES DO NOT MATCH THE HASHES" in said:
        return "a file is not the one that was locked: somebody changed it, or the lock file needs to be made again"
    if "No matching distribution" in said:
        return "no file of that version fits the target, or the index does not have it"
    if "Connection" in said or "Temporary failure" in said or "timed out" in said:
        return "is the index in reach? A bundle that exists already needs no network"
    return ""


def local_pip() -> list[str]:
    """pip of the Python that runs us."""
    return [sys.executable, "-m", "pip"]
