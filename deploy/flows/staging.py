"""A complete release on every host that lacks it, and the database migrated; nothing that serves is touched."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import DeployError, Locked, StagingFailed
from ..fleet import parallel
from ..host.connection import Host
from ..host.session import Answer
from ..source.snapshot import Snapshot
from . import checking, hooking, installing, migrating, plan, preparing, pushing
from .bundling import Bundles
from .ledger import Ledger
from .naming import names
from .run import Run


@dataclass(frozen=True, slots=True)
class Staging:
    """What a deploy is about.

    :ivar release: its name, the same on all hosts.
    :ivar hosts: those that are to get it.
    :ivar whole: of these, the ones that have it complete already.
    :ivar pushed: of these, the ones that have its code and no venv yet.
    """

    release: str
    hosts: list[Host]
    whole: list[Host] = field(default_factory=list)
    pushed: list[Host] = field(default_factory=list)

    @property
    def empty(self) -> list[Host]:
        """The hosts that know nothing of it."""
        return [host for host in self.hosts if host not in self.whole and host not in self.pushed]

    @property
    def releases(self) -> dict[Host, str]:
        return dict.fromkeys(self.hosts, self.release)


def changing(run: Run, code: Snapshot, bundles: Bundles) -> list[Host]:
    """The hosts whose live release is not what would be deployed, or is not known to be good."""
    digest = {host: bundle.manifest.digest for host, bundle in bundles.items()}
    return [host for host in run.hosts if not plan.unchanged(run, host, code.digest, digest[host])]


def choose(run: Run, code: Snapshot, bundles: Bundles, hosts: Sequence[Host], *, retry: bool) -> Staging:
    """Which release *hosts* get: the one that the others of the run have, where that can be; else a new one.

    :param retry: one that an earlier run began on some of them is taken up.
    """
    for release in _candidates(run, code, bundles, hosts, retry=retry):
        has = {host: _has(run, host, release, code, bundles) for host in hosts}
        if "another" in has.values():
            continue
        whole = [host for host in hosts if has[host] == "whole"]
        pushed = [host for host in hosts if has[host] == "code"]
        run.report.say(f"release {release} is taken up" if retry else f"release {release}, as on the other hosts")
        for host in whole:
            run.report.say("has it complete already: nothing is sent", host.name)
        return Staging(release, list(hosts), whole, pushed)
    if retry:
        run.report.say("there is nothing to take up of this code and these dependencies: a new release is made")
    return Staging(pushing.new_identifier(run, code), list(hosts))


def _candidates(run: Run, code: Snapshot, bundles: Bundles, hosts: Sequence[Host], *, retry: bool) -> list[str]:
    """What the hosts that are left alone have live, the commonest first; then what was begun on most of the others."""
    alone = [host for host in run.hosts if host not in hosts]
    found = [name for name, _ in Counter(str(run.facts[host]["live"]) for host in alone).most_common()]
    if retry:
        begun = Counter(
            str(release)
            for host in hosts
            for release in run.facts[host]["releases"]
            if _has(run, host, release, code, bundles) in ("whole", "code")
        )
        found += [name for name, _ in begun.most_common()]
    return found


def _has(run: Run, host: Host, release: str, code: Snapshot, bundles: Bundles) -> str:
    """What *host* has of *release*: `nothing`, the `code`, the `whole`; or `another` by that name, or a bad one."""
    record: dict[str, Any] | None = run.facts[host]["releases"].get(release)
    if record is None:
        return "nothing"
    state = record.get("state")
    if record.get("tree") != code.digest or record.get("shared") != pushing.shared(run):
        return "another"
    if state in ("staged", "live") and record.get("bundle") == bundles[host].manifest.digest:
        return "whole"
    return "code" if state in ("pushed", "staged") and run.facts[host]["live"] != release else "another"


def stage(run: Run, code: Snapshot, bundles: Bundles, staging: Staging) -> None:
    """Make the release complete on all of its hosts, and migrate where that comes before the switch.

    Where that fails, hosts that have it complete keep it, for :func:`choose` to take up; the others lose it.
    """
    preparing_needed(run)
    its = replace(run, hosts=staging.hosts)
    try:
        _stage_all(its, code, bundles, staging)
        migrating.before_switch(run, staging.releases)
        hooking.reach(its, "before_activate", staging.releases, StagingFailed)
    except Locked:
        # Somebody else may be staging by now; what is ours goes, and nothing else is touched.
        pushing.discard(run, staging.empty, staging.release)
        raise
    except BaseException as error:
        _tell(run, staging, leave(its, staging.release), error)
        raise


def _tell(run: Run, staging: Staging, kept: Sequence[Host], error: BaseException) -> None:
    """What became of the hosts, and how to go on."""
    ledger = Ledger(run)
    ledger.note([host for host in run.hosts if host not in staging.hosts], "left alone")
    ledger.note(kept, "not switched; the new release is staged")
    cause = error if isinstance(error, DeployError) else DeployError(str(error) or "interrupted")
    ledger.note_error([host for host in staging.hosts if host not in kept], "not staged", cause)
    ledger.show()
    if kept and isinstance(error, DeployError):
        told = f"{run.fab('deploy --retry')} goes on from here: {names(kept)} will be sent nothing again"
        error.hint = "\n".join(filter(None, (error.hint, told)))


def preparing_needed(run: Run) -> None:
    """Set up the hosts that are not."""
    lacking = [host for host in run.hosts if run.facts[host]["base"]["lacking"]]
    if lacking:
        preparing.prepare(run, lacking)


def leave(run: Run, release: str) -> list[Host]:
    """Remove what is not complete of *release*, and older ones that never served; the hosts that keep it."""

    def one(host: Host) -> bool:
        with contextlib.suppress(DeployError):
            records = host.call("records")
            state = records["releases"].get(release, {}).get("state")
            if state not in ("staged", "live"):
                host.call("discard", identifier=release)
                return False
            for name, record in run.facts[host]["releases"].items():
                if name not in (release, records["live"]) and record.get("state") in ("pushed", "staged"):
                    host.call("discard", identifier=name)
            return True
        return False

    kept, _ = parallel.attempt(run.hosts, one)
    return [host for host, has in kept.items() if has]


def _stage_all(run: Run, code: Snapshot, bundles: Bundles, staging: Staging) -> None:
    releases = staging.releases
    hooking.reach(run, "before_push", releases, StagingFailed)
    if hooking.any_at(run, "after_push", "before_deps"):
        # A hook between the two waits for all hosts, so the dependencies cannot be asked for behind the code.
        if staging.empty:
            pushing.push(replace(run, hosts=staging.empty), code, staging.release)
        hooking.reach(run, "after_push", releases, StagingFailed)
        hooking.reach(run, "before_deps", releases, StagingFailed)
        lacking = [host for host in staging.hosts if host not in staging.whole]
        installing.update_deps(replace(run, hosts=lacking), bundles, releases)
    else:
        _push_and_install(run, code, bundles, staging)
    hooking.reach(run, "after_deps", releases, StagingFailed)


def _push_and_install(run: Run, code: Snapshot, bundles: Bundles, staging: Staging) -> None:
    release = staging.release
    way = pushing.choose(replace(run, hosts=staging.empty)) if staging.empty else None

    def stage_one(host: Host) -> dict[str, Any]:
        asked: list[Answer | None] = [None]
        if way and host not in staging.pushed:
            pushing.push_one(
                run,
                host,
                code,
                release,
                way,
                behind=lambda: asked.append(installing.ask(run, host, bundles[host], release)),
            )
        return installing.install(run, host, bundles[host], release, asked[-1])

    lacking = [host for host in staging.hosts if host not in staging.whole]
    checking.judge(run, *parallel.attempt(lacking, stage_one))
