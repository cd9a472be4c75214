"""Hosts out of their balancers before they are switched, and back when they are well, where any are configured."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..config import Haproxy, HostSettings
from ..errors import CheckFailed, DeployError, Interrupted, as_kind, by_host
from ..fleet import parallel
from ..fleet.batches import Batch
from ..host.connection import Host
from ..host.session import HostFailure
from ..hostside.haproxy import serves
from .restarting import NotHealthy
from .run import Run

Servers = Mapping[str, Mapping[str, Any]]
"""What a balancer says of a backend's servers; see :func:`deploy.hostside.haproxy.look`."""


def server_name(settings: HostSettings, servers: Collection[str]) -> str:
    """Which of *servers* a host is; '' if none."""
    plain = settings.name if settings.name in servers else settings.name.partition(":")[0]
    wanted = [settings.balancer_name] if settings.balancer_name else [plain, plain.partition(".")[0]]
    return next((name for name in wanted if name in servers), "")


def too_few(servers: Servers, taken: Collection[str], least: int, coming: Collection[str] = ()) -> str:
    """What is the matter with taking *taken* out together; '' if nothing is, as where none of them is up.

    :param coming: servers that will be up by then.
    """
    up = {name for name, server in servers.items() if serves(server["status"])}
    left = sorted((up | {*coming}) - {*taken})
    if len(left) >= least or not up & {*taken}:
        return ""
    rest = f"{len(left)} ({', '.join(left)})" if left else "none"
    return (
        f"without {', '.join(sorted(taken))}, servers that are up: {rest}; deploy.balancer.min_available is {least}: "
        "set a smaller deploy.rolling.batch, or bring up the others"
    )


