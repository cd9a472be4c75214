"""`fab maintenance`: a page instead of the application, shown by the hosts themselves or by the balancer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fabric import Config

from ..config import Maintenance, relative_to
from ..errors import CheckFailed, ConfigurationError, DeployError, as_kind, combine
from ..fleet import parallel
from ..fleet.balancers import Remote, Servers
from ..host.connection import Host
from ..host.session import HostFailure
from . import balancers
from .naming import names
from .run import NOTED, Options, Run, opened

PAGE = "<!doctype html>\n<title>Maintenance</title>\n<p>We are working on it. Please come back in a few minutes.\n"


def maintenance(config: Config, options: Options, state: str) -> None:
    """Switch it ``on`` or ``off``; where it is so already, nothing changes.

    :raises ConfigurationError: the configuration does not say who shows the page, or *state* is something else.
    :raises DeployError: some hosts could not be told, or a balancer; the others were.
    """
    if state not in ("on", "off"):
        raise ConfigurationError(f"must be on or off, not {state!r}", where="maintenance")
    with opened(config, options) as run:
        settings = run.settings.maintenance
        if settings is None:
            hint = "maintenance: {by: hosts} has each host show it, by: balancer haproxy or nginx"
            raise ConfigurationError("it is not said who shows the page", where="deploy.maintenance", hint=hint)
        text = _page(run, settings)
        if settings.by == "hosts":
            _by_hosts(run, settings, text if state == "on" else None)
            return
        run.hosts = [run.primary]
        run.connect()
        with run.locked(f"maintenance {state}"):
            _by_balancer(run, on=state == "on")


def tell(run: Run, since: Mapping[Host, str], stays: str = "") -> None:
    """Say where it is on.

    :param since: what hosts say of the file that is :attr:`Run.watched`; '' where it is not there.
    """
    on = [host for host in run.hosts if since.get(host)]
    if on and run.watched != NOTED and len(on) < len(since):
        off = names(host for host in since if host not in on)
        run.report.warn(f"maintenance is on, but not on {off}: {run.fab('maintenance')} on, or off", names(on))
    elif on:
        run.report.say(f"maintenance is on since {min(filter(None, since.values()))}{stays}")


def tell_probed(run: Run) -> None:
    """As :func:`tell`, before hosts are switched; those on which nothing was live yet have it later."""
    tell(run, {host: run.facts[host]["maintenance"] for host in run.hosts if run.facts[host]["live"]}, ", and stays so")


def take_in(run: Run, hosts: Sequence[Host]) -> None:
    """Let hosts on which nothing was live yet show the page, too, where the others do."""
    settings = run.settings.maintenance
    new = [host for host in hosts if not run.facts[host]["live"] and not run.facts[host]["maintenance"]]
    if settings is None or settings.by != "hosts" or not new:
        return
    if any(run.facts[host]["maintenance"] for host in run.hosts):
        text = _page(run, settings)
        parallel.each(new, lambda host: host.call("put_maintenance", file=settings.file, text=text))
        run.report.say("maintenance is on here, too, as it is on the other hosts", names(new))


def _page(run: Run, settings: Maintenance) -> str:
    if not settings.page:
        return PAGE
    path = relative_to(run.directory, settings.page)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise ConfigurationError(f"{path} cannot be read ({why})", where="deploy.maintenance.page") from None


def _by_hosts(run: Run, settings: Maintenance, text: str | None) -> None:
    """
    :param text: what they show; None to switch it off.
    """
    word = "off" if text is None else "on"
    if run.options.dry:
        run.report.say(f"would {'remove' if text is None else 'write'} {settings.file}", names(run.hosts))
        return

    def one(host: Host) -> None:
        with run.report.step("maintenance", host.name) as step:
            try:
                if text is None:
                    changed = host.call("remove_maintenance", file=settings.file)["changed"]
                else:
                    changed = host.call("put_maintenance", file=settings.file, text=text)["changed"]
            except HostFailure as failure:
                raise as_kind(CheckFailed, failure) from None
            step.outcome = f"maintenance is {word}" if changed else f"maintenance was {word} already"

    _, failures = parallel.attempt(run.hosts, one)
    if failures:
        raise combine(list(failures.values()))


def _by_balancer(run: Run, *, on: bool) -> None:
    kind = balancers.configured(run)
    if not isinstance(kind, Remote):
        raise DeployError("this balancer shows no page")  # the configuration was refused before
    noted = run.primary.call("noted_maintenance", file=NOTED)
    found = kind.look()
    former: dict[str, dict[str, str]] = {name: dict(its) for name, its in noted.get("balancers", {}).items()}
    if on:
        for balancer, servers in found.items():
            its = former.setdefault(balancer, {})
            for name, server in servers.items():
                if server.out != "maint":
                    its.setdefault(name, server.out)
    closing = {
        name: [each for each in former.get(name, {}) if each in servers and servers[each].out != "maint"]
        for name, servers in found.items()
    }
    if run.options.dry:
        told = "; ".join(
            f"{each} of {balancer}" for balancer, its in former.items() for each in [", ".join(its)] if its
        )
        run.report.say(f"would {'take all servers out' if on else 'put back'}: {told or 'nothing to do'}")
    elif on:
        was_on = bool(noted) and not any(closing.values())
        if former != noted.get("balancers"):
            run.primary.call("note_maintenance", file=NOTED, document={"balancers": former})
        kind.close(closing)
        run.report.say(f"maintenance {'was on already' if was_on else 'is on'}: nobody is in {kind.called}")
    elif not noted:
        run.report.say("maintenance was off already")
    else:
        kind.open(_still_closed(former, found))
        run.primary.call("remove_maintenance", file=NOTED)
        run.report.say(f"maintenance is off: who was in {kind.called} is so again")


def _still_closed(former: Mapping[str, Mapping[str, str]], found: Mapping[str, Servers]) -> dict[str, dict[str, str]]:
    """What to give back; who was put in balance by hand meanwhile stays so."""
    return {
        balancer: {
            name: out for name, out in its.items() if name in found[balancer] and found[balancer][name].out == "maint"
        }
        for balancer, its in former.items()
        if balancer in found
    }
