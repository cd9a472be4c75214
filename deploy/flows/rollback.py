"""`fab rollback`: the former good release again, with no build and no upload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from fabric import Config

from ..errors import CheckFailed, DeployError, HookFailed, Locked, NotRolledBack
from ..host.connection import Host
from . import activating, downgrading, hooking, maintaining, plan, probing, rolling, steps
from .deploy import summary
from .run import Options, Run, opened

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WayBack(Generic[T]):
    """Where hosts go back to.

    :ivar targets: the release of each host that goes back.
    :ivar there: hosts that serve already what others go back to.
    :ivar without: hosts that have nothing to go back to.
    """

    targets: dict[T, str] = field(default_factory=dict)
    there: list[T] = field(default_factory=list)
    without: list[T] = field(default_factory=list)


def rollback(config: Config, options: Options, *, force: bool = False) -> None:
    """Re-activate, on every host, the last good release before the live one; the live one is recorded as bad.

    A host that serves already what others go back to is left alone: of a mixed fleet, those go back that are ahead.

    :param force: whatever the schema is at; it stays as it is.
    :raises CheckFailed: no host has anything to go back to, or the schema is newer; no host was touched.
    :raises MigrationFailed: the downgrade failed; nothing was switched.
    :raises NotRolledBack: the former release did not come up, or a host has none; then the others did go back.
    """
    with opened(config, options) as run, hooking.on_failure(run):
        run.connect()
        with run.locked("rollback"):
            probing.probe(run)
            maintaining.tell_probed(run)
            way = choose({host: run.facts[host] for host in run.hosts})
            for host in way.there:
                run.report.say(f"left alone: {run.facts[host]['live']} is what others go back to", host.name)
            without = ", ".join(host.name for host in way.without)
            if not way.targets:
                raise CheckFailed(
                    f"no good release to go back to on {without}; nothing was touched",
                    hint="fab status shows what is there; a release that was bad is never rolled back to",
                )
            for host in way.without:
                run.report.warn("there is no good release to go back to; not touched", host.name)
            rolling.verify(run, way.targets, canary=False)
            back = downgrading.look(run, way.targets, way.there, force=force)
            hooking.reach(run, "before_rollback", way.targets, CheckFailed)
            if options.dry:
                if back:
                    downgrading.show(run, back)
                plan.show_going_back(run, way.targets)
                hooking.reach(run, "after_rollback", way.targets, HookFailed)
                return
            run.assert_locked()
            _go_back(run, way.targets, back)
            activating.settle(run, way.targets, steps.entry(run, "rollback"), clean=False)
            summary(run, way.targets)
            hooking.reach(run, "after_rollback", way.targets, HookFailed)
            if without:
                raise NotRolledBack(
                    f"there is no good release to go back to on {without}; all others are back",
                    hint=f"what serves there was not touched; {run.fab('deploy')} brings all hosts to one release",
                )


def choose(facts: Mapping[T, Mapping[str, Any]]) -> WayBack[T]:
    """Which hosts go back, and where to.

    :param facts: what the probe found on each host.
    """
    live = {host: str(each["live"]) for host, each in facts.items()}
    former = {host: str(each["rollback"]) for host, each in facts.items()}
    wanted = {release for host, release in former.items() if release and release != live[host]}
    if all(release in wanted for release in live.values()):
        wanted = set()  # nobody is ahead of the others
    way: WayBack[T] = WayBack()
    for host, each in facts.items():
        state = each["releases"].get(live[host], {}).get("state")
        if live[host] in wanted and state == "good":
            way.there.append(host)
        elif live[host] in wanted and state == "live":
            way.targets[host] = live[host]  # a run that ended on the way there did not see it well
        elif former[host]:
            way.targets[host] = former[host]
        else:
            way.without.append(host)
    return way


def _go_back(run: Run, targets: dict[Host, str], back: downgrading.TakingBack | None) -> None:
    live = {host: str(run.facts[host]["live"]) for host in targets}
    left = {host: "" if live[host] == target else live[host] for host, target in targets.items()}
    try:
        if back:
            downgrading.take_back(run, back)
        rolling.go_back(run, targets, left)
    except DeployError as error:
        if not isinstance(error, Locked):
            activating.record_failure(run, steps.entry(run, "rollback"), error)
        raise
