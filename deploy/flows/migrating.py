"""The database to the new release's schema: on the primary host, once for all, before the switch or after it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import ConnectionFailed, DeployError, Interrupted, Locked, MigrationFailed, StagingFailed, as_kind
from ..fleet import parallel
from ..fleet.lock import whoami
from ..host.connection import CommandResult, Host
from ..host.session import HostFailure
from . import commands, hooking
from .naming import names
from .run import Run

Releases = Mapping[Host, str]

OUTSTANDING = {"due": "is due", "failed": "failed", "cut off": "was cut off", "undone": "was taken back"}
"""States of a release whose migration has to run (again), in words."""

HEADS_SHOWN = 3


def known(run: Run) -> dict[str, Any]:
    """What the primary host has recorded of migrations: see :func:`deploy.hostside.migrations.summary`."""
    found = run.facts.get(run.primary) or run.found.get(run.primary) or {}
    state: dict[str, Any] = found.get("migration") or {"running": "", "releases": {}, "database": {}}
    return state


def outstanding(run: Run, release: str) -> str:
    """What became of the migration of *release*, in a few words, where it has to run (again); '' else."""
    if run.settings.migrate is None:
        return ""
    return OUTSTANDING.get(known(run)["releases"].get(release, {}).get("state", ""), "")


def shown(heads: Sequence[str] | None) -> str:
    """Heads of a schema in words."""
    if heads is None:
        return "(not known)"
    more = f" and {len(heads) - HEADS_SHOWN} more" if len(heads) > HEADS_SHOWN else ""
    return f"{', '.join(heads[:HEADS_SHOWN])}{more}" or "(nothing)"


def before_switch(run: Run, releases: Releases) -> None:
    """Migrate where that comes first, or note that it is due, unless nothing changed that would need it.

    :param releases: what each host that is to be switched has staged.
    :raises StagingFailed: a hook failed.
    :raises MigrationFailed: the command did not exit with 0, with the end of its output; or it could not be run.
    :raises Locked: the deploy lock was lost, or somebody migrates; it did not run.
    """
    settings = run.settings.migrate
    if settings is None:
        return
    release = releases.get(run.primary, "")
    if not release:
        if run.primary not in run.hosts:
            run.report.warn(f"not migrated: the primary host {run.primary.name} is not within --limit")
        elif settings.when == "before":
            catch_up(run, {**releases, run.primary: str(run.facts[run.primary]["live"])})
        return
    if _needed(run, release) and settings.when == "before":
        migrate(run, releases, release)


def after_switch(run: Run, serving: Releases) -> None:
    """Run what is due, now that all hosts are well with the new release; it stays whatever comes of it.

    :param serving: what serves on all hosts of the run.
    :raises MigrationFailed: it, or a hook around it, failed.
    :raises Locked: the deploy lock was lost, or somebody migrates; it did not run.
    """
    if run.settings.migrate and run.settings.migrate.when == "after":
        catch_up(run, serving)


def catch_up(run: Run, serving: Releases) -> None:
    """Run the migration of what serves on the primary host, where it is outstanding.

    :raises MigrationFailed, Locked: as :func:`after_switch`.
    """
    settings = run.settings.migrate
    release = serving.get(run.primary, "")
    if settings is None or not (why := outstanding(run, release)):
        return
    others = [host for host in run.host_settings if host not in serving]
    if settings.when == "after" and others:
        run.report.warn(
            f"not migrated yet: {names(others)} may serve an older release; a deploy to all hosts does it, "
            f"or fab {run.stage} migrate-db"
        )
        return
    if why != OUTSTANDING["due"]:
        run.report.say(f"the migration of {release}, which is live, {why}: it is run now", run.primary.name)
    migrate(run, serving, release, live=True)


def migrate(run: Run, releases: Releases, release: str, *, live: bool = False) -> None:
    """Run the migration command in *release*, and the hooks around it.

    :param releases: the hosts that the hooks are for.
    :param live: it serves already; then a failing hook is a failed migration.
    :raises DeployError: as :func:`before_switch`, or :func:`after_switch`.
    """
    assert run.settings.migrate is not None
    kind = MigrationFailed if live else StagingFailed
    hooking.reach(run, "before_migrate", releases, kind)
    run.assert_locked()
    host, command = run.primary, run.settings.migrate.command
    with run.report.step("migrate", host.name) as step:
        ended = perform(run, "migrate", release, command, step.progress)
        result = CommandResult(ended["exited"], ended["output"].strip())
        if problem := commands.problem(result, run.settings.migrate.timeout):
            means = f"{release} serves and stays" if live else "nothing was activated"
            retry = f"fab {run.stage} migrate-db runs it again, and so does {run.fab('deploy')}" if live else ""
            again = commands.again(run, host, release, command)
            hint = "\n".join(filter(None, (retry, again)))
            raise MigrationFailed(f"the migration {problem}; {means}", where=host.name, output=result.output, hint=hint)
        last = result.output.splitlines()[-1].strip() if result.output else ""
        at = f"; the schema is at {shown(ended['heads'])}" if ended["heads"] is not None else ""
        step.outcome = "migrated" + (f": {last}" if last else "") + at
    if ended["problem"]:
        run.report.warn(f"what the schema is at is not recorded: migrate.head {ended['problem']}", host.name)
    hooking.reach(run, "after_migrate", releases, kind)


def _needed(run: Run, release: str) -> bool:
    """Whether *release* is to be migrated at all; asked of the host, which writes the answer down."""
    assert run.settings.migrate is not None
    patterns, later = run.settings.migrate.only_if_changed, run.settings.migrate.when == "after"
    if not patterns and not later:
        return True
    host = run.primary
    reference = str(run.facts[host]["live"])
    asked = {"identifier": release, "reference": reference, "only_if_changed": patterns, "later": later, "by": by()}
    try:
        answer = host.batch([("decide_migration", asked)])[0]
    except HostFailure as failure:
        raise _not_begun(failure) from None
    _remember(run, answer["state"])
    if answer["lacking"]:
        lacking = ", ".join(answer["lacking"])
        run.report.warn(f"deploy.migrate.only_if_changed: nothing matches {lacking}, so it is migrated", host.name)
    elif not answer["needed"]:
        run.report.say(f"migration skipped: {answer['why']}", host.name)
    elif patterns:
        run.report.say(f"to be migrated{' after the switch' if later else ''}: {answer['why']}", host.name)
    return bool(answer["needed"])


def perform(
    run: Run,
    operation: str,
    release: str,
    command: str,
    progress: Callable[[str], None],
    more: Mapping[str, str] | None = None,
    **arguments: Any,
) -> dict[str, Any]:
    """Have the primary host run *command* in *release* under the guard that lets one migration run at a time.

    :param more: variables beside those that all commands have.
    :raises Locked: another one is running.
    :raises ConnectionFailed: the connection was lost; it goes on there.
    """
    assert run.settings.migrate is not None
    settings, ended = run.settings.migrate, dict[str, Any]()
    asked = {"identifier": release, "command": command, "timeout": settings.timeout, "head": settings.head, "by": by()}

    def work(host: Host) -> None:
        env = {**commands.environment(run, host, release), **(more or {})}
        ended.update(host.perform(operation, {**asked, "env": env, **arguments}, progress=progress))

    goes_on = f"it goes on there, and nobody else deploys or migrates until it has ended; {run.fab('status')} shows it"
    try:
        _, failures = parallel.attempt([run.primary], work)
    except (KeyboardInterrupt, Interrupted):
        if not ended:
            run.report.warn(f"interrupted while {release} is migrated: {goes_on}", run.primary.name)
        raise
    for error in failures.values():
        if isinstance(error, HostFailure):
            raise _not_begun(error) from None
        if isinstance(error, ConnectionFailed):
            error.hint = f"if the migration had begun, {goes_on}"
        raise error
    _remember(run, ended["state"])
    return ended


def _not_begun(failure: HostFailure) -> DeployError:
    """Somebody else migrates, or the host cannot read or write what it has to."""
    if failure.kind != "migrating":
        return as_kind(MigrationFailed, failure)
    return Locked(failure.what, where=failure.where, hint=f"nothing was migrated by this run; {failure.hint}")


def _remember(run: Run, state: dict[str, Any]) -> None:
    for known_of in (run.facts, run.found):
        if run.primary in known_of:
            known_of[run.primary]["migration"] = state


def by() -> str:
    """Who migrates, for those who meet him."""
    who = whoami()
    return f"{who['user']}@{who['host']} pid {os.getpid()}"


def told(run: Run, facts: Mapping[str, Any]) -> list[str]:
    """What `fab status` says of a host's database, in sentences; none where nothing is known."""
    state = facts["migration"]
    database = state["database"]
    lines = [state["running"]] if state["running"] else []
    if database.get("heads") is not None:
        made = f"release {database['release']}, {database['time']}"
        lines.append(f"the schema is at {shown(database['heads'])} ({made})")
    for release in filter(None, dict.fromkeys((facts["live"], facts["staged"]))):
        record = state["releases"].get(release, {})
        if words := OUTSTANDING.get(record.get("state", "")):
            code = f" (exit {record['exited']})" if record.get("exited") else ""
            since = record.get("ended") or record.get("started")
            lines.append(f"the migration of {release} {words}{code}{f', {since}' if since else ''}")
    return lines
