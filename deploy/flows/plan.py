"""What would run where: the decisions of a deploy, shown by ``--dry`` and taken by `deploy` alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..bundle import Target, targetfile
from ..errors import DeployError
from ..host.connection import Host
from ..service import manager
from ..source.snapshot import Snapshot
from . import bundling, commands, hooking, migrating, passage, pushing, units
from .balancing import Balance
from .run import Run


def unchanged(run: Run, host: Host, tree: str, bundle: str) -> bool:
    """Whether the live release of *host* is good and is what would be deployed."""
    facts = run.facts[host]
    record: Mapping[str, Any] = facts["releases"].get(facts["live"], {})
    wanted = {"state": "good", "tree": tree, "bundle": bundle, "shared": pushing.shared(run)}
    return all(record.get(key) == value for key, value in wanted.items()) and not facts["units_differ"]


def live(run: Run, hosts: Iterable[Host]) -> dict[Host, str]:
    """What serves on *hosts*, as the probe found it."""
    return {host: str(run.facts[host]["live"]) for host in hosts}


def show_setup(run: Run) -> None:
    for host in run.hosts:
        base = run.facts[host]["base"]
        lacking = base["lacking"] + base["foreign"] + base["loose"]
        run.report.say(f"would make or mend {', '.join(lacking)}" if lacking else "is set up", host.name)


def show_bundles(run: Run, targets: Iterable[Target]) -> None:
    """The bundle of each target, and what its hosts would be sent, where hosts were asked."""
    by_host = bundling.targets(run) if run.facts else {}
    for target, name in targetfile.names(targets).items():
        known = bundling.known(run, target)
        verb = f"bundle {known.manifest.digest[:12]} is there already" if known else "would create the bundle"
        run.report.say(f"{verb} of {run.settings.requirements} for {name}")
        for host, its in by_host.items():
            if its == target and known:
                _show_upload(run, host, known)


def _show_upload(run: Run, host: Host, bundle: Any) -> None:
    wheels = [{"sha256": wheel.sha256, "filename": wheel.filename} for wheel in bundle.manifest.wheels]
    if run.facts[host]["base"]["lacking"]:
        missing = {wheel["sha256"] for wheel in wheels}
    else:
        missing = set(host.call("lacking", digest=bundle.manifest.digest, wheels=wheels)["missing"])
    size = sum(wheel.size for wheel in bundle.manifest.wheels if wheel.sha256 in missing)
    run.report.say(f"would upload {len(missing)} wheels ({size / (1 << 20):.1f} MiB)", host.name)


def show_push(run: Run, code: Snapshot, release: str, empty: Sequence[Host]) -> None:
    """What would be pushed where.

    :param empty: the hosts that have nothing of the release yet.
    """
    releases = dict.fromkeys(run.hosts, release)
    hooking.reach(run, "before_push", releases, DeployError)
    for host in empty:
        record = run.facts[host]["releases"].get(run.facts[host]["live"], {})
        same = "the same code as the live release" if record.get("tree") == code.digest else f"revision {code.revision}"
        if code.commit and pushing.carried(run, host, code.commit):
            into = f"{host.base_path}/repo, and {len(code.entries)} files of it into {host.base_path}/releases"
            run.report.say(f"would push commit {code.commit.label} into {into}", host.name)
            continue
        run.report.say(f"would push {len(code.entries)} files, {same}, into {host.base_path}/releases", host.name)
    hooking.reach(run, "after_push", releases, DeployError)


def show_migration(run: Run, releases: Mapping[Host, str], release: str, condition: str = "") -> None:
    """The migration in *release*, and the hooks around it.

    :param releases: the hosts that the hooks are for.
    """
    if run.settings.migrate:
        hooking.reach(run, "before_migrate", releases, DeployError)
        told = f"would run in {release}{commands.names(run)}{condition}: {run.settings.migrate.command}"
        run.report.say(told, run.primary.name)
        hooking.reach(run, "after_migrate", releases, DeployError)


def show_outstanding(run: Run, alone: Mapping[Host, str]) -> None:
    """A migration that an earlier run left undone, where the primary host is left *alone*."""
    release = alone.get(run.primary, "")
    if why := migrating.outstanding(run, release):
        show_migration(run, alone, release, f", whose migration {why}")


def _show_new_migration(run: Run, releases: Mapping[Host, str], when: str) -> None:
    migrate = run.settings.migrate
    if migrate is None or migrate.when != when or run.primary not in releases:
        return
    live = run.facts[run.primary]["live"]
    changed = f", if anything of {', '.join(migrate.only_if_changed)} differs from {live}"
    show_migration(run, releases, releases[run.primary], changed if migrate.only_if_changed and live else "")


def show_activation(run: Run, releases: Mapping[Host, str]) -> None:
    hooking.reach(run, "before_activate", releases, DeployError)
    _show_switch(run, releases)
    hooking.reach(run, "after_activate", releases, DeployError)


def show_batches(run: Run, releases: Mapping[Host, str], *, canary: bool) -> None:
    """The batches in their order, where there are several."""
    found = passage.divide(run, releases, canary=canary)
    balance = Balance(run)
    balance.verify(found)
    if balance.intention:
        run.report.say(f"would {balance.intention}")
    if len(found) > 1:
        for batch in found:
            run.report.say(passage.title(run, batch, len(found)))


def _show_switch(run: Run, releases: Mapping[Host, str]) -> None:
    for host, release in releases.items():
        run.report.say(f"would switch current from {run.facts[host]['live'] or 'nothing'} to {release}", host.name)


def show_going_back(run: Run, releases: Mapping[Host, str]) -> None:
    """A rollback's switch and restart: they have no hooks of their own."""
    show_batches(run, releases, canary=False)
    _show_switch(run, releases)
    _show_restart(run, releases)


