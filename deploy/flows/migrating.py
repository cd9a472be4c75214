"""The database to the new release's schema: once, on the primary host, in the staged release."""

from __future__ import annotations

from ..errors import MigrationFailed, StagingFailed
from . import commands, hooking
from .run import Run


def migrate(run: Run, release: str) -> None:
    """Run the migration command, if there is one, and the hooks around it.

    :raises StagingFailed: a hook failed.
    :raises MigrationFailed: it did not exit with 0; with the end of its output.
    :raises Locked: the deploy lock was lost; it did not run.
    """
    if run.settings.migrate is None:
        return
    releases = dict.fromkeys(run.hosts, release)
    hooking.reach(run, "before_migrate", releases, StagingFailed)
    run.assert_locked()
    host, timeout_s = run.primary, run.settings.migrate.timeout
    command = run.settings.migrate.command
    with run.report.step("migrate", host.name) as step:
        result = commands.execute(run, host, release, command, timeout_s=timeout_s, progress=step.progress)
        if not result.ok:
            raise MigrationFailed(
                f"the migration {commands.problem(result, timeout_s)}; nothing was activated",
                where=host.name,
                output=result.output,
                hint=commands.again(run, host, release, command),
            )
        last = result.output.splitlines()[-1].strip() if result.output else ""
        step.outcome = "migrated" + (f": {last}" if last else "")
    hooking.reach(run, "after_migrate", releases, StagingFailed)
