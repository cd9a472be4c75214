"""Source that is no release: a directory of this machine, or a commit of a git repository; hashed and copied."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import BuildError, ConfigurationError
from ..masking import masked
from .locks.direct import COMMIT
from .locks.model import Git
from .sources import login, plain

# What lies about in a project and is no source; where git knows better, git is asked.
_NEVER = {".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", ".tox", ".nox", ".env",
          ".mypy_cache", ".pytest_cache", ".ruff_cache"}  # fmt: skip
_NEVER_ON_TOP = {"build", "dist"}


def assert_package(directory: Path) -> None:
    """:raises ConfigurationError: nothing in *directory* says how to build it."""
    if not any((directory / name).is_file() for name in ("pyproject.toml", "setup.py")):
        raise ConfigurationError(
            "there is no pyproject.toml or setup.py in it, so it cannot be built", where=str(directory)
        )


def digest(directory: Path) -> str:
    """SHA-256 over the names, the modes and the content of a directory's source files.

    :raises ConfigurationError: it is no directory.
    """
    if not directory.is_dir():
        raise ConfigurationError("there is no such directory", where=str(directory))
    total = hashlib.sha256()
    for path in files(directory):
        name = path.relative_to(directory).as_posix()
        if path.is_symlink():
            kind, content = "link", str(path.readlink()).encode(errors="surrogateescape")
        else:
            kind = "program" if os.access(path, os.X_OK) else "file"
            content = path.read_bytes()
        head = f"{kind} {name}\0".encode(errors="surrogateescape")
        total.update(head + hashlib.sha256(content).digest())
    return total.hexdigest()


def files(directory: Path) -> list[Path]:
    """The source files of a directory, sorted: what git knows or does not ignore, or all but the usual litter."""
    listed = _known_to_git(directory)
    return sorted(listed if listed else _walk(directory))


def copy(directory: Path, destination: Path) -> Path:
    """Copy the source files, so that a build leaves nothing behind where they lie."""
    for path in files(directory):
        target = destination / path.relative_to(directory)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target, follow_symlinks=False)
    if (directory / ".git").is_dir():
        # Some backends ask git for the version. In a copy, git finds the history by this file (gitrepository-layout).
        (destination / ".git").write_text(f"gitdir: {(directory / '.git').absolute()}\n")
    return destination


def _known_to_git(directory: Path) -> list[Path]:
    command = ["git", "-C", str(directory), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    found: list[Path] = []
    for name in set(said.decode(errors="surrogateescape").split("\0")) - {""}:
        path = directory / name
        if path.is_dir() and not path.is_symlink():
            found += _walk(path)  # a submodule
        elif path.is_symlink() or path.is_file():
            found.append(path)
    return found


def _walk(directory: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(directory):
        top = Path(folder) == directory
        folders[:] = [
            name
            for name in folders
            if name not in _NEVER and not name.endswith(".egg-info") and not (top and name in _NEVER_ON_TOP)
        ]
        yield from (Path(folder) / name for name in names if name not in _NEVER)


def resolve(git: Git) -> str:
    """The commit that a reference names now.

    :raises BuildError: the repository is not in reach, or has no such reference.
    """
    if COMMIT.fullmatch(git.reference):
        return git.reference
    lines = _git(git, "ls-remote", plain(git.url), git.reference, f"{git.reference}^{{}}").split("\n")
    found = [line.partition("\t")[0] for line in lines if line.strip()]
    if not found:
        raise BuildError(f"{masked(git.url)} has no branch or tag {git.reference}")
    return found[-1]  # behind an annotated tag, the commit that it is of


def checkout(git: Git, commit: str, destination: Path) -> Path:
    """Bring a commit to *destination*, with its submodules; the directory of it that is to be built.

    :raises BuildError: with git's words.
    """
    # Without the content of other commits where the server can do that; with all names, as versions come from tags.
    _git(git, "clone", "--quiet", "--no-checkout", "--filter=blob:none", plain(git.url), str(destination))
    _git(git, "-C", str(destination), "checkout", "--quiet", "--detach", commit)
    if (destination / ".gitmodules").is_file():
        _git(git, "-C", str(destination), "submodule", "update", "--quiet", "--init", "--recursive")
    directory = destination / git.subdirectory
    if not directory.is_dir():
        raise BuildError(f"{masked(git.url)} has no directory {git.subdirectory} in {commit[:12]}")
    return directory


def _git(git: Git, *words: str) -> str:
    program = shutil.which("git")
    if program is None:
        raise ConfigurationError("git is needed for a requirement from a repository, and is not installed")
    result = subprocess.run(
        [program, *words],
        env={**os.environ, "GIT_TERMINAL_PROMPT": "0", **_login(git)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        verb = next(word for word in words if word in ("clone", "checkout", "submodule", "ls-remote"))
        raise BuildError(f"git {verb} failed for {masked(git.url)}", output=result.stderr or result.stdout)
    return result.stdout


def _login(git: Git) -> Mapping[str, str]:
    """The URL's login as git's configuration in the environment: a command line can be read by everybody."""
    pair = login(git.url) if git.url.startswith("http") else None
    if pair is None:
        return {}
    coded = base64.b64encode(":".join(pair).encode()).decode()
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"http.{plain(git.url)}.extraHeader",
        "GIT_CONFIG_VALUE_0": f"Authorization: Basic {coded}",
    }
