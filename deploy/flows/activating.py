"""The switch: `current` to the release, restart, health and proof; back to the former release where that fails."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from ..errors import DeployError, Interrupted, NotRolledBack, RolledBack, because, combine
from ..fleet import parallel
from ..host.connection import Host
from . import hooking, removing
from .restarting import look, restart, restart_and_look
from .run import Run

Releases = Mapping[Host, str]


def activate(run: Run, releases: Releases) -> None:
    """Switch, restart and look, on all hosts in parallel; all go back if one fails.

    :raises RolledBack: it failed, the former releases serve again.
    :raises NotRolledBack: it failed, and some host could not be brought back.
    """
    try:
        _switch_and_restart(run, releases)
    except (KeyboardInterrupt, Interrupted) as interrupt:
        run.report.warn("interrupted while activating: going back to the former release")
        told = revert(run, releases, DeployError("interrupted"))
        raise Interrupted(f"interrupted; {told}") from interrupt
    except DeployError as cause:
        raise gone_back(run, releases, cause) from None


def gone_back(run: Run, releases: Releases, cause: DeployError) -> DeployError:
    """Bring all hosts back from *releases*; what to tell of it.

    :raises NotRolledBack: some host could not be brought back.
    """
    run.report.warn("going back to the former release")
    told = revert(run, releases, cause)
    kept = f"the failed release is kept for inspection ({', '.join(sorted(set(releases.values())))})"
    return because(RolledBack, f"{cause.what}; {told}", cause, hint=kept)


def _switch_and_restart(run: Run, releases: Releases) -> None:
    hosts = list(releases)
    if hooking.any_at(run, "after_activate", "before_restart"):
        parallel.each(hosts, lambda host: switch(run, host, releases[host]))
        hooking.reach(run, "after_activate", releases, DeployError)
        _restart_with_hooks(run, releases)
        return
    parallel.each(hosts, lambda host: _activate_one(run, host, releases[host]))
    if served := _served(run, releases):
        hooking.reach(run, "after_restart", served, DeployError)


def _restart_with_hooks(run: Run, releases: Releases) -> None:
    if served := _served(run, releases):
        hooking.reach(run, "before_restart", served, DeployError)
    parallel.each(list(releases), lambda host: restart_and_look(run, host, releases[host]))
    if served:
        hooking.reach(run, "after_restart", served, DeployError)


def _served(run: Run, releases: Releases) -> Releases:
    """Those of the hosts that have a service to restart."""
    return {host: release for host, release in releases.items() if run.service(host)}


def _activate_one(run: Run, host: Host, release: str) -> None:
    switch(run, host, release)
    restart_and_look(run, host, release)


def reboot(run: Run, live: Releases, unproven: Releases) -> None:
    """Restart and look, on all hosts in parallel.

    :param unproven: of *live*, the releases that never were good: these go back where it fails.
    """
    try:
        _restart_with_hooks(run, live)
    except Interrupted:
        raise
    except DeployError as cause:
        if not unproven:
            stays = f"the live release was good before, so it stays; {run.fab('rollback')} goes to the one before it"
            raise because(NotRolledBack, cause.what, cause, hint=stays) from None
        told = revert(run, unproven, cause)
        raise because(RolledBack, f"{cause.what}; {told}", cause) from None


def switch(run: Run, host: Host, release: str) -> None:
    """Point `current` at *release*; nothing is restarted."""
    with run.report.step("activate", host.name) as step:
        host.call("activate", identifier=release)
        step.outcome = f"current is {release}"


def revert(run: Run, releases: Releases, cause: DeployError) -> str:
    """Bring every host back to what served before; what was done, in words.

    :param cause: why.
    :raises NotRolledBack: some host could not be brought back.
    """
    done, failures = parallel.attempt(list(releases), lambda host: _revert_one(run, host, releases[host], cause.line))
    if failures:
        second = combine(list(failures.values()))
        back = (because(DeployError, f"going back: {each.what}", each) for each in second.parts or (second,))
        raise NotRolledBack(
            "the former release could not be brought back",
            hint=f"look at it with {run.fab('status')}, then {run.fab('deploy')} or {run.fab('rollback')}",
            parts=(*(cause.parts or (cause,)), *back),
        )
    return "the former release serves again" if any(done.values()) else "the former release serves on"


def _revert_one(run: Run, host: Host, release: str, reason: str) -> bool:
    """Whether *host* had to be switched back."""
    with run.report.step("roll back", host.name) as step:
        records = host.call("records")
        judge_bad = ("judge", {"identifier": release, "verdict": "bad", "reason": reason})
        if records["live"] != release:
            if release in records["releases"]:
                host.batch([judge_bad])
            return False
        former = _former(run, host, release) or records["rollback"]
        host.batch([judge_bad])
        if not former:
            raise DeployError("there is no former release to go back to", where=host.name)
        host.call("activate", identifier=former)
        restart(run, host, former, insist=True)
        look(run, host, former)
        host.call("judge", identifier=former, verdict="good", reason="")
        step.outcome = f"back on {former}"
        return True


def _former(run: Run, host: Host, release: str) -> str:
    """What served when the run began, if it may be gone back to."""
    facts = run.facts.get(host, {})
    live = facts.get("live", "")
    state = facts.get("releases", {}).get(live, {}).get("state", "")
    return live if live != release and state in ("live", "good") else ""


def settle(run: Run, releases: Releases, entry: dict[str, Any], *, clean: bool) -> None:
    """Record that the releases are good, write the journal, clean up. None of it may fail what was deployed."""

    # With one host, the lock that lies on it is let go of in the same round trip, if no hook follows.
    free = not hooking.any_at(run, "after_deploy", "after_rollback")
    last = run.lock.last_request() if run.lock and free and list(releases) == [run.primary] else []

    def finish(host: Host) -> None:
        release = releases[host]
        judged = ("judge", {"identifier": release, "verdict": "good", "reason": ""})
        noted = ("journal", {"entry": {**entry, "release": release, "outcome": "good"}})
        with run.report.step("clean up", host.name) as step:
            wiped = [("cleanup", {"keep": run.settings.keep_releases})] if clean else []
            results = host.batch([judged, noted, *wiped, *last])
            if clean:
                step.outcome = _removed(run, host, results[2])

    _, failures = parallel.attempt(list(releases), finish)
    if last and not failures and run.lock:
        run.lock.was_released()
    for host, error in failures.items():
        run.report.warn(f"the release serves, but cleaning up failed: {error.what}", host.name)


def cleanup(run: Run, host: Host) -> str:
    """Remove old releases, venvs and wheels of one host; in words, '' where nothing went."""
    return _removed(run, host, host.call("cleanup", keep=run.settings.keep_releases, thorough=True))


def put_away(run: Run) -> None:
    """Clean up where a run that died left something, and nothing else is to be done."""
    hosts = [host for host in run.hosts if run.facts[host]["unfinished"]]

    def clean(host: Host) -> None:
        with run.report.step("clean up", host.name) as step:
            step.outcome = cleanup(run, host) or "removed what an earlier run left unfinished"

    parallel.attempt(hosts, clean)


def _removed(run: Run, host: Host, gone: dict[str, Any]) -> str:
    if gone["problem"]:
        run.report.warn(f"not all could be cleaned up: {gone['problem']}", host.name)
    finished = removing.finish(run, host, gone["left"])
    kinds = ("releases", "venvs", "wheels")
    parts = [
        f"{count} {kind.rstrip('s') if count == 1 else kind}" for kind in kinds if (count := len(gone.get(kind, ())))
    ]
    if freed := int(gone.get("repository", 0)) >> 20:
        parts.append(f"{freed} MiB of the repository")
    parts += [finished] if finished else []
    return f"removed {', '.join(parts)}" if parts else ""


def record_failure(run: Run, entry: dict[str, Any], error: BaseException) -> None:
    """A line in the journal of each host that can be reached."""
    told = error.line if isinstance(error, DeployError) else str(error)
    line = {**entry, "outcome": type(error).__name__, "error": told}

    def write(host: Host) -> None:
        with contextlib.suppress(DeployError):
            host.call("journal", entry=line)

    parallel.attempt(run.hosts, write)
