"""`fab lock-requirements`: the lock file, for the targets that the stage has."""

from __future__ import annotations

from fabric import Config

from ..bundle import Target, compiling
from ..bundle.compiling import Wish
from . import asking, bundling, matching, probing
from .run import Options, Run, opened


def lock_requirements(config: Config, options: Options, *, upgrade: bool, packages: list[str]) -> None:
    """Write the lock file; it is not touched where the requirements cannot be resolved.

    :raises BuildError: they cannot.
    """
    with opened(config, options) as run:
        compiling.source(asking.lock_file(run))
        targets = list(matching.named(run).values())
        if not targets:
            run.connect()
            probing.probe(run)
            targets = list(bundling.targets(run).values())
        wish = _wish(run, tuple(dict.fromkeys(targets)), upgrade, packages)
        names = ", ".join(target.name for target in wish.targets)
        if options.dry:
            run.report.say(f"would write {wish.lock.name} with {wish.tool}, for {names}")
            return
        with run.report.step("lock requirements", wish.lock.name) as step:
            written = compiling.write(wish, asking.places(run))
            step.outcome = f"{'written' if written.changed else 'unchanged'}, for {names}; by: {written.command}"
        if written.local:
            run.report.warn(f"{wish.lock.name} names files of this machine, as an index of it is a directory")
        run.report.say(f"next: {run.fab('create-bundle')}")


def _wish(run: Run, targets: tuple[Target, ...], upgrade: bool, packages: list[str]) -> Wish:
    settings = run.settings
    return Wish(
        asking.lock_file(run),
        targets,
        tuple(settings.extras),
        tuple(settings.groups),
        upgrade,
        tuple(packages),
    )
