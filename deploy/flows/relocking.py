"""`fab lock-requirements`: the lock file, for the targets that the stage has."""

from __future__ import annotations

from fabric import Config

from ..bundle import compiling
from ..bundle.compiling import Wish
from . import bundling, probing
from .run import Options, Run, opened


def lock_requirements(config: Config, options: Options, *, upgrade: bool, packages: list[str]) -> None:
    """Write the lock file; it is not touched where the requirements cannot be resolved.

    :raises BuildError: they cannot.
    """
    with opened(config, options) as run:
        compiling.source(bundling.lock_file(run))
        if bundling.needs_probe(run):
            run.connect()
            probing.probe(run)
        wish = _wish(run, upgrade, packages)
        names = ", ".join(target.name for target in wish.targets)
        if options.dry:
            run.report.say(f"would write {wish.lock.name} with {wish.tool}, for {names}")
            return
        with run.report.step("lock requirements", wish.lock.name) as step:
            written = compiling.write(wish, bundling.places(run))
            step.outcome = f"{'written' if written.changed else 'unchanged'}, for {names}; by: {written.command}"
        if written.local:
            run.report.warn(f"{wish.lock.name} names files of this machine, as an index of it is a directory")
        run.report.say(f"next: {run.fab('create-bundle')}")


def _wish(run: Run, upgrade: bool, packages: list[str]) -> Wish:
    settings = run.settings
    return Wish(
        bundling.lock_file(run),
        tuple(dict.fromkeys(bundling.targets(run).values())),
        tuple(settings.extras),
        tuple(settings.groups),
        upgrade,
        tuple(packages),
    )
