"""Repositories for tests: real git, hg and svn, with a user of their own and none of the developer's configuration."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
needs_hg = pytest.mark.skipif(shutil.which("hg") is None, reason="Mercurial is not installed")
needs_svn = pytest.mark.skipif(shutil.which("svn") is None, reason="Subversion is not installed")


class Git:
    """A repository in *directory*, made where there is none."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        if not (directory / ".git").exists():
            directory.mkdir(parents=True, exist_ok=True)
            self("init", "--quiet", "--initial-branch=main")
        self("config", "user.name", "Test")
        self("config", "user.email", "test@example.com")

    def __call__(self, *words: str, expect: int = 0) -> str:
        """Run `git WORDS`; what it says."""
        # Files of a submodule may be cloned by path only where that is allowed.
        line = ["git", "-c", "protocol.file.allow=always", *words]
        done = subprocess.run(
            line, cwd=self.directory, capture_output=True, text=True, env=environment(), stdin=subprocess.DEVNULL
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout.strip()

    def commit(self, message: str = "a change", *options: str) -> str:
        """Commit everything; the commit."""
        self("add", "--all")
        self("commit", "--quiet", "--allow-empty", "--message", message, *options)
        return self("rev-parse", "HEAD")

    def sign_with(self, key: Path, allowed: Path) -> None:
        """Have commits and tags signed by an SSH key, and believe those that *allowed* names."""
        self("config", "gpg.format", "ssh")
        self("config", "user.signingkey", str(key))
        self("config", "gpg.ssh.allowedSignersFile", str(allowed))


class Hg:
    """A repository in *directory*, made where there is none."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        if not (directory / ".hg").exists():
            directory.mkdir(parents=True, exist_ok=True)
            self("init")

    def __call__(self, *words: str) -> str:
        """Run `hg WORDS`; what it says."""
        line = ["hg", "--config", "ui.username=Test <test@example.com>", *words]
        done = subprocess.run(
            line, cwd=self.directory, capture_output=True, text=True, env=environment(), stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def commit(self, message: str = "a change") -> str:
        """Commit everything; the commit."""
        self("addremove", "--quiet")
        self("commit", "--quiet", "--message", message)
        return self("log", "--rev=.", "--template={node}")


class Svn:
    """A repository in a directory, and a working copy of its trunk with what lies in *directory* already."""

    def __init__(self, directory: Path, repository: Path) -> None:
        self.directory = directory
        self.url = f"file://{repository}"
        subprocess.run(["svnadmin", "create", repository], check=True)
        for name in ("trunk", "tags"):
            self("mkdir", "--quiet", "-m", name, f"{self.url}/{name}")
        self("checkout", "--quiet", "--force", f"{self.url}/trunk", ".")

    def __call__(self, *words: str) -> str:
        """Run `svn WORDS`; what it says."""
        line = ["svn", "--non-interactive", *words]
        around = {**environment(), "LC_ALL": "C.UTF-8"}
        done = subprocess.run(
            line, cwd=self.directory, capture_output=True, text=True, env=around, stdin=subprocess.DEVNULL
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def commit(self, message: str = "a change") -> str:
        """Commit everything, and update; the revision."""
        self("add", "--quiet", "--force", ".")
        for line in self("status").splitlines():
            path = line[8:]
            if line.startswith("!"):
                self("remove", "--quiet", f"{path}@")
            elif line.startswith("A"):
                continue  # svn has looked whether it is executable
            elif not (self.directory / path).is_symlink() and (self.directory / path).is_file():
                wanted = os.access(self.directory / path, os.X_OK)
                self("propset" if wanted else "propdel", "--quiet", "svn:executable", *["*"][:wanted], f"{path}@")
        self("commit", "--quiet", "--message", message)
        self("update", "--quiet")
        return self("info", "--show-item=revision", "--no-newline")


def environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "HG"))}
    return {**kept, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "HGRCPATH": ""}


def listing(release: Path) -> dict[str, tuple[str, int, bytes]]:
    """Everything in a release but what every release gets: kind, mode, and content or target."""
    found = {}
    for directory, names, files in os.walk(release):
        for name in [*names, *files]:
            path = Path(directory) / name
            inner = str(path.relative_to(release))
            if inner in (".venv", ".release.json"):
                continue
            if path.is_symlink():
                found[inner] = ("link", 0, os.fsencode(path.readlink()))
            elif path.is_dir():
                found[inner] = ("directory", path.stat().st_mode & 0o7777, b"")
            else:
                found[inner] = ("file", path.stat().st_mode & 0o7777, path.read_bytes())
    return found
