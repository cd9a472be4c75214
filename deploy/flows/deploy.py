"""`fab deploy`: the whole way, in order."""

from __future__ import annotations

from collections.abc import Sequence

from fabric import Config

from ..errors import DeployError, HookFailed, Locked
from ..host.connection import Host
from ..report import tally
from ..source.snapshot import Snapshot
from . import (
    activating,
    auditing,
    bundling,
    downgrading,
    fitting,
    hooking,
    maintaining,
    making,
    matching,
    migrating,
    naming,
    plan,
    probing,
    pushing,
    rolling,
    staging,
    steps,
)
from .balancing import Balance
from .bundling import Bundles
from .run import Options, Run, opened
from .staging import Staging


def deploy(config: Config, options: Options, *, force: bool, retry: bool = False) -> None:
    """Bring the stage to the code and the lock file as they lie here; hosts that are there already are left alone.

    :param force: re-activate the live release where there is nothing to change; else a new one for all hosts.
    :param retry: take up what an earlier run left staged, instead of making a new release.
    """
    with opened(config, options) as run, hooking.on_failure(run):
        making.make(run)
        code = pushing.snapshot(run)
        run.revision = code.revision
        run.report.phase(f"deploy {run.settings.app} {code.revision} to {run.stage}: {naming.names(run.hosts)}")
        pushing.tell(run, code)
        run.connect()
        with run.locked(f"deploy {code.revision}"):
            probing.probe(run)
            probing.verify(run)
            matching.warn(run)
            maintaining.tell_probed(run)
            if options.dry:
                fitting.verify(run, bundling.all_known(run))
                _show(run, code, retry=retry)
                return
            bundles = bundling.create(run)
            hosts = staging.changing(run, code, bundles)
            Balance(run).put_back([host for host in run.hosts if host not in hosts])
            if not hosts:
                migrating.catch_up(run, plan.live(run, run.hosts))
                if not force:
                    activating.put_away(run)
                    live = ", ".join(sorted({run.facts[host]["live"] for host in run.hosts}))
                    run.report.say(f"nothing to change: {live} is live and good (--force re-activates it)")
                    return
                _reactivate(run)
                return
            _deploy(run, code, bundles, run.hosts if force else hosts, retry=retry)


def _deploy(run: Run, code: Snapshot, bundles: Bundles, hosts: list[Host], *, retry: bool) -> None:
    alone = plan.live(run, (host for host in run.hosts if host not in hosts))
    for host, live in alone.items():
        run.report.say(f"left alone: {live} is live and good", host.name)
    fitting.verify(run, bundles)
    rolling.verify(run, hosts, canary=True)
    auditing.gate(run, (bundle.manifest for bundle in bundles.values()))
    order = staging.choose(run, code, bundles, hosts, retry=retry)
    try:
        staging.stage(run, code, bundles, order)
    except BaseException as error:
        _remember(run, order.release, error)
        raise
    maintaining.take_in(run, hosts)
    _activate(run, order.releases)
    _migrate(run, {**alone, **order.releases})
    summary(run, order.releases, code.revision)
    hooking.reach(run, "after_deploy", order.releases, HookFailed, alone=alone)


def _reactivate(run: Run) -> None:
    """Restart what is live and good, and look again; it stays good whatever comes of it."""
    live = plan.live(run, run.hosts)
    rolling.verify(run, live, canary=False)
    rolling.restart(run, live, {})
    activating.settle(run, live, steps.entry(run, "deploy --force"), clean=True)
    summary(run, live)


def _activate(run: Run, releases: activating.Releases) -> None:
    run.assert_locked()
    entry = steps.entry(run, "deploy")
    try:
        rolling.activate(run, releases)
    except DeployError as error:
        _remember(run, ", ".join(sorted(set(releases.values()))), error)
        if not isinstance(error, Locked) and run.settings.rollback != "off":
            downgrading.tell_of_way_back(run, releases.get(run.primary, ""))
        raise
    activating.settle(run, releases, entry, clean=True)


def _migrate(run: Run, serving: activating.Releases) -> None:
    """What comes after the switch."""
    try:
        migrating.after_switch(run, serving)
    except BaseException as error:
        _remember(run, serving.get(run.primary, ""), error)
        raise


def _remember(run: Run, release: str, error: BaseException) -> None:
    if not isinstance(error, Locked):
        activating.record_failure(run, {**steps.entry(run, "deploy"), "release": release}, error)


def _show(run: Run, code: Snapshot, *, retry: bool) -> None:
    run.report.say("dry run: nothing is touched")
    targets = bundling.targets(run)
    known = {host: bundle for host in run.hosts if (bundle := bundling.known(run, targets[host]))}
    made = len(known) == len(run.hosts)
    hosts = staging.changing(run, code, known) if made else run.hosts
    alone = plan.live(run, (host for host in run.hosts if host not in hosts))
    for host, live in alone.items():
        run.report.say(f"would be left alone: {live} is live and good", host.name)
    if hosts:
        new = Staging(pushing.new_identifier(run, code), hosts)
        order = staging.choose(run, code, known, hosts, retry=retry) if made else new
        plan.show_deploy(run, code, order.releases, order.empty, alone)
    else:
        plan.show_outstanding(run, alone)


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
