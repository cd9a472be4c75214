"""The switch of hosts at once: `current` to the release, restart, health and proof; and what is recorded of it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from ..errors import DeployError, Interrupted, NotRolledBack, RolledBack, because, combine
from ..fleet import parallel
from ..host.connection import Host
from ..host.session import Operations
from . import hooking, migrating
from .restarting import restart_and_look
from .reverting import revert
from .run import Run

Releases = Mapping[Host, str]

Outcome = tuple[Mapping[Host, object], Mapping[Host, DeployError]]
"""The hosts that are well, and what failed on the others."""


def switch_and_restart(run: Run, releases: Releases) -> Outcome:
    """Switch, restart and look, on all hosts in parallel.

    :raises DeployError: a hook failed.
    """
    hosts = list(releases)
    if hooking.any_at(run, "after_activate", "before_restart"):
        _, failures = parallel.attempt(hosts, lambda host: switch(run, host, releases[host]))
        if failures:
            return {}, failures
        hooking.reach(run, "after_activate", releases, DeployError)
        return restart_with_hooks(run, releases)
    well, failures = parallel.attempt(hosts, lambda host: _activate_one(run, host, releases[host]))
    if not failures and (served := _served(run, releases)):
        hooking.reach(run, "after_restart", served, DeployError)
    return well, failures


def restart_with_hooks(run: Run, releases: Releases) -> Outcome:
    """Restart and look, on all hosts in parallel.

    :raises DeployError: a hook failed.
    """
    if served := _served(run, releases):
        hooking.reach(run, "before_restart", served, DeployError)
    well, failures = parallel.attempt(list(releases), lambda host: restart_and_look(run, host, releases[host]))
    if served and not failures:
        hooking.reach(run, "after_restart", served, DeployError)
    return well, failures


def _served(run: Run, releases: Releases) -> Releases:
    """Those of the hosts that have a service to restart."""
    return {host: release for host, release in releases.items() if run.service(host)}


def _activate_one(run: Run, host: Host, release: str) -> None:
    switch(run, host, release)
    restart_and_look(run, host, release)


def reboot(run: Run, live: Releases, unproven: Releases) -> None:
    """Restart and look, on all hosts at once.

    :param unproven: of *live*, the releases that never were good: these go back where it fails.
    """
    try:
        _, failures = restart_with_hooks(run, live)
        if failures:
            raise combine(list(failures.values()))
    except Interrupted:
        raise
    except DeployError as cause:
        if not unproven:
            raise because(NotRolledBack, cause.what, cause, hint=stays(run)) from None
        told = revert(run, unproven, cause)
        raise because(RolledBack, f"{cause.what}; {told}", cause) from None


def stays(run: Run) -> str:
    """What to do where a release that was good before does not come up again."""
    return f"the live release was good before, so it stays; {run.fab('rollback')} goes to the one before it"


def gone_back(run: Run, releases: Releases, cause: DeployError) -> DeployError:
    """Bring all hosts back from *releases* at once; what to tell of it.

    :raises NotRolledBack: some host could not be brought back.
    """
    run.report.warn("going back to the former release")
    return rolled_back(cause, releases, revert(run, releases, cause))


def rolled_back(cause: DeployError, releases: Releases, told: str) -> DeployError:
    """What to say where all went back that had to."""
    kept = f"the failed release is kept for inspection ({', '.join(sorted(set(releases.values())))})"
    return because(RolledBack, f"{cause.what}; {told}", cause, hint=kept)


def switch(run: Run, host: Host, release: str, first: Operations = ()) -> None:
    """Point `current` at *release*; nothing is restarted.

    :param first: what the host does just before it.
    """
    with run.report.step("activate", host.name) as step:
        host.batch([*first, ("activate", {"identifier": release})])
        step.outcome = f"current is {release}"


def settle(run: Run, releases: Releases, entry: dict[str, Any], *, clean: bool) -> None:
    """Record that the releases are good, write the journal, clean up. None of it may fail what was deployed."""

    # With one host, the lock that lies on it is let go of in the same round trip, if nothing follows.
    follows = hooking.any_at(run, "after_deploy", "after_rollback")
    free = not follows and not migrating.outstanding(run, releases.get(run.primary, ""))
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
    kinds = ("releases", "venvs", "wheels")
    parts = [
        f"{count} {kind.rstrip('s') if count == 1 else kind}" for kind in kinds if (count := len(gone.get(kind, ())))
    ]
    if freed := int(gone.get("repository", 0)) >> 20:
        parts.append(f"{freed} MiB of the repository")
    return f"removed {', '.join(parts)}" if parts else ""


def record_failure(run: Run, entry: dict[str, Any], error: BaseException) -> None:
    """A line in the journal of each host that can be reached."""
    told = error.line if isinstance(error, DeployError) else str(error)
    line = {**entry, "outcome": type(error).__name__, "error": told}

    def write(host: Host) -> None:
        with contextlib.suppress(DeployError):
            host.call("journal", entry=line)

    parallel.attempt(run.hosts, write)
