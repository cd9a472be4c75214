"""The hg strategy: a commit looked up and laid out here, and its changesets sent to hosts. Pulls nothing."""

from __future__ import annotations

import filecmp
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import BuildError, ConfigurationError, StagingFailed
from ..host.connection import Host
from ..host.relay import relay
from . import command
from .commit import Commit, Exported

_EMPTY = "0" * 40
# They keep the content of files outside of the history, and fetch it when it is looked at.
_ELSEWHERE = ("largefiles", "lfs")


def look_up(root: Path, revision: str) -> Commit:
    """The commit that *revision* names in the repository that *root* lies in; '' for what is checked out.

    :raises ConfigurationError: there is no hg, no repository, or no such commit.
    """
    command.assert_installed("hg")
    if not root.is_dir():
        raise ConfigurationError("is not a directory", where=f"deploy.source.path: {root}")
    found = command.attempt(["hg", "root"], directory=root)
    if found.returncode:
        raise ConfigurationError(
            "is in no Mercurial repository that can be read",
            where=f"deploy.source.path: {root}",
            output=command.said(found),
            hint="hg init and commit, or set deploy.source.strategy: auto",
        )
    top = Path(os.fsdecode(found.stdout).rstrip("\n"))
    if revision.startswith("-"):
        raise ConfigurationError(f"{revision!r} is no revision", where="--revision")
    template = "{node}\\n{node|short}\\n{date|hgdate}\\n{phase}\\n"
    told = command.attempt(["hg", "log", f"--rev={revision or '.'}", "--template", template], directory=root)
    lines = told.stdout.decode(errors="replace").splitlines()
    if told.returncode or len(lines) != 4:
        raise ConfigurationError(
            f"{revision or '.'!r} names {'several commits' if len(lines) > 4 else 'no commit'} of {top}",
            where="--revision",
            output=command.said(told) if told.returncode else "",
            hint="hg tags, hg bookmarks and hg branches show what is here; what others pushed comes with hg pull",
        )
    full, short, moment, phase = lines
    if full == _EMPTY:
        raise ConfigurationError("there is no commit yet", where=str(top), hint="commit, then deploy")
    if phase == "secret":
        raise ConfigurationError(f"commit {short} is secret, and hg pushes none", hint=f"hg phase --draft {short}")
    prefix = os.path.relpath(root.resolve(), top.resolve())
    return Commit("hg", top, "" if prefix == "." else prefix, full, short, revision, int(moment.split()[0]))


def is_checked_out(root: Path, commit: Commit) -> bool:
    """Whether what lies below *root* is *commit*, changes aside; in the middle of a merge it is none."""
    parents = command.run(["hg", "log", "--rev=parents()", "--template", "{node}\\n"], directory=root)
    return parents.decode().split() == [commit.id]


def uncommitted(root: Path, commit: Commit) -> int:
    """How many files below *root* are not as they are in *commit*, if that is what is checked out; else 0."""
    if not is_checked_out(root, commit):
        return 0
    changed = ["--modified", "--added", "--removed", "--deleted", "--unknown"]
    return command.run(["hg", "status", *changed, "--print0", "."], directory=root).count(b"\0")


def assert_signed(commit: Commit) -> str:
    """:raises ConfigurationError: always; the configuration refuses it before."""
    raise ConfigurationError("signatures of hg are not verified", where="deploy.source.verify")


def export(commit: Commit, directory: Path) -> Exported:
    """Lay the commit out in *directory*, as a fresh checkout has it, with its subrepositories.

    :raises BuildError: hg cannot, or the repository keeps files elsewhere.
    """
    with tempfile.TemporaryDirectory(prefix="deploy-raw-") as raw:
        _archive(commit.top, commit.id, directory)
        kept = dict.fromkeys(_files(directory), "")
        if _changes_what_it_writes(commit.top):
            # What is kept is what a host gets: filters and line endings are this machine's.
            _archive(commit.top, commit.id, Path(raw), "--no-decode")
            kept = {path: "" for path in kept if filecmp.cmp(directory / path, Path(raw) / path, shallow=False)}
    lacking: dict[str, str] = {}
    _export_subrepositories(commit.top, directory, "", lacking)
    return Exported(directory, kept, lacking)