class Balance:
    """The balancers of a run.

    :ivar out: the hosts that this run took out and did not put back.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._settings: Haproxy | None = run.settings.balancer
        self.out: list[Host] = []

    def verify(self, batches: Sequence[Batch[Host]]) -> None:
        """Ask all balancers whether the batches can be taken out, each at its turn; read-only.

        :raises ConnectionFailed: one cannot be reached.
        :raises CheckFailed: one does not answer, does not know a host, or would have too few servers left.
        """
        if self._settings is None:
            return
        for teller, servers in self._look().items():
            names = self._names(teller, servers, self._run.hosts)
            coming: list[str] = []
            for batch in batches:
                taken = [names[host] for host in batch.hosts]
                if problem := too_few(servers, taken, self._settings.min_available, coming):
                    raise CheckFailed(f"backend {self._settings.backend}: {problem}", where=teller.name)
                coming += taken

    def put_back(self, alone: Sequence[Host]) -> None:
        """Put back those of *alone* that a run which was killed left drained; who does maintenance says `maint`."""
        if self._settings is None or not alone:
            return
        drained: dict[Host, None] = {}
        for teller, servers in self._look().items():
            names = self._names(teller, servers, alone)
            drained |= {host: None for host in alone if servers[names[host]]["status"].startswith("DRAIN")}
        for host in drained:
            self._run.report.say("was left drained by a run that ended; put back", host.name)
        self.undrain(list(drained))

    def drain(self, hosts: Sequence[Host]) -> None:
        """Let *hosts* get nothing new, and wait until what they have at hand is done.

        :raises DeployError: a balancer does not answer, or has too few other servers; none was told then.
        """
        if self._settings is None:
            return
        found = self._look()
        for teller, servers in found.items():
            names = self._names(teller, servers, hosts)
            if problem := too_few(servers, list(names.values()), self._settings.min_available):
                raise CheckFailed(f"backend {self._settings.backend}: {problem}", where=teller.name)
        self._drain(hosts, found)

    def drain_or_warn(self, hosts: Sequence[Host]) -> None:
        """As :meth:`drain`, on the way back: nothing may keep hosts from it."""
        waiting = [host for host in hosts if host not in self.out]
        if self._settings is None or not waiting:
            return
        try:
            self._drain(waiting, self._look())
        except Interrupted:
            raise
        except DeployError as error:
            self._run.report.warn(f"not taken out of the balancer: {error.line}", _names(waiting))

    def undrain(self, hosts: Sequence[Host]) -> None:
        """Put *hosts* back, and wait until the balancers' own checks find them well.

        :raises NotHealthy: they do not.
        """
        if self._settings is None or not hosts:
            return
        self._ready(hosts, self._settings.ready_timeout)

    def undrain_or_warn(self, hosts: Sequence[Host], *, timeout_s: float | None = None) -> None:
        """As :meth:`undrain`, where there is nothing else to be done about it, for those that are out.

        :param timeout_s: how long to wait, instead of the configured time.
        """
        waiting = [host for host in hosts if host in self.out]
        if self._settings is None or not waiting:
            return
        try:
            self._ready(waiting, self._settings.ready_timeout if timeout_s is None else timeout_s)
        except Interrupted:
            raise
        except DeployError as error:
            self._run.report.warn(f"in the balancer: {error.line}", _names(waiting))

    def _drain(self, hosts: Sequence[Host], found: Mapping[Host, Servers]) -> None:
        settings, report = self._settings, self._run.report
        assert settings is not None
        served = self._served(hosts, found)
        self.out += [host for host in hosts if host not in self.out]  # also where an interrupt comes between
        with report.step("drain", _names(hosts)) as step:
            left = self._tell("drain", served, timeout=settings.drain_timeout)
            step.outcome = f"out of {settings.backend}"
        for teller, sessions in left.items():
            for name, count in sessions.items():
                after = f"after {settings.drain_timeout:g} s, {count} sessions of {name} go on"
                report.warn(f"{after}; it is switched all the same", teller.name)

    def _ready(self, hosts: Sequence[Host], timeout_s: float) -> None:
        settings = self._settings
        assert settings is not None
        with self._run.report.step("undrain", _names(hosts)) as step:
            served = self._served(hosts, self._look())
            down = self._tell("ready", served, timeout=timeout_s)
            self.out = [host for host in self.out if host not in hosts]
            bad = [(teller.name, f"{name} is {status}") for teller, its in down.items() for name, status in its.items()]
            if bad:
                told = f"haproxy's checks do not find it well after {timeout_s:g} s"
                raise NotHealthy(f"{told}:\n{by_host(bad)}", where=_names(hosts))
            step.outcome = f"back in {settings.backend}"

    def _served(self, hosts: Sequence[Host], found: Mapping[Host, Servers]) -> dict[Host, list[str]]:
        """The servers to be told of, by balancer: somebody's maintenance is left as it is."""
        return {
            teller: [
                name
                for name in self._names(teller, servers, hosts).values()
                if not servers[name]["status"].startswith("MAINT")
            ]
            for teller, servers in found.items()
        }

    def _names(self, teller: Host, servers: Servers, hosts: Sequence[Host]) -> dict[Host, str]:
        names = {host: server_name(self._run.host_settings[host], servers) for host in hosts}
        if unknown := [host for host, name in names.items() if not name]:
            assert self._settings is not None
            raise CheckFailed(
                f"backend {self._settings.backend} has no server for {_names(unknown)}; it has: {', '.join(servers)}",
                where=teller.name,
                hint="say what it is called there with balancer_name of the host",
            )
        return names

    def _look(self) -> dict[Host, Servers]:
        return parallel.each(self._tellers(), lambda teller: self._ask(teller, "look"))

    def _tell(self, operation: str, served: Mapping[Host, list[str]], *, timeout: float) -> dict[Host, dict[str, Any]]:
        return parallel.each(
            list(served), lambda teller: self._ask(teller, operation, servers=served[teller], timeout=timeout)
        )

    def _ask(self, teller: Host, operation: str, **asked: Any) -> dict[str, Any]:
        settings = self._settings
        assert settings is not None
        place = {"address": settings.socket, "backend": settings.backend}
        try:
            with teller.lost_means_failed():
                request = (f"haproxy_{operation}", {**place, **asked})
                result: dict[str, Any] = teller.session(settings.user).batch([request])[0]
                return result
        except HostFailure as failure:
            raise as_kind(CheckFailed, failure) from None

    def _tellers(self) -> list[Host]:
        """Who speaks with the balancers."""
        run, settings = self._run, self._settings
        assert settings is not None
        for address in settings.hosts:
            if address not in run.balancers:
                run.balancers[address] = run.primary.beside(address, settings.python)
                run.closing.callback(run.balancers[address].close)
        return list(run.balancers.values()) or [run.primary]


def _names(hosts: Sequence[Host]) -> str:
    return ", ".join(host.name for host in hosts)
