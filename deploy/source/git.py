"""The git strategy: a commit looked up, verified and laid out here, and its objects sent to hosts. Fetches nothing."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import BuildError, CheckFailed, ConfigurationError, StagingFailed
from ..host.connection import Host
from ..host.relay import relay
from . import command, lfs
from .commit import Commit, Exported

REFS = "refs/deploy/"

# Pointers stay pointers, whether git-lfs is installed here or not: `lfs` resolves them, from this disk alone.
_NO_LFS = ("-c", "filter.lfs.smudge=", "-c", "filter.lfs.process=", "-c", "filter.lfs.required=false")


@dataclass(frozen=True, slots=True)
class _Repository:
    """A git directory, and the top of its working tree where it has one here."""

    directory: Path
    top: Path | None

    def git(self, *arguments: str, content: bytes = b"", index: Path | None = None, tree: Path | None = None) -> bytes:
        work = [f"--work-tree={tree}"] if tree else []
        line = ["git", *_NO_LFS, f"--git-dir={self.directory}", *work, *arguments]
        more = {"GIT_INDEX_FILE": str(index)} if index else {}
        return command.run(line, directory=tree or self.directory, more=more, content=content)

    def has(self, commit: str) -> bool:
        line = ["git", f"--git-dir={self.directory}", "cat-file", "-e", f"{commit}^{{commit}}"]
        return command.attempt(line, directory=self.directory).returncode == 0


def look_up(root: Path, revision: str) -> Commit:
    """The commit that *revision* names in the repository that *root* lies in; '' for what is checked out.

    :raises ConfigurationError: there is no git, no repository, or no such commit.
    """
    command.assert_installed("git")
    top, prefix = _place(root)
    if revision.startswith("-"):
        raise ConfigurationError(f"{revision!r} is no revision", where="--revision")
    found = command.attempt(
        ["git", "rev-parse", "--verify", "--quiet", f"{revision or 'HEAD'}^{{commit}}"], directory=root
    )
    if found.returncode:
        if not revision:
            raise ConfigurationError("there is no commit yet", where=str(top), hint="commit, then deploy")
        raise ConfigurationError(
            f"{revision!r} names no commit of {top}",
            where="--revision",
            output=command.said(found),
            hint="git tag and git branch --all show what is here; what others pushed comes with git fetch --tags",
        )
    full = found.stdout.decode().strip()
    short = command.run(["git", "rev-parse", "--short=7", full], directory=root).decode().strip()
    time = int(command.run(["git", "show", "--no-patch", "--no-show-signature", "--format=%ct", full], directory=root))
    if prefix:
        kind = command.attempt(["git", "cat-file", "-t", f"{full}:{prefix}"], directory=root)
        if kind.stdout.strip() != b"tree":
            raise ConfigurationError(f"{short} has no directory {prefix}", where="deploy.source.path")
    return Commit("git", top, prefix, full, short, revision, time)


def _place(root: Path) -> tuple[Path, str]:
    if not root.is_dir():
        raise ConfigurationError("is not a directory", where=f"deploy.source.path: {root}")
    found = command.attempt(["git", "rev-parse", "--show-toplevel", "--show-prefix"], directory=root)
    if found.returncode:
        raise ConfigurationError(
            "is in no git repository that can be read",
            where=f"deploy.source.path: {root}",
            output=command.said(found),
            hint="git init and commit, or set deploy.source.strategy: auto",
        )
    top, prefix = os.fsdecode(found.stdout).split("\n")[:2]
    return Path(top), prefix.rstrip("/")


def is_checked_out(root: Path, commit: Commit) -> bool:
    """Whether what lies below *root* is *commit*, changes aside."""
    head = command.attempt(["git", "rev-parse", "--verify", "--quiet", "HEAD"], directory=root)
    return head.stdout.decode().strip() == commit.id


def uncommitted(root: Path, commit: Commit) -> int:
    """How many files below *root* are not as they are in *commit*, if that is what is checked out; else 0."""
    if not is_checked_out(root, commit):
        return 0
    line = ["git", "status", "--porcelain", "-z", "--no-renames", "--untracked-files=normal", "--", "."]
    return command.run(line, directory=root).count(b"\0")


def assert_signed(commit: Commit) -> str:
    """Verify the signature of the tag that was asked for, or of the commit itself; what git says of it.

    :raises CheckFailed: neither has a signature that verifies.
    """
    heard = []
    for verb, name in (("verify-tag", commit.asked), ("verify-commit", commit.id)):
        if verb == "verify-tag" and not _is_tag(commit):
            continue
        result = command.attempt(["git", verb, name], directory=commit.top)
        if result.returncode == 0:
            return command.said(result)
        heard.append(command.said(result) or f"{verb.removeprefix('verify-')} {name} has no signature")
    raise CheckFailed(
        f"commit {commit.label} has no signature that verifies (deploy.source.verify: signed); no host was touched",
        where=str(commit.top),
        output="\n".join(heard),
        hint="git commit -S or git tag -s signs; for SSH keys git wants gpg.ssh.allowedSignersFile",
    )


def _is_tag(commit: Commit) -> bool:
    if not commit.asked:
        return False
    kind = command.attempt(["git", "cat-file", "-t", commit.asked], directory=commit.top)
    return kind.stdout.strip() == b"tag"


def export(commit: Commit, directory: Path) -> Exported:
    """Lay the commit out in *directory*, as a fresh checkout has it, with its submodules and the files of Git LFS.

    :raises BuildError: git cannot.
    """
    place = command.run(["git", "rev-parse", "--absolute-git-dir"], directory=commit.top)
    repository = _Repository(Path(os.fsdecode(place).rstrip("\n")), commit.top)
    kept: dict[str, str] = {}
    lacking: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="deploy-index-") as folder:
        _export(repository, commit.id, directory, "", Path(folder), kept, lacking)
    return Exported(directory, kept, lacking)


def _export(
    repository: _Repository,
    commit: str,
    directory: Path,
    start: str,
    folder: Path,
    kept: dict[str, str],
    lacking: dict[str, str],
) -> None:
    index = folder / hashlib.sha256(start.encode(errors="surrogateescape")).hexdigest()
    repository.git("read-tree", commit, index=index)
    listed = repository.git("ls-files", "--stage", "-z", index=index)
    repository.git("checkout-index", "--all", "--force", index=index, tree=directory)
    entries = list(_entries(listed))
    candidates = [path for mode, _, path in entries if mode.startswith("100") and lfs.pointer(directory / path)]
    for path in _tracked_by_lfs(repository, candidates, index, directory):
        problem = lfs.resolve(directory / path, repository.directory, repository.top / path if repository.top else None)
        if problem:
            lacking[start + path] = problem
    for mode, oid, path in entries:
        if mode == "160000":
            _export_submodule(repository, commit, oid, path, directory, start, folder, lacking)
        elif not start and mode.startswith("100"):
            kept[path] = oid


def _entries(listed: bytes) -> Iterator[tuple[str, str, str]]:
    for line in listed.split(b"\0")[:-1]:
        words, _, path = line.partition(b"\t")
        mode, oid, _stage = words.decode().split()
        yield mode, oid, os.fsdecode(path)


def _tracked_by_lfs(repository: _Repository, paths: Iterable[str], index: Path, directory: Path) -> Iterator[str]:
    content = b"".join(os.fsencode(path) + b"\0" for path in paths)
    if not content:
        return
    told = repository.git(
        "check-attr", "--cached", "--stdin", "-z", "filter", content=content, index=index, tree=directory
    )
    fields = told.split(b"\0")
    for path, value in zip(fields[0::3], fields[2::3], strict=False):
        if value == b"lfs":
            yield os.fsdecode(path)


def _export_submodule(
    repository: _Repository,
    commit: str,
    oid: str,
    path: str,
    directory: Path,
    start: str,
    folder: Path,
    lacking: dict[str, str],
) -> None:
    target = directory / path
    target.mkdir(parents=True, exist_ok=True)
    clones = list(_clones(repository, commit, path))
    for clone in clones:
        if clone.has(oid):
            # What a submodule keeps is not in the repository that is pushed.
            _export(clone, oid, target, f"{start}{path}/", folder, {}, lacking)
            return
    why = f"has not got its commit {oid[:7]}" if clones else "is not initialised"
    lacking[start + path] = f"is a submodule that {why}: git submodule update --init --recursive"


def _clones(repository: _Repository, commit: str, path: str) -> Iterator[_Repository]:
    """Where the clone of a submodule may be: in the working tree, or kept from a former checkout."""
    if repository.top and (repository.top / path / ".git").exists():
        top = repository.top / path
        found = command.attempt(["git", "rev-parse", "--absolute-git-dir"], directory=top)
        if found.returncode == 0:
            yield _Repository(Path(os.fsdecode(found.stdout).rstrip("\n")), top)
    line = ["git", f"--git-dir={repository.directory}", "config", "--blob", f"{commit}:.gitmodules", "-z"]
    named = command.attempt([*line, "--get-regexp", r"^submodule\..*\.path$"], directory=repository.directory)
    common = command.run(
        ["git", f"--git-dir={repository.directory}", "rev-parse", "--git-common-dir"], directory=repository.directory
    )
    modules = (repository.directory / os.fsdecode(common).rstrip("\n")).resolve() / "modules"
    for line_ in named.stdout.split(b"\0")[:-1]:
        key, _, value = os.fsdecode(line_).partition("\n")
        name = key.removeprefix("submodule.").removesuffix(".path")
        # A name is the word of whoever wrote the commit.
        if value == path and ".." not in name.split("/") and (modules / name / "HEAD").is_file():
            yield _Repository(modules / name, None)


def keeps(path: Path, name: str) -> bool:
    """Whether the content of *path* is what the repository calls *name*."""
    return _blob_id(path, len(name)) == name


def _blob_id(path: Path, length: int) -> str:
    """What git calls the content of a file.

    :param length: of the repository's names, in hexadecimal digits: 40 for SHA-1, 64 for SHA-256.
    """
    digest = hashlib.sha256() if length == 64 else hashlib.sha1(usedforsecurity=False)
    with path.open("rb") as stream:
        digest.update(b"blob %d\0" % os.fstat(stream.fileno()).st_size)
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def form(commit: Commit) -> str:
    """``sha1`` or ``sha256``: repositories of different formats cannot talk to each other."""
    return "sha256" if len(commit.id) == 64 else "sha1"


def send(host: Host, commit: Commit, path: str, identifier: str, tool: str) -> int:
    """Send the objects of *commit* that *host* lacks into its repository at *path*; the bytes that were sent.

    `send-pack` and not `push`: it knows no hooks, no rewritten URLs, and leaves the local repository as it is.

    :param tool: the host's git.
    :raises StagingFailed: git could not.
    """
    receive = [
        "sh", "-c", 'umask 022; exec "$0" "$@"', tool,
        "-c", "receive.shallowUpdate=true", "-c", "receive.autogc=false", "-c", "core.hooksPath=/dev/null",
        "receive-pack", path,
    ]  # fmt: skip
    with relay(host, receive) as rides:
        more = {"GIT_SSH_COMMAND": rides.shell, "GIT_SSH_VARIANT": "simple", "GIT_ALLOW_PROTOCOL": "ssh"}
        line = ["git", "send-pack", "--thin", "--no-signed", "--quiet", "host:repo"]
        result = _started([*line, f"{commit.id}:{REFS}{identifier}"], commit.top, more)
        if result.returncode:
            if rides.error is not None:
                raise rides.error
            raise StagingFailed(
                f"git could not send commit {commit.short} (exit {result.returncode})",
                where=host.name,
                output=command.said(result),
            )
        return rides.sent


def _started(line: list[str], directory: Path, more: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    try:
        return command.attempt(line, directory=directory, more=more)
    except BuildError as error:
        raise StagingFailed(error.what, where=error.where) from None
