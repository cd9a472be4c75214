"""Wheels and source distributions from an index, by pip, with the lock file's hashes enforced."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from .lockfile import Pin
from .pip import QUIET, run
from .target import Target


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
    # pip takes older Pythons for wheels of the stable ABI itself, given the target's version.
    abis = [*target.abis, "abi3t" if "t" in target.abis[0] else "abi3", "none"]
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
