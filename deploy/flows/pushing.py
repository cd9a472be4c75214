"""The code into a new release on every host; nothing that serves is touched."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ..config import relative_to
from ..errors import ConfigurationError, ConnectionFailed, DeployError, StagingFailed, as_kind, combine
from ..fleet import parallel
from ..fleet.lock import whoami
from ..host.connection import Host
from ..host.session import HostFailure
from ..hostside import tree
from ..source import outputs, rsync, stream
from ..source.commit import Commit
from ..source.snapshot import Snapshot, files, listed, shown, take
from ..source.snapshot import revision as commit_of
from . import committed
from .run import Run

STREAM_AT_MOST = 1 << 15
"""Bytes that go quicker in one stream than by rsync, which needs six round trips for whatever it sends."""

CHANGES_KEPT = 50
"""Names of uncommitted files that a release's record holds."""


def snapshot(run: Run) -> Snapshot:
    """The code: as it lies here now, or as it is in a commit.

    :raises ConfigurationError: there is no such code.
    :raises CheckFailed: it is not signed, and it has to be.
    """
    settings = run.settings
    if run.options.source:
        return _handed_over(run)
    if settings.source.committed:
        return committed.snapshot(run)
    if run.options.revision:
        raise ConfigurationError(
            f"only what lies here can be deployed with deploy.source.strategy: {settings.source.strategy}",
            where="--revision",
            hint="set it to git, hg or svn",
        )
    root = relative_to(run.directory, settings.source.path).resolve()
    built = outputs.below(root, run.directory, outputs.outputs(settings))
    shared = [*settings.shared.files, *settings.shared.dirs]
    return take(root, settings.source.exclude, shared, built, gitignore=settings.source.gitignore)


def _handed_over(run: Run) -> Snapshot:
    """The directory of ``--from``: what was built is in it, or is not meant to travel."""
    source, where = run.settings.source, f"--from {shown(run.options.source)}"
    if source.committed or run.options.revision:
        what = "--revision" if run.options.revision else f"deploy.source.strategy: {source.strategy}"
        raise ConfigurationError(
            f"a directory cannot be pushed with {what}, which takes the code from a repository",
            where=where,
            hint="set deploy.source.strategy: auto for the stage, or leave --from out",
        )
    root = Path(run.options.source).expanduser().resolve()
    if not root.is_dir():
        what = "is a file, not a directory" if root.exists() else "there is no such directory"
        raise ConfigurationError(what, where=where, hint="unpack it first" if root.exists() else "")
    shared = [*run.settings.shared.files, *run.settings.shared.dirs]
    return take(root, source.exclude, shared, gitignore=source.gitignore)


def tell(run: Run, code: Snapshot) -> None:
    """Say what travels that no commit holds."""
    if code.changes:
        names = listed([shown(path) for path in code.changes])
        run.report.say(f"not committed: {files(len(code.changes))}: {names}")
    if code.doubt:
        run.report.warn(f"the revision is not known: {code.doubt}")


def revision(run: Run) -> str:
    """The commit that would be pushed now, '' where there is none: for what runs before there is a snapshot.

    :raises ConfigurationError: the command line names none.
    """
    if run.options.source:
        return commit_of(Path(run.options.source).expanduser())
    if run.settings.source.committed:
        return committed.commit(run).short
    return commit_of(relative_to(run.directory, run.settings.source.path).resolve())


def new_identifier(run: Run, code: Snapshot) -> str:
    """A name that no host of the run knows: UTC time and short revision."""
    known = {name for facts in run.facts.values() for name in facts["releases"]}
    moment = datetime.now(UTC)
    while True:
        name = f"{moment:%Y%m%dT%H%M%SZ}-{code.short}"
        if not any(other.startswith(name[:16]) for other in known):
            return name
        moment += timedelta(seconds=1)


def record(run: Run, code: Snapshot) -> dict[str, Any]:
    """What a host remembers of a release."""
    who = whoami()
    commit = code.commit
    return {
        "app": run.settings.app,
        "stage": run.stage,
        "revision": code.revision,
        **({"commit": commit.id, "asked": commit.asked, "source": commit.kind} if commit else {}),
        "by": f"{who['user']}@{who['host']}",
        "shared": shared(run),
        # How many files no commit held, and the names of some.
        **({"changes": {"count": len(code.changes), "names": code.changes[:CHANGES_KEPT]}} if code.changes else {}),
    }