def _archive(top: Path, commit: str, directory: Path, *options: str) -> None:
    needs = set()
    for name in ("requires", "store/requires"):
        path = top / ".hg" / name
        needs.update(path.read_text().split() if path.is_file() else [])
    if elsewhere := sorted(needs.intersection(_ELSEWHERE)):
        raise BuildError(
            f"the repository keeps files outside of its history ({', '.join(elsewhere)}), which do not travel with it",
            where=str(top),
            hint="set deploy.source.strategy: auto, which sends what is checked out",
        )
    line = ["hg", "archive", f"--rev={commit}", "--type=files", "--config=ui.archivemeta=false", *options]
    result = command.attempt([*line, str(directory)], directory=top)
    # A commit without files is one line of complaint.
    if result.returncode and b"no files match" not in result.stderr:
        raise BuildError(f"hg archive failed (exit {result.returncode})", where=str(top), output=command.said(result))


def _files(directory: Path) -> Iterator[str]:
    for above, _, names in os.walk(directory):
        for name in names:
            path = Path(above) / name
            if not path.is_symlink():
                yield os.path.relpath(path, directory)


def _changes_what_it_writes(top: Path) -> bool:
    return any(
        command.attempt(["hg", "config", name], directory=top).stdout.strip() for name in ("decode", "extensions.eol")
    )


def _export_subrepositories(top: Path, directory: Path, start: str, lacking: dict[str, str]) -> None:
    state = directory / ".hgsubstate"
    if not state.is_file():
        return
    for line in state.read_text(errors="surrogateescape").splitlines():
        commit, _, path = line.partition(" ")
        inner = top / path
        target = directory / path
        if ".." in Path(path).parts or not path or Path(path).is_absolute():
            continue
        target.mkdir(parents=True, exist_ok=True)
        known = ["hg", "log", f"--rev={commit}", "--template", "{node}"]
        if not (inner / ".hg").is_dir() or command.attempt(known, directory=inner).returncode:
            # Empty directories do not travel with hg, so this one is looked for by its name.
            lacking[start + path] = f"is a subrepository whose commit {commit[:12]} is not here as one of hg: hg update"
            continue
        _archive(inner, commit, target)
        _export_subrepositories(inner, target, f"{start}{path}/", lacking)


def keeps(path: Path, name: str) -> bool:
    """Whether the repository keeps the content of *path*: :func:`export` names no others."""
    return True


def form(commit: Commit) -> str:
    """The repository's format: there is one."""
    return ""


def send(host: Host, commit: Commit, path: str, identifier: str, tool: str) -> int:
    """Send the changesets of *commit* that *host* lacks into its repository at *path*; the bytes that were sent.

    :param tool: the host's hg.
    :raises StagingFailed: hg could not.
    """
    # What is sent is laid down in a file first: in the repository, where it is nobody else's and there is room for it.
    serve = [
        "sh", "-c", 'umask 022; HGRCPATH= HGPLAIN=1 TMPDIR=$2; export HGRCPATH HGPLAIN TMPDIR; exec "$0" "$@"', tool,
        "-R", path, "serve", "--stdio",  # hg serves with these words alone
    ]  # fmt: skip
    with relay(host, serve) as rides, tempfile.TemporaryDirectory(prefix="deploy-share-") as folder:
        top = _without_subrepositories(commit.top, Path(folder) / "share")
        line = ["hg", "push", "--quiet", "--force", "--new-branch", f"--rev={commit.id}", f"--ssh={rides.shell}"]
        try:
            result = command.attempt([*line, "ssh://host/repo"], directory=top)
        except BuildError as error:
            raise StagingFailed(error.what, where=error.where) from None
        # 1: the host has it already.
        if result.returncode not in (0, 1) or rides.error is not None:
            if rides.error is not None:
                raise rides.error
            raise StagingFailed(
                f"hg could not send commit {commit.short} (exit {result.returncode})",
                where=host.name,
                output=command.said(result),
            )
        return rides.sent


def _without_subrepositories(top: Path, share: Path) -> Path:
    """*top*, or the same repository with nothing checked out: hg would push the subrepositories of what is."""
    if not (top / ".hgsubstate").exists():
        return top
    command.run(
        ["hg", "--config=extensions.share=", "share", "--noupdate", "--quiet", str(top), str(share)], directory=top
    )
    return share
