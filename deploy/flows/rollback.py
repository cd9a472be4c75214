"""`fab rollback`: the former good release again, with no build and no upload."""

from __future__ import annotations

from fabric import Config

from ..errors import CheckFailed, HookFailed, NotRolledBack, combine
from ..fleet import parallel
from ..host.connection import Host
from . import activating, hooking, plan, probing, restarting, steps
from .deploy import summary
from .run import Options, opened


def rollback(config: Config, options: Options) -> None:
    """Re-activate, on every host, the last good release before the live one; the live one is recorded as bad.

    :raises CheckFailed: a host has nothing to go back to; no host was touched.
    :raises NotRolledBack: the former release did not come up.
    """
    with opened(config, options) as run, hooking.on_failure(run):
        run.connect()
        with run.locked("rollback"):
            probing.probe(run)
            targets = {host: str(run.facts[host]["rollback"]) for host in run.hosts}
            without = [host.name for host, release in targets.items() if not release]
            if without:
                raise CheckFailed(
                    f"no good release to go back to on {', '.join(without)}; nothing was touched",
                    hint="fab status shows what is there; a release that was bad is never rolled back to",
                )
            if options.dry:
                hooking.reach(run, "before_rollback", targets, CheckFailed)
                plan.show_going_back(run, targets)
                hooking.reach(run, "after_rollback", targets, HookFailed)
                return

            hooking.reach(run, "before_rollback", targets, CheckFailed)

            run.assert_locked()

            def go_back(host: Host) -> None:
                left = str(run.facts[host]["live"])
                activating.switch(run, host, targets[host])
                if left:
                    host.call("judge", identifier=left, verdict="bad", reason="rolled back")
                restarting.restart_and_look(run, host, targets[host], insist=True)

            _, failures = parallel.attempt(run.hosts, go_back)
            if failures:
                cause = combine(list(failures.values()))
                activating.record_failure(run, steps.entry(run, "rollback"), cause)
                again = f"again goes one release further back: {run.fab('rollback')}"
                raise NotRolledBack(
                    f"the former release did not come up: {cause.what}",
                    where=cause.where,
                    output=cause.output,
                    hint=again,
                    parts=cause.parts,
                )
            activating.settle(run, targets, steps.entry(run, "rollback"), clean=False)
            summary(run, targets)
            hooking.reach(run, "after_rollback", targets, HookFailed)
