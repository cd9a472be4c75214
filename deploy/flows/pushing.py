"""The code into a new release on every host; nothing that serves is touched."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ..config import relative_to
from ..errors import DeployError, StagingFailed, as_kind, combine
from ..fleet import parallel
from ..fleet.lock import whoami
from ..host.connection import Host
from ..source import rsync, stream
from ..source.snapshot import Snapshot, take
from .run import Run


def snapshot(run: Run) -> Snapshot:
    """The code as it lies here now."""
    settings = run.settings
    root = relative_to(run.directory, settings.source.path).resolve()
    return take(root, settings.source.exclude, [*settings.shared.files, *settings.shared.dirs])


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
    return {
        "app": run.settings.app,
        "stage": run.stage,
        "revision": code.revision,
        "by": f"{who['user']}@{who['host']}",
        "shared": shared(run),
    }


def shared(run: Run) -> dict[str, list[str]]:
    return {"files": list(run.settings.shared.files), "dirs": list(run.settings.shared.dirs)}


def push(run: Run, code: Snapshot, identifier: str) -> None:
    """Push *code* to all hosts of the run as release *identifier*.

    :raises StagingFailed: it did not arrive whole on some host; nothing partial is left on any that is in reach.
    """
    local = run.settings.source.strategy != "stream" and rsync.available()
    if run.settings.source.strategy == "rsync" and not local:
        raise StagingFailed(
            "there is no rsync 3 on this machine", hint="install it, or set deploy.source.strategy: auto"
        )
    without = [host.name for host in run.hosts if not run.facts[host]["tools"]["rsync"]]
    if run.settings.source.strategy == "auto" and (without or not local):
        where = ", ".join(without) if local else "this machine"
        run.report.say(f"no rsync on {where}: the code goes there over the connection itself")
    _, failures = parallel.attempt(run.hosts, lambda host: _push(run, host, code, identifier, local))
    if failures:
        discard(run, run.hosts, identifier)
        raise combine([as_kind(StagingFailed, error) for error in failures.values()])


def _push(run: Run, host: Host, code: Snapshot, identifier: str, rsync_here: bool) -> None:
    with run.report.step("push", host.name) as step:
        with_rsync = rsync_here and bool(run.facts[host]["tools"]["rsync"])
        if run.settings.source.strategy == "rsync" and not with_rsync:
            raise StagingFailed(
                "there is no rsync on the host", where=host.name, hint="set deploy.source.strategy: auto"
            )
        if with_rsync:
            begun = host.call("begin", identifier=identifier)
            sent = rsync.push(host, code, begun["partial"], begun["reference"])
            if not _finish(run, host, code, identifier):
                # Same size and time, other content: rsync's quick look cannot tell; now it reads every file.
                sent += rsync.push(host, code, begun["partial"], begun["reference"], checksum=True)
                _finish(run, host, code, identifier, last=True)
        else:
            begun = host.call("link_known", identifier=identifier, entries=[list(item) for item in code.entries])
            sent = stream.push(host, code, identifier, begun["missing"])
            _finish(run, host, code, identifier, last=True)
        step.outcome = f"pushed {identifier}: {_size(sent)} sent of {_size(code.size)}"


def _finish(run: Run, host: Host, code: Snapshot, identifier: str, *, last: bool = False) -> bool:
    result = host.call(
        "finish_push", identifier=identifier, digest=code.digest, shared=shared(run), record=record(run, code)
    )
    if last and not result["verified"]:
        raise StagingFailed(
            "what arrived is not what was sent",
            where=host.name,
            hint="did the code change while it was pushed? deploy again",
        )
    return bool(result["verified"])


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
