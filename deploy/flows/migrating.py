"""The database to the new release's schema: once, on the primary host, in the staged release."""

from __future__ import annotations

import shlex

from ..errors import MigrationFailed
from ..host.bootstrap import program
from ..host.connection import Host
from .run import Run


def in_release(host: Host, release: str) -> list[str]:
    """The words that run a shell command, given as one more word, inside a release of *host*."""
    path = f"{host.base_path}/.deploy/{program().file_name}"
    return [host.python, "-I", "-S", path, "run", host.base_path, release]


def migrate(run: Run, release: str) -> None:
    """Run the migration command, if there is one.

    :raises MigrationFailed: it did not exit with 0; with the end of its output.
    :raises Locked: the deploy lock was lost; it did not run.
    """
    if run.settings.migrate is None:
        return
    run.assert_locked()
    host = run.primary
    command = shlex.join([*in_release(host, release), run.settings.migrate.command])
    with run.report.step("migrate", host.name) as step:
        result = host.run(command, user=host.deploy_user)
        if not result.ok:
            raise MigrationFailed(
                f"the migration failed (exit {result.exited}); nothing was activated",
                where=host.name,
                output=result.output,
                hint=f"to see it again there: {command}",
            )
        last = result.output.splitlines()[-1].strip() if result.output else ""
        step.outcome = "migrated" + (f": {last}" if last else "")
