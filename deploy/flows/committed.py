"""The code of a commit: looked up, verified, laid out here for the time of the run, and looked at as any other code."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

from ..config import relative_to
from ..errors import BuildError, ConfigurationError, StagingFailed
from ..source import git, hg, outputs, svn
from ..source.commit import Carrier, Commit, Exported, Versions
from ..source.snapshot import Snapshot, take
from .run import Run

_VERSIONS: dict[str, Versions] = {"git": git, "hg": hg, "svn": svn}
_CARRIERS: dict[str, Carrier] = {"git": git, "hg": hg}


def carrier(commit: Commit) -> Carrier | None:
    """What brings *commit* into a repository on a host; None where none can, and its files go as they are."""
    return _CARRIERS.get(commit.kind)


def _versions(run: Run) -> Versions:
    return _VERSIONS[run.settings.source.strategy]


def commit(run: Run) -> Commit:
    """The commit that the command line names, or that is checked out.

    :raises ConfigurationError: there is no such commit.
    """
    return _versions(run).look_up(_root(run), run.options.revision)


def assert_checked_out(run: Run) -> None:
    """What is built is built of the code that lies here: it has to be the commit that the command line names.

    :raises ConfigurationError: it is another one, or there is no such commit.
    """
    if not run.options.revision:
        return
    chosen, versions = commit(run), _versions(run)
    if not versions.is_checked_out(_root(run), chosen):
        lies = versions.look_up(_root(run), "").short
        raise ConfigurationError(
            f"deploy.build would build what is checked out here ({lies}), and {chosen.label} is to be deployed",
            where="--revision",
            hint=f"check {run.options.revision} out first, here or in a clone of its own, and deploy from there",
        )


def snapshot(run: Run) -> Snapshot:
    """The code as it is in the commit that the command line names, or that is checked out.

    From here on, the application's own files (its lock file) are those of the commit as well.

    :raises ConfigurationError: there is no such commit.
    :raises CheckFailed: its signature does not verify, and it has to.
    :raises BuildError: a part of it is not on this machine.
    """
    chosen = commit(run)
    if run.settings.source.verify == "signed":
        run.report.say(f"commit {chosen.label}: {_versions(run).assert_signed(chosen).splitlines()[0]}", "here")
    if count := _versions(run).uncommitted(_root(run), chosen):
        files = "1 file has changes that are" if count == 1 else f"{count} files have changes that are"
        run.report.warn(f"{files} not committed and do not travel: what is deployed is commit {chosen.label}")
    return _laid_out(run, chosen)


def use(run: Run, releases: list[str]) -> None:
    """Have the application's own files be those of the commit that *releases* were made of.

    :raises StagingFailed: that commit is not here, or the releases are of several.
    """
    known = {
        str(record["commit"])
        for facts in run.facts.values()
        for name, record in facts["releases"].items()
        if name in releases and record.get("commit")
    }
    if not known or run.committed is not None:
        return
    if len(known) > 1:
        raise StagingFailed("the hosts' releases are of different commits", hint=run.fab("push"))
    try:
        former = _versions(run).look_up(_root(run), known.pop())
    except ConfigurationError as error:
        raise StagingFailed(
            "the pushed release was made of a commit that is not in this repository, so its lock file is not known",
            output=str(error),
            hint=f"bring it here, or {run.fab('push')}",
        ) from None
    _laid_out(run, former)


def _root(run: Run) -> Path:
    return relative_to(run.directory, run.settings.source.path).resolve()


def _laid_out(run: Run, commit: Commit) -> Snapshot:
    directory = Path(run.closing.enter_context(tempfile.TemporaryDirectory(prefix="deploy-code-"))).resolve()
    exported = _versions(run).export(commit, directory)
    inside = Path(os.path.realpath(run.directory))
    if inside.is_relative_to(commit.top.resolve()):
        run.committed = directory / inside.relative_to(commit.top.resolve())
    if not (directory / commit.prefix).is_dir():
        raise ConfigurationError(f"commit {commit.label} has no directory {commit.prefix}", where="deploy.source.path")
    shared = run.settings.shared
    built = outputs.below(_root(run), run.directory, outputs.outputs(run.settings))
    outputs.lay_over(_root(run), directory / commit.prefix, built)
    taken = take(directory / commit.prefix, run.settings.source.exclude, [*shared.files, *shared.dirs], built)
    _assert_whole(commit, taken, exported)
    kept = _kept(commit, taken, exported, frozenset(built))
    # Wherever the temporary directory lies, what is in it is the commit.
    return replace(taken, revision=commit.short, commit=commit, kept=kept, changes=(), doubt="")


def _assert_whole(commit: Commit, taken: Snapshot, exported: Exported) -> None:
    names = {item.path for item in taken.entries}
    found = [(_within(commit, path), why) for path, why in exported.lacking.items()]
    problems = [f"{name} {why}" for name, why in found if name in names]
    if problems:
        raise BuildError(
            f"commit {commit.label} is not whole on this machine",
            where=str(commit.top),
            output="\n".join(problems),
            hint="or exclude it (deploy.source.exclude)",
        )


def _within(commit: Commit, path: str) -> str:
    return path.removeprefix(f"{commit.prefix}/") if commit.prefix else path


def _kept(commit: Commit, taken: Snapshot, exported: Exported, built: frozenset[str]) -> frozenset[str]:
    """The files whose content is what the repository keeps: a host can make them of it.

    What was not built just now gets the time of the commit.
    """
    start = f"{commit.prefix}/" if commit.prefix else ""
    kept = set()
    for item in taken.entries:
        if item.kind not in "fx":
            continue
        path = taken.root / item.path
        if item.path not in built:
            os.utime(path, (commit.time, commit.time))
        # Filters and line endings change what is checked out.
        name = exported.kept.get(start + item.path)
        if name is not None and _VERSIONS[commit.kind].keeps(path, name):
            kept.add(item.path)
    return frozenset(kept)
