"""What is done batch by batch: releases activated, taken back, or restarted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..errors import DeployError, Interrupted, Locked, NotRolledBack, because
from ..fleet import parallel
from ..host.connection import Host
from . import activating
from .activating import Releases
from .balancing import Balance
from .passage import Passage, Work, divide
from .restarting import restart_and_look
from .run import Run


def verify(run: Run, hosts: Iterable[Host], *, canary: bool) -> None:
    """Ask the balancers whether *hosts* can be worked on batch by batch, before anything is touched.

    :raises DeployError: one does not answer, or would be left with too few servers.
    """
    Balance(run).verify(divide(run, hosts, canary=canary))


def activate(run: Run, releases: Releases) -> None:
    """Switch, restart and look, batch by batch; where one fails, hosts go back as ``rollback`` says.

    :raises RolledBack: it failed, and what should have gone back did.
    :raises NotRolledBack: it failed, and not all went back that should have, or nothing should.
    :raises Locked: the deploy lock was lost between two batches.
    """
    passage = Passage(run, releases, divide(run, releases, canary=True))
    onward = f"{run.fab('deploy --retry')} goes on from here; {run.fab('rollback')} goes back"
    try:
        passage.through(lambda part: activating.switch_and_restart(run, part))
    except Locked as lost:
        raise passage.lost(lost) from None
    except (KeyboardInterrupt, Interrupted) as interrupt:
        cause = Interrupted("interrupted")
        if run.settings.rollback == "off":
            raise passage.stopped(cause, "nothing goes back (rollback: off)", Interrupted, onward) from interrupt
        run.report.warn("interrupted while activating: going back to the former release")
        raise Interrupted(f"interrupted; {passage.go_back(cause, releases)}") from interrupt
    except DeployError as cause:
        if run.settings.rollback == "off":
            raise passage.stopped(cause, "nothing goes back (rollback: off)", NotRolledBack, onward) from None
        run.report.warn("going back to the former release")
        raise activating.rolled_back(cause, releases, passage.go_back(cause, releases)) from None


def go_back(run: Run, targets: Releases, left: Mapping[Host, str]) -> None:
    """Switch to *targets*, restart and look, batch by batch; what is left is recorded as bad. It ends at a failure.

    :raises NotRolledBack: the former release did not come up.
    """
    passage = Passage(run, targets, divide(run, targets, canary=False))

    def one(host: Host) -> None:
        # First of all: once something else is live, a good release would be what the next rollback goes to.
        judged = ("judge", {"identifier": left[host], "verdict": "bad", "reason": "rolled back"})
        activating.switch(run, host, targets[host], first=[judged] if left[host] else [])
        restart_and_look(run, host, targets[host], insist=True)

    def work(part: Releases) -> activating.Outcome:
        return parallel.attempt(list(part), one)

    again = f"again goes one release further back: {run.fab('rollback')}"
    _through(passage, work, failed="the former release did not come up: ", hint=again, onward=run.fab("rollback"))


def restart(run: Run, live: Releases, unproven: Releases) -> None:
    """Restart what is live and look, batch by batch. It ends at a failure.

    :param unproven: of *live*, the releases that never were good: where it fails, these go back.
    :raises RolledBack: it failed, and these went back.
    :raises NotRolledBack: it failed; a release that was good before stays.
    """
    passage = Passage(run, live, divide(run, live, canary=False))

    def work(part: Releases) -> activating.Outcome:
        return activating.restart_with_hooks(run, part)

    onward = run.fab("restart --rolling")
    _through(passage, work, unproven=unproven, hint=activating.stays(run), onward=onward)


def _through(
    passage: Passage, work: Work, *, failed: str = "", hint: str, onward: str, unproven: Releases | None = None
) -> None:
    """Through all batches, and no way back but for what is *unproven*.

    :param failed: what a failure means.
    :param hint: what to do about one.
    :param onward: the command that goes on after an interrupt.
    """
    try:
        passage.through(work)
    except Locked as lost:
        raise passage.lost(lost) from None
    except (KeyboardInterrupt, Interrupted) as interrupt:
        raise passage.stopped(Interrupted("interrupted"), "", Interrupted, f"{onward} goes on from here") from interrupt
    except DeployError as cause:
        if unproven and passage.run.settings.rollback != "off":
            raise activating.rolled_back(cause, unproven, passage.go_back(cause, unproven)) from None
        means = failed if passage.touched else ""
        raise passage.stopped(because(DeployError, f"{means}{cause.what}", cause), "", NotRolledBack, hint) from None