def shared(run: Run) -> dict[str, list[str]]:
    return {"files": list(run.settings.shared.files), "dirs": list(run.settings.shared.dirs)}


def push(run: Run, code: Snapshot, identifier: str) -> None:
    """Push *code* to all hosts of the run as release *identifier*.

    :raises StagingFailed: it did not arrive whole on some host; nothing partial is left on any that is in reach.
    """
    way = choose(run)
    _, failures = parallel.attempt(run.hosts, lambda host: push_one(run, host, code, identifier, way))
    if failures:
        discard(run, run.hosts, identifier)
        raise combine([as_kind(StagingFailed, error) for error in failures.values()])


@dataclass(frozen=True, slots=True)
class Way:
    """How code goes to hosts.

    :ivar strategy: as configured.
    :ivar rsync: whether this machine has one.
    """

    strategy: str
    rsync: bool


def choose(run: Run) -> Way:
    """Look for rsync, and tell the user once where it is lacking.

    :raises StagingFailed: it is demanded and this machine has none.
    """
    strategy = run.settings.source.strategy
    here = strategy != "stream" and rsync.available()
    if strategy == "rsync" and not here:
        raise StagingFailed(
            "there is no rsync 3 on this machine", hint="install it, or set deploy.source.strategy: auto"
        )
    if run.settings.source.committed:
        if told := other_way(run):
            run.report.say(told)
        return Way(strategy, here)
    lacking = without(run, "rsync")
    if strategy == "auto" and (lacking or not here):
        where = ", ".join(lacking) if here else "this machine"
        run.report.say(f"no rsync on {where}: the code goes there over the connection itself")
    return Way(strategy, here)


def carried(run: Run, host: Host, commit: Commit) -> bool:
    """Whether *commit* goes into a repository on *host*; else its files go there as they are."""
    return committed.carrier(commit) is not None and bool(run.facts[host]["tools"].get(commit.kind))


def other_way(run: Run) -> str:
    """Where a commit cannot go as such, and how it goes there; '' where it can go everywhere."""
    strategy = run.settings.source.strategy
    lacking = without(run, strategy) if strategy in ("git", "hg") else []
    return f"no {strategy} on {', '.join(lacking)}: the files of the commit go there as they are" if lacking else ""


def without(run: Run, tool: str) -> list[str]:
    """The hosts that have no *tool*."""
    return [host.name for host in run.hosts if not run.facts[host]["tools"].get(tool)]


def push_one(
    run: Run,
    host: Host,
    code: Snapshot,
    identifier: str,
    way: Way,
    behind: Callable[[], None] = lambda: None,
) -> None:
    """Push *code* to one host.

    :param behind: called when the last request is on its way, to send another one behind it.
    :raises HostFailure, StagingFailed: it did not arrive whole.
    """
    with run.report.step("push", host.name) as step:
        both = way.rsync and bool(run.facts[host]["tools"]["rsync"])
        if way.strategy == "rsync":
            if not both:
                raise StagingFailed(
                    "there is no rsync on the host", where=host.name, hint="set deploy.source.strategy: auto"
                )
            sent = _by_rsync(run, host, code, identifier, behind)
        elif code.commit and carried(run, host, code.commit):
            sent = _by_commit(run, host, code, code.commit, identifier, behind, with_rsync=both)
        else:
            sent = _what_is_missing(run, host, code, identifier, behind, with_rsync=both)
        step.outcome = f"pushed {identifier}: {_size(sent)} sent of {_size(code.size)}"


def _by_rsync(run: Run, host: Host, code: Snapshot, identifier: str, behind: Callable[[], None]) -> int:
    begun = host.call("begin", identifier=identifier)
    sent = rsync.push(host, code, begun["partial"], begun["reference"])
    finish = _finish(run, code, identifier)
    asked = host.ask([finish])
    behind()
    if not host.answer(asked)[0]["verified"]:
        # Same size and time, other content: rsync's quick look cannot tell; now it reads every file.
        sent += rsync.push(host, code, begun["partial"], begun["reference"], checksum=True)
        asked = host.ask([finish])
        behind()
        _assert_verified(host, host.answer(asked)[0])
    return sent


