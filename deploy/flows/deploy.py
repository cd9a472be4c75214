"""`fab deploy`: the whole way, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fabric import Config

from ..errors import DeployError, HookFailed, Locked, StagingFailed
from ..fleet import parallel
from ..host.connection import Host
from ..host.session import Answer
from ..report import tally
from ..source.snapshot import Snapshot
from . import (
    activating,
    auditing,
    bundling,
    checking,
    fitting,
    hooking,
    installing,
    making,
    matching,
    migrating,
    plan,
    probing,
    pushing,
    steps,
)
from .bundling import Bundles
from .run import Options, Run, opened


def deploy(config: Config, options: Options, *, force: bool) -> None:
    """Bring the stage to the code and the lock file as they lie here.

    :param force: re-activate the live release where there is nothing to change.
    """
    with opened(config, options) as run, hooking.on_failure(run):
        making.make(run)
        code = pushing.snapshot(run)
        run.revision = code.revision
        run.report.phase(f"deploy {run.settings.app} {code.revision} to {run.stage}: {_names(run)}")
        pushing.tell(run, code)
        run.connect()
        with run.locked(f"deploy {code.revision}"):
            probing.probe(run)
            probing.verify(run)
            matching.warn(run)
            if options.dry:
                fitting.verify(run, bundling.all_known(run))
                _show(run, code)
                return
            bundles = bundling.create(run)
            if all(plan.unchanged(run, host, code.digest, bundles[host].manifest.digest) for host in run.hosts):
                if not force:
                    activating.put_away(run)
                    live = ", ".join(sorted({run.facts[host]["live"] for host in run.hosts}))
                    run.report.say(f"nothing to change: {live} is live and good (--force re-activates it)")
                    return
                _reactivate(run)
                return
            fitting.verify(run, bundles)
            auditing.gate(run, (bundle.manifest for bundle in bundles.values()))
            releases = dict.fromkeys(run.hosts, stage(run, code, bundles))
            _activate(run, releases)
            summary(run, releases, code.revision)
            hooking.reach(run, "after_deploy", releases, HookFailed)


def stage(run: Run, code: Snapshot, bundles: Bundles) -> str:
    """A complete release on every host, and the database migrated; nothing that serves is touched.

    Whatever fails, the release is removed from every host again.
    """
    steps.preparing_needed(run)
    release = pushing.new_identifier(run, code)
    try:
        _stage_all(run, code, bundles, release)
        if run.primary in run.hosts:
            migrating.migrate(run, release)
        elif run.settings.migrate:
            run.report.warn(f"not migrated: the primary host {run.primary.name} is not within --limit")
        hooking.reach(run, "before_activate", dict.fromkeys(run.hosts, release), StagingFailed)
    except BaseException as error:
        pushing.discard(run, run.hosts, release)
        _remember(run, release, error)
        raise
    return release


def _stage_all(run: Run, code: Snapshot, bundles: Bundles, release: str) -> None:
    releases = dict.fromkeys(run.hosts, release)
    hooking.reach(run, "before_push", releases, StagingFailed)
    if hooking.any_at(run, "after_push", "before_deps"):
        # A hook between the two waits for all hosts, so the dependencies cannot be asked for behind the code.
        pushing.push(run, code, release)
        hooking.reach(run, "after_push", releases, StagingFailed)
        hooking.reach(run, "before_deps", releases, StagingFailed)
        installing.update_deps(run, bundles, releases)
    else:
        _push_and_install(run, code, bundles, release)
    hooking.reach(run, "after_deps", releases, StagingFailed)


def _push_and_install(run: Run, code: Snapshot, bundles: Bundles, release: str) -> None:
    way = pushing.choose(run)

    def stage_one(host: Host) -> dict[str, Any]:
        asked: list[Answer] = []
        pushing.push_one(
            run,
            host,
            code,
            release,
            way,
            behind=lambda: asked.append(installing.ask(run, host, bundles[host], release)),
        )
        return installing.install(run, host, bundles[host], release, asked[-1])

    checking.judge(run, *parallel.attempt(run.hosts, stage_one))


def _reactivate(run: Run) -> None:
    """Restart what is live and good, and look again; it stays good whatever comes of it."""
    live = {host: str(run.facts[host]["live"]) for host in run.hosts}
    activating.reboot(run, live, {})
    activating.settle(run, live, steps.entry(run, "deploy --force"), clean=True)
    summary(run, live)


def _activate(run: Run, releases: activating.Releases) -> None:
    run.assert_locked()
    entry = steps.entry(run, "deploy")
    try:
        activating.activate(run, releases)
    except DeployError as error:
        _remember(run, ", ".join(sorted(set(releases.values()))), error)
        raise
    activating.settle(run, releases, entry, clean=True)


def _remember(run: Run, release: str, error: BaseException) -> None:
    if not isinstance(error, Locked):
        activating.record_failure(run, {**steps.entry(run, "deploy"), "release": release}, error)


def _show(run: Run, code: Snapshot) -> None:
    run.report.say("dry run: nothing is touched")
    plan.show_deploy(run, code, pushing.new_identifier(run, code))


def summary(run: Run, releases: activating.Releases, revision: str = "") -> None:
    """The last thing seen: host, release, revision, seconds by phase.

    :param revision: of releases that the probe did not see yet.
    """
    alike: dict[tuple[str, str, str], list[str]] = {}
    for host, release in releases.items():
        known = run.facts[host]["releases"].get(release, {}).get("revision", revision)
        alike.setdefault((release, known, "" if len(releases) >= tally.MANY else host.name), []).append(host.name)
    rows = [[tally.who(names), release, known, _seconds(run, names)] for (release, known, _), names in alike.items()]
    run.report.table(["host", "release", "revision", "seconds by phase"], rows)


def _seconds(run: Run, names: Sequence[str]) -> str:
    """The phases of *names*, each with the seconds of the host that took longest."""
    longest: dict[str, float] = {}
    for name in names:
        for phase, spent in run.report.timeline.get(name, {}).items():
            longest[phase] = max(spent, longest.get(phase, 0.0))
    return ", ".join(f"{phase} {spent:.1f}" for phase, spent in longest.items())


def _names(run: Run) -> str:
    return tally.some([host.name for host in run.hosts])
