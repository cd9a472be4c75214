"""One passage through the hosts, batch by batch, and the way back.

What is worked is not known here: see :mod:`deploy.flows.rolling`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from ..errors import DeployError, Interrupted, Locked, because, combine
from ..fleet import batches, parallel
from ..fleet.batches import Batch
from ..host.connection import Host
from . import reverting
from .balancing import Balance
from .ledger import Ledger
from .naming import names
from .proving import NotHealthy, look
from .reverting import Verdict
from .run import Run

Releases = Mapping[Host, str]
Work = Callable[[Releases], tuple[Mapping[Host, object], Mapping[Host, DeployError]]]
"""Works on hosts; which are well, and what failed on the others."""


def divide(run: Run, hosts: Iterable[Host], *, canary: bool) -> list[Batch[Host]]:
    """The batches of *hosts*.

    :param canary: whether what is new is to be tried on some first.
    """
    rolling = run.settings.rolling
    named: list[Host] = []
    if not canary:
        rolling = rolling.model_copy(update={"canary": None})
    elif rolling.canary:
        named = [host for host in run.hosts if any(map(run.host_settings[host].called, rolling.canary.hosts))]
    wanted = set(hosts)
    listed = [host for host in run.hosts if host in wanted]
    return batches.divide(listed, rolling, primary=run.primary, canaries=named, total=len(run.hosts))


def title(run: Run, batch: Batch[Host], count: int) -> str:
    """A batch in words."""
    canary = run.settings.rolling.canary if batch.canary else None
    kind = f" (canary, then {canary.pause:g} s)" if canary else ""
    return f"batch {batch.number} of {count}{kind}: {names(batch.hosts)}"


class Passage:
    """Hosts on their way through the batches.

    :ivar releases: the release of each host that is worked on.
    :ivar current: the hosts of the batch that is worked on.
    :ivar done: those of the batches before it, the newest last.
    :ivar failed: what failed on which of the current hosts, where that is known.
    :ivar touched: whether work on the current hosts has begun.
    :ivar balance: what they are taken out of meanwhile.
    :ivar swaps: whether one half takes the other's place in balance, so that no two releases serve at once.
    """

    def __init__(self, run: Run, releases: Releases, batches: Sequence[Batch[Host]]) -> None:
        self.run = run
        self.releases = releases
        self.batches = batches
        self.balance = Balance(run)
        self.swaps = bool(self.balance.called) and run.settings.rolling.batch == "half" and len(batches) == 2
        self.ledger = Ledger(run)
        self.ledger.note([host for host in run.hosts if host not in releases], "left alone")
        self.current: list[Host] = []
        self.done: list[list[Host]] = []
        self.failed: dict[Host, DeployError] = {}
        self.touched = False
        self._well: set[Host] = set()

    def through(self, work: Work) -> None:
        """Work on one batch after another.

        :raises Locked: the deploy lock was lost between two batches.
        :raises DeployError: something failed; no further batch was begun.
        """
        for batch in self.batches:
            self.current, self.touched, self.failed = list(batch.hosts), False, {}
            if batch.number > 1:
                self._wait()
                self.run.assert_locked()
            if len(self.batches) > 1:
                self.run.report.phase(title(self.run, batch, len(self.batches)))
            if self.swaps and self.done:
                self._swap(batch)
            else:
                self.balance.drain(batch.hosts)
            self.touched = True
            well, failed = work({host: self.releases[host] for host in batch.hosts})
            self._well.update(well)
            self._assert_none(failed)
            if not self.swaps or self.done:
                self.balance.undrain(batch.hosts)
            self._finish(batch)
            self.ledger.note(batch.hosts, "done, and stays so")
            self.done.append(self.current)
        self.current = []

    def _swap(self, batch: Batch[Host]) -> None:
        """The half that is done into the place of *batch*."""
        try:
            self.balance.swap(self.done[-1], batch.hosts)
        except NotHealthy:
            # What is not well is not the batch that was about to begin.
            self.current, self.touched = self.done.pop(), True
            raise

    def _wait(self) -> None:
        if wait := self.run.settings.rolling.wait:
            self.run.report.say(f"waiting {wait:g} s before the next batch")
            time.sleep(wait)

    def _assert_none(self, failed: Mapping[Host, DeployError]) -> None:
        if failed:
            self.failed = dict(failed)
            raise combine(list(failed.values()))

    def _finish(self, batch: Batch[Host]) -> None:
        if batch.canary:
            self._pause(batch)
        if batch.number < len(self.batches):
            # Now, so that a run that dies later leaves no doubt of them.
            parallel.each(
                batch.hosts, lambda host: host.call("judge", identifier=self.releases[host], verdict="good", reason="")
            )

    def _pause(self, batch: Batch[Host]) -> None:
        canary = self.run.settings.rolling.canary
        if not canary or not canary.pause:
            return
        self.run.report.say(f"canary: looked at again after {canary.pause:g} s; Ctrl-C ends it")
        time.sleep(canary.pause)
        self._assert_none(parallel.attempt(batch.hosts, lambda host: look(self.run, host, self.releases[host]))[1])

    def go_back(self, cause: DeployError, releases: Releases) -> str:
        """Bring back the current batch and, with ``rollback: all``, those before it, the newest first; in words.

        :param releases: those to go back from; a host that is not among them stays as it is.
        :raises NotRolledBack: not all that should have gone back did.
        :raises Interrupted: it was interrupted.
        """
        everything = self.run.settings.rollback == "all"
        # Where the batch was not worked on yet, or the run was interrupted, nobody knows anything bad of the release.
        verdict: Verdict = "bad" if self.touched and not isinstance(cause, Interrupted) else "staged"
        passed = [*([self.current] if self.touched else []), *(reversed(self.done) if everything else [])]
        waves = [wave for hosts in passed if (wave := [host for host in hosts if host in releases])]
        if not self.touched:
            self.ledger.note(self.current, f"not touched: {cause.what}")
        try:
            if not self.touched:
                self.balance.undrain_or_warn(self.current)
            switched, failures = self._waves_back(waves, cause, verdict)
            self.balance.undrain_or_warn([host for hosts in self.done for host in hosts])
        except (KeyboardInterrupt, Interrupted) as interrupt:
            self.balance.undrain_or_warn(self.balance.out, patient=False)
            self.ledger.show()
            look_at = f"look at it with {self.run.fab('status')}, then {self.run.fab('deploy')}"
            raise because(Interrupted, "interrupted while going back", cause, hint=look_at) from interrupt
        if everything and verdict == "bad":
            self._condemn(cause, releases)
        self.ledger.show()
        if failures:
            raise reverting.not_rolled_back(self.run, cause, failures)
        return self._told(waves, switched, [] if everything else self.done)

    def _waves_back(
        self, waves: Sequence[list[Host]], cause: DeployError, verdict: Verdict
    ) -> tuple[bool, list[DeployError]]:
        """One batch back after another; whether any host had to be switched, and what failed."""
        for hosts in waves:
            self.ledger.note(hosts, f"not brought back yet: {cause.what}")
        any_switched = False
        failures: list[DeployError] = []
        for number, hosts in enumerate(waves, 1):
            if hosts[0] not in self.current:
                self.run.report.phase(f"going back: {names(hosts)}")
            releases = {host: self.releases[host] for host in hosts}
            self.balance.drain_or_warn(hosts)
            switched, stuck = reverting.attempt(self.run, releases, cause.line, verdict)
            well, following = [host for host in hosts if host not in stuck], waves[number : number + 1]
            if self.swaps and well and following:
                self.balance.swap_or_warn(well, following[0])
            else:
                self.balance.undrain_or_warn(well)
            self._note_back(hosts, cause, stuck)
            any_switched = any_switched or any(switched.values())
            failures += stuck.values()
            if len(stuck) == len(hosts) and any(isinstance(error, NotHealthy) for error in stuck.values()):
                # The former release does not come up any more: who is well had better stay as he is.
                rest = [host for wave in waves[number:] for host in wave]
                self.ledger.note(rest, "keeps the new release: the former one did not come up elsewhere")
                break
        return any_switched, failures

    def _note_back(self, hosts: Sequence[Host], cause: DeployError, stuck: Mapping[Host, DeployError]) -> None:
        others = "its batch" if hosts[0] in self.current else "the others"
        for host in hosts:
            own = self.failed.get(host)
            why = f"went back: {own.what}" if own else f"went back with {others}: {cause.line}"
            self.ledger.note([host], f"could not go back: {stuck[host].what}" if host in stuck else why)

    def _condemn(self, cause: DeployError, releases: Releases) -> None:
        """Where the release was not switched to, it is not to be either."""
        seen = {*self.current, *(host for hosts in self.done for host in hosts)}
        rest = [host for host in releases if host not in seen]

        def judge(host: Host) -> None:
            host.call("judge", identifier=releases[host], verdict="bad", reason=cause.line)

        parallel.attempt(rest, judge)

    @staticmethod
    def _told(waves: Sequence[list[Host]], switched: bool, kept: Sequence[list[Host]]) -> str:
        if not kept:
            return reverting.words(switched)
        stays = f"stays on {_flat(kept)} (rollback: batch)"
        if not waves:
            return f"the new release {stays}, and is live on no other host"
        return f"{reverting.words(switched)} on {_flat(waves)}; the new one {stays}"

    def stopped(self, cause: DeployError, told: str, kind: type[DeployError], hint: str = "") -> DeployError:
        """Nothing more is done. What to say."""
        # Who failed gets no requests until somebody has looked; of who was interrupted the balancer's checks will say.
        failed = self.touched and not issubclass(kind, Interrupted)
        back = [host for host in self.balance.out if not failed or host in self._well]
        self.balance.undrain_or_warn(back, patient=False)
        if self.balance.out:
            self.run.report.warn("stays out of the balancer", names(self.balance.out))
        for host in self.current:
            if not self.touched:
                self.ledger.note([host], f"not touched: {cause.what}")
            elif host in self._well:
                self.ledger.note([host], f"well; {cause.what}")
            else:
                self.ledger.note([host], f"left as it is: {self.failed.get(host, cause).what}")
        self.ledger.show()
        return because(kind, f"{cause.what}{f'; {told}' if told else ''}", cause, hint=hint)

    def lost(self, error: Locked) -> DeployError:
        """The deploy lock is somebody else's: to go back would be in his way. What to say."""
        hint = f"somebody else may be deploying; look at it with {self.run.fab('status')}"
        told = f"no further batch was begun; worked on: {_flat(self.done)}"
        return self.stopped(Locked(error.what, where=error.where), told, Locked, hint)


def _flat(batches: Iterable[Iterable[Host]]) -> str:
    return names(host for hosts in batches for host in hosts)