def _what_is_missing(
    run: Run, host: Host, code: Snapshot, identifier: str, behind: Callable[[], None], *, with_rsync: bool
) -> int:
    """The host links what it has by content and says what it lacks: little goes in one stream, much by rsync."""
    begun = host.call("link_known", identifier=identifier, entries=tree.pack(code.entries))
    missing = begun["missing"]
    sent = stream.size(code, missing)
    if with_rsync and sent > STREAM_AT_MOST:
        sent = rsync.push(host, code, begun["partial"], begun["reference"], only=missing)
        asked = host.ask([_finish(run, code, identifier)])
    else:
        operation, payload = stream.request(host, code, identifier, missing)
        asked = host.ask([operation, _finish(run, code, identifier)], payload)
    behind()
    _assert_verified(host, host.answer(asked)[-1])
    return sent


def _by_commit(
    run: Run,
    host: Host,
    code: Snapshot,
    commit: Commit,
    identifier: str,
    behind: Callable[[], None],
    *,
    with_rsync: bool,
) -> int:
    """The commit goes into the host's repository, and the release is made of that; a damaged one is filled anew."""
    try:
        return _through_repository(run, host, code, commit, identifier, behind, with_rsync=with_rsync)
    except ConnectionFailed:
        raise
    except (HostFailure, StagingFailed) as error:
        if isinstance(error, HostFailure) and error.kind != "repository":
            raise
        run.report.warn(f"{error.what}: the repository on the host is made anew", host.name)
    return _through_repository(run, host, code, commit, identifier, behind, with_rsync=with_rsync, anew=True)


def _through_repository(
    run: Run,
    host: Host,
    code: Snapshot,
    commit: Commit,
    identifier: str,
    behind: Callable[[], None],
    *,
    with_rsync: bool,
    anew: bool = False,
) -> int:
    carrier = committed.carrier(commit)
    assert carrier is not None
    opened = {"kind": commit.kind, "form": carrier.form(commit), "anew": anew}
    known = {"identifier": identifier, "entries": tree.pack(code.entries)}
    repository, begun = host.batch([("open_repository", opened), ("link_known", known)])
    sent = carrier.send(host, commit, repository["path"], identifier, run.facts[host]["tools"][commit.kind])
    missing = begun["missing"]
    # What the repository does not keep (submodules, Git LFS) goes beside it.
    beside = [path for path in missing if path not in code.kept]
    operations: list[tuple[str, dict[str, Any]]] = []
    payload: Iterable[bytes] = ()
    size = stream.size(code, beside)
    sent += size
    if with_rsync and size > STREAM_AT_MOST:
        sent += rsync.push(host, code, begun["partial"], begun["reference"], only=beside) - size
    elif beside:
        operation, payload = stream.request(host, code, identifier, beside)
        operations.append(operation)
    if filled := set(missing) & code.kept:
        paths = tree.pack(item for item in code.entries if item.path in filled)
        wanted = {"commit": commit.id, "prefix": commit.prefix, "paths": paths, "modified": commit.time}
        operations.append(("fill", {"identifier": identifier, **wanted}))
    asked = host.ask([*operations, _finish(run, code, identifier)], payload)
    behind()
    _assert_verified(host, host.answer(asked)[-1])
    return sent


def _finish(run: Run, code: Snapshot, identifier: str) -> tuple[str, dict[str, Any]]:
    return "finish_push", {
        "identifier": identifier,
        "digest": code.digest,
        "shared": shared(run),
        "record": record(run, code),
    }


def _assert_verified(host: Host, result: dict[str, Any]) -> None:
    if not result["verified"]:
        raise StagingFailed(
            "what arrived is not what was sent",
            where=host.name,
            hint="did the code change while it was pushed? deploy again",
        )


def discard(run: Run, hosts: Sequence[Host], identifier: str) -> None:
    """Remove a release that never served, from every host that can be reached."""

    def forget(host: Host) -> None:
        with contextlib.suppress(DeployError):
            host.call("discard", identifier=identifier)

    parallel.attempt(hosts, forget)


def _size(count: int) -> str:
    for unit, limit in (("B", 1 << 10), ("KiB", 1 << 20), ("MiB", 1 << 30)):
        if count < limit:
            return f"{count / (limit >> 10):.0f} {unit}" if unit == "B" else f"{count / (limit >> 10):.1f} {unit}"
    return f"{count / (1 << 30):.1f} GiB"
