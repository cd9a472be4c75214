"""Run the commands of version control on this machine: they ask nobody, and connect to nothing by themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import BuildError, ConfigurationError

# What git sets for its hooks: a deploy that is started by one must not work on the hook's index.
_OF_HOOKS = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX", "GIT_CONFIG", "GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT",
    "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE", "GIT_QUARANTINE_PATH", "GIT_INTERNAL_SUPER_PREFIX", "HG_NODE",
)  # fmt: skip

_SETTINGS = {
    # git fetches what a partial clone lacks as soon as it is looked at: no transport is allowed.
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_LFS_SKIP_SMUDGE": "1",
    # No aliases, no changed defaults, no translation.
    "HGPLAIN": "1",
    "LC_MESSAGES": "C",
    # svn turns names of files into this, and in cron's own locale it cannot write most of them.
    "LC_CTYPE": "UTF-8" if sys.platform == "darwin" else "C.UTF-8",
}


def assert_installed(program: str) -> None:
    """:raises ConfigurationError: *program* is not on this machine."""
    if shutil.which(program) is None:
        raise ConfigurationError(
            f"there is no {program} on this machine",
            where=f"deploy.source.strategy: {program}",
            hint=f"install {program}, or set deploy.source.strategy: auto",
        )


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in _OF_HOOKS and key != "LC_ALL"}
    return {**kept, **_SETTINGS, **(more or {})}


def attempt(
    command: Sequence[str], *, directory: Path, more: Mapping[str, str] | None = None, content: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run *command* in *directory* with *content* on its standard input, whatever it ends with.

    :raises BuildError: it cannot be started.
    """
    try:
        return subprocess.run(
            command, cwd=directory, env=environment(more), input=content, capture_output=True, check=False
        )
    except OSError as error:
        raise BuildError(f"cannot run {command[0]}: {error.strerror}", where=str(directory)) from None


def run(
    command: Sequence[str], *, directory: Path, more: Mapping[str, str] | None = None, content: bytes = b""
) -> bytes:
    """The output of *command*.

    :raises BuildError: it failed; with its last lines.
    """
    result = attempt(command, directory=directory, more=more, content=content)
    if result.returncode:
        words = " ".join(word for word in command[:2] if not word.startswith("-"))
        raise BuildError(f"{words} failed (exit {result.returncode})", where=str(directory), output=said(result))
    return result.stdout


def said(result: subprocess.CompletedProcess[bytes]) -> str:
    """What a command said on both streams."""
    return (result.stderr + result.stdout).decode(errors="replace").strip()
