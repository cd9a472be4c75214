"""Hosts out of their balancers before they are switched, and back when they are well, where any are configured.

Who was taken out by somebody else stays out: what a run takes out is noted on its host until it is put back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from ..errors import CheckFailed, DeployError, Interrupted, by_host, combine
from ..fleet import parallel
from ..fleet.balancers import Kind, Remark, Servers
from ..fleet.batches import Batch
from ..host.connection import Host
from . import balancers
from .naming import names
from .proving import NotHealthy
from .run import Run

Found = Mapping[str, Servers]
"""What each balancer has, by its name."""

Known = Mapping[str, Mapping[Host, list[str]]]
"""What each balancer calls hosts."""


def too_few(servers: Servers, taken: Collection[str], least: int, coming: Collection[str] = ()) -> str:
    """What is the matter with taking *taken* out together; '' if nothing is, as where none of them is up.

    :param coming: servers that will be up by then.
    """
    up = {name for name, server in servers.items() if server.up}
    left = sorted((up | {*coming}) - {*taken})
    if len(left) >= least or not up & {*taken}:
        return ""
    rest = f"{len(left)} ({', '.join(left)})" if left else "none"
    return (
        f"without {', '.join(sorted(taken))}, servers that are up: {rest}; deploy.balancer.min_available is {least}: "
        "set a smaller deploy.rolling.batch, or bring up the others"
    )


class Balance:
    """The balancers of a run; its hosts were probed before.

    :ivar out: the hosts that this run took out and did not put back.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._kind = balancers.configured(run)
        self.out: list[Host] = []
        self._returning: set[Host] = set()

    @property
    def called(self) -> str:
        """What hosts are taken out of, in words; '' where there is no balancer."""
        return self._kind.called if self._kind else ""

    @property
    def intention(self) -> str:
        """What is to be done with each batch, for a dry run; '' where there is no balancer."""
        if self._kind is None:
            return ""
        out, back = (f" ({order})" if order else "" for order in self._kind.orders)
        return f"take each batch out of {self._kind.called} first{out}, and put it back when it is well{back}"

    def verify(self, batches: Sequence[Batch[Host]]) -> None:
        """Ask all balancers whether the batches can be taken out, each at its turn; read-only.

        :raises ConnectionFailed: one cannot be reached.
        :raises CheckFailed: one does not answer, does not know a host, or would have too few servers left.
        """
        if self._kind is None:
            return
        found = self._kind.look(self._run.hosts)
        known = self._known(self._kind, found, self._run.hosts)
        for balancer, servers in found.items():
            coming: list[str] = []
            for batch in batches:
                taken = [name for host in batch.hosts for name in known[balancer][host]]
                self._assert_enough(self._kind, balancer, servers, taken, coming)
                coming += [name for host in batch.hosts for name in self._ours(host, balancer, servers, known)]

    def describe(self) -> Iterator[tuple[str, str]]:
        """What each balancer says of each host of the run, as (host, what); read-only.

        :raises DeployError: one does not answer, or does not know a host.
        """
        if self._kind is None:
            return
        found = self._kind.look(self._run.hosts)
        known = self._known(self._kind, found, self._run.hosts)
        for balancer, servers in found.items():
            for host in self._run.hosts:
                statuses = ", ".join(servers[name].status for name in known[balancer][host])
                by_us = ", by a run that ended" if balancer in self._noted(host) else ""
                out = any(servers[name].out for name in known[balancer][host])
                yield host.name, f"in {self._kind.called} of {balancer}: {statuses}{by_us if out else ''}"

    def put_back(self, alone: Sequence[Host]) -> None:
        """Put back those of *alone* that a run which was killed left out."""
        left = [host for host in alone if self._noted(host)]
        if self._kind is None or not left:
            return
        found = self._kind.look(left)
        known = self._known(self._kind, found, left)
        # Of those in maintenance the note stays: it tells what they are to become when that is over.
        out = {host: {servers[name].out for servers, name in _each(found, known, host)} for host in left}
        still = [host for host in left if "drain" in out[host]]
        for host in still:
            self._run.report.say(f"was left out of {self._kind.called} by a run that ended; put back", host.name)
        self.undrain(still)
        self._forget(host for host in left if out[host] == {""})

    def drain(self, hosts: Sequence[Host]) -> None:
        """Let *hosts* get nothing new, and wait until what they have at hand is done.

        :raises DeployError: a balancer does not answer, or has too few other servers; none was told then.
        """
        if self._kind is None:
            return
        found = self._kind.look(hosts)
        known = self._known(self._kind, found, hosts)
        for balancer, servers in found.items():
            taken = [name for its in known[balancer].values() for name in its]
            self._assert_enough(self._kind, balancer, servers, taken)
        self._drain(self._kind, hosts, found)

    def swap(self, back: Sequence[Host], hosts: Sequence[Host]) -> None:
        """Let *hosts* get nothing new, and those that come *back* in their place everything.

        :raises NotHealthy: a balancer does not find these well; *hosts* were not taken out there.
        :raises DeployError: as :meth:`drain`.
        """
        if self._kind is None:
            return
        found = self._kind.look([*back, *hosts])
        known = self._known(self._kind, found, [*back, *hosts])
        for balancer, servers in found.items():
            taken = [name for host in hosts for name in known[balancer][host]]
            coming = [name for host in back for name in self._ours(host, balancer, servers, known)]
            self._assert_enough(self._kind, balancer, servers, taken, coming)
        self._drain(self._kind, hosts, found, back)

    def swap_or_warn(self, back: Sequence[Host], hosts: Sequence[Host]) -> None:
        """As :meth:`swap`, on the way back: nothing may keep hosts from it."""
        if self._kind is None:
            return
        try:
            self._drain(self._kind, hosts, self._kind.look([*back, *hosts]), back, insist=True)
        except Interrupted:
            raise
        except DeployError as error:
            self._run.report.warn(f"in the balancer: {error.line}", names([*back, *hosts]))

    def drain_or_warn(self, hosts: Sequence[Host]) -> None:
        """As :meth:`drain`, on the way back: nothing may keep hosts from it."""
        waiting = [host for host in hosts if host not in self.out or host in self._returning]
        if self._kind is None or not waiting:
            return
        try:
            self._drain(self._kind, waiting, self._kind.look(waiting), insist=True)
        except Interrupted:
            raise
        except DeployError as error:
            self._run.report.warn(f"not taken out of the balancer: {error.line}", names(waiting))

    def undrain(self, hosts: Sequence[Host], *, patient: bool = True) -> None:
        """Put back those of *hosts* that were taken out by us, and wait until the balancers find them well.

        :param patient: as long as is configured; else the balancers are told, and that is all.
        :raises NotHealthy: they do not.
        """
        noted = [host for host in hosts if self._noted(host)]
        if self._kind is None or not noted:
            return
        found = self._kind.look(noted)
        told = {host: self._told(self._kind, [host], found) for host in noted}
        # Somebody may have put one in maintenance meanwhile: then the note stays, and tells what it was at.
        waiting = [host for host in noted if any(told[host].values())]
        self.out = [host for host in self.out if host in waiting or host not in noted]
        if not waiting:
            return
        with self._run.report.step("undrain", names(waiting)) as step:
            self._returning.update(waiting)
            bad = self._kind.undrain(self._told(self._kind, waiting, found), patient=patient)
            self._has_back(waiting)
            if bad and patient:
                raise NotHealthy(f"not well in {self._kind.called}:\n{by_host(bad)}", where=names(waiting))
            step.outcome = f"back in {self._kind.called}"

    def undrain_or_warn(self, hosts: Sequence[Host], *, patient: bool = True) -> None:
        """As :meth:`undrain`, where there is nothing else to be done about it, for those that are out."""
        waiting = [host for host in hosts if host in self.out]
        try:
            self.undrain(waiting, patient=patient)
        except Interrupted:
            raise
        except DeployError as error:
            self._run.report.warn(f"in the balancer: {error.line}", names(waiting))

    def _assert_enough(
        self, kind: Kind, balancer: str, servers: Servers, taken: Sequence[str], coming: Sequence[str] = ()
    ) -> None:
        if problem := too_few(servers, taken, kind.least, coming):
            raise CheckFailed(f"{kind.called}: {problem}", where=balancer)

    def _drain(
        self, kind: Kind, hosts: Sequence[Host], found: Found, back: Sequence[Host] = (), *, insist: bool = False
    ) -> None:
        """
        :param back: hosts that come back in their place.
        :param insist: go on with the others where one of *hosts* is not reached.
        """
        report = self._run.report
        known = self._known(kind, found, hosts)
        places = {
            host: [balancer for balancer, servers in found.items() if self._ours(host, balancer, servers, known)]
            for host in hosts
        }
        if others := [host for host, its in places.items() if not its]:
            report.say(f"was taken out of {kind.called} by somebody else, and stays so", names(others))
        taken = [host for host, its in places.items() if its]
        if not taken:
            self.undrain(back)
            return
        with report.step("drain", names(taken)) as step:
            # Before a balancer is told, and before an interrupt can come between.
            self.out += [host for host in taken if host not in self.out]
            self._returning.difference_update(taken)
            _, lost = parallel.attempt(taken, lambda host: self._note(host, places[host]))
            if lost and not (insist and len(lost) < len(taken)):
                raise combine(list(lost.values()))
            if waiting := [host for host in back if self._noted(host)]:
                left = self._swap(kind, waiting, taken, found)
                step.outcome = f"out of {kind.called}, and {names(waiting)} back in it"
            else:
                left = kind.drain(self._told(kind, taken, found))
                step.outcome = f"out of {kind.called}"
        for balancer, what in left:
            report.warn(f"{what}; it is switched all the same", balancer)

    def _swap(self, kind: Kind, back: Sequence[Host], taken: Sequence[Host], found: Found) -> list[Remark]:
        self._returning.update(back)
        bad, left = kind.swap(self._told(kind, back, found), self._told(kind, taken, found))
        if bad:
            raise NotHealthy(f"not well in {kind.called}:\n{by_host(bad)}", where=names(back))
        self._has_back(back)
        return left

    def _has_back(self, hosts: Sequence[Host]) -> None:
        self.out = [host for host in self.out if host not in hosts]
        self._returning.difference_update(hosts)
        self._forget(hosts)

    def _told(self, kind: Kind, hosts: Sequence[Host], found: Found) -> dict[str, list[str]]:
        """Whom each balancer is to be told of."""
        known = self._known(kind, found, hosts)
        return {
            balancer: [
                name
                for host in hosts
                if balancer in self._noted(host)
                for name in self._ours(host, balancer, servers, known)
            ]
            for balancer, servers in found.items()
        }

    def _ours(self, host: Host, balancer: str, servers: Servers, known: Known) -> list[str]:
        """The servers on *host* that nobody else took out: it is noted there where we did."""
        free = ("", "drain") if balancer in self._noted(host) else ("",)
        return [name for name in known[balancer][host] if servers[name].out in free]

    def _known(self, kind: Kind, found: Found, hosts: Sequence[Host]) -> Known:
        """The balancers' names for *hosts*.

        :raises CheckFailed: a balancer does not know one.
        """
        known = {balancer: {host: kind.find(host, servers) for host in hosts} for balancer, servers in found.items()}
        for balancer, its in known.items():
            if unknown := [host for host, found_names in its.items() if not found_names]:
                raise CheckFailed(
                    f"{kind.called} has no server for {names(unknown)}; it has: {', '.join(found[balancer])}",
                    where=balancer,
                    hint="say what it is called there with balancer_name of the host",
                )
        return known

    def _noted(self, host: Host) -> list[str]:
        """The balancers that *host* was taken out of by us: by this run, or by one that was killed."""
        noted: list[str] = self._run.facts[host]["drained"]
        return noted

    def _note(self, host: Host, balancers: list[str]) -> None:
        host.call("note_drained", balancers=balancers)
        self._run.facts[host]["drained"] = balancers

    def _forget(self, hosts: Iterable[Host]) -> None:
        # Where it fails, the next run sees that the host is in balance.
        parallel.attempt([*hosts], lambda host: self._note(host, []))


def _each(found: Found, known: Known, host: Host) -> Iterator[tuple[Servers, str]]:
    for balancer, servers in found.items():
        for name in known[balancer][host]:
            yield servers, name
