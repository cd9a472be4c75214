"""The database to the new release's schema: once, on the primary host, in the staged release."""

from __future__ import annotations

from ..errors import MigrationFailed
from . import commands
from .run import Run


def migrate(run: Run, release: str) -> None:
    """Run the migration command, if there is one.

    :raises MigrationFailed: it did not exit with 0; with the end of its output.
    :raises Locked: the deploy lock was lost; it did not run.
    """
    if run.settings.migrate is None:
        return
    run.assert_locked()
    host = run.primary
    command = run.settings.migrate.command
    with run.report.step("migrate", host.name) as step:
        result = commands.execute(run, host, release, command, progress=step.progress)
        if not result.ok:
            raise MigrationFailed(
                f"the migration failed (exit {result.exited}); nothing was activated",
                where=host.name,
                output=result.output,
                hint=commands.again(run, host, release, command),
            )
        last = result.output.splitlines()[-1].strip() if result.output else ""
        step.outcome = "migrated" + (f": {last}" if last else "")