def show_restart(run: Run, releases: Mapping[Host, str]) -> None:
    served = {host: release for host, release in releases.items() if run.service(host)}
    if served:
        hooking.reach(run, "before_restart", served, DeployError)
    _show_restart(run, releases)
    if served:
        hooking.reach(run, "after_restart", served, DeployError)


def _show_restart(run: Run, releases: Mapping[Host, str]) -> None:
    for host, release in releases.items():
        service, health = run.service(host), run.health(host)
        units.show(run, host)
        for part in manager.parts(service) if service else ():
            command = manager.restart(part.service, host.base_path, commands.by_hand(host, release))
            run.report.say(f"would run as {command.user or host.deploy_user}: {command}", host.name)
            if manager.hands_over(part.service):
                run.report.say("would look whether its successor is well, and end it then", host.name)
            if part.name:
                asked = f", and ask {own.url} for up to {own.timeout:g} s" if (own := part.health(health)) else ""
                run.report.say(f"would look whether {part.name} runs {release}{asked}", host.name)
        if health and not health.by_instance:
            run.report.say(f"would ask {health.url} for up to {health.timeout:g} s", host.name)


def show_deploy(
    run: Run, code: Snapshot, releases: Mapping[Host, str], empty: list[Host], alone: Mapping[Host, str]
) -> None:
    """All of it, in the order in which it would happen.

    :param releases: the same release for each host of the run that is not left *alone*.
    :param empty: the hosts that have nothing of it yet.
    """
    hosts, release = list(releases), next(iter(releases.values()))
    show_push(replace(run, hosts=hosts), code, release, empty)
    hooking.reach(run, "before_deps", releases, DeployError)
    show_bundles(run, bundling.targets(run).values())
    hooking.reach(run, "after_deps", releases, DeployError)
    _show_new_migration(run, releases, "before")
    show_batches(run, releases, canary=True)
    show_activation(run, releases)
    show_restart(run, releases)
    _show_new_migration(run, releases, "after")
    show_outstanding(run, alone)
    hooking.reach(run, "after_deploy", releases, DeployError, alone=alone)
