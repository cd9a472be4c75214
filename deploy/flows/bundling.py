"""One bundle for each target of the stage, made once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..bundle import Bundle, Places, Target, Terms, Wheelhouse, create_bundle, known_bundle
from ..config import TargetSettings, relative_to
from ..host.connection import Host
from .run import Run

Bundles = Mapping[Host, Bundle]


def targets(run: Run) -> dict[Host, Target]:
    """What each host's wheels must fit; needs the facts of a probe unless the configuration names the target."""
    configured = run.settings.target
    if configured == "local":
        return dict.fromkeys(run.hosts, Target.local())
    if isinstance(configured, TargetSettings):
        return dict.fromkeys(run.hosts, Target.parse(configured.model_dump()))
    return {host: Target.from_facts(run.facts[host]) for host in run.hosts}


def needs_probe(run: Run) -> bool:
    """Whether the hosts have to be asked for their target."""
    return run.settings.target == "auto"


def known(run: Run, target: Target) -> Bundle | None:
    """The bundle for *target*, if it was made before."""
    return known_bundle(lock_file(run), target, wheelhouse=Wheelhouse(), terms=terms(run))


def lock_file(run: Run) -> Path:
    return relative_to(run.directory, run.settings.requirements)


def terms(run: Run) -> Terms:
    """How the configuration wants the lock file to be read."""
    settings = run.settings
    package = relative_to(run.directory, settings.source.path).resolve() if settings.package else None
    return Terms(tuple(settings.extras), tuple(settings.groups), settings.hashes == "require", package)


def places(run: Run) -> Places:
    """Where the configuration wants files to come from."""
    index = run.settings.index
    links = tuple(index.find_links)
    return Places(index.url, tuple(index.extra_urls), links, index.ca, index.proxy, index.ambient, run.directory)


def create(run: Run) -> Bundles:
    """The bundle of each host; hosts with the same target share one.

    :raises BuildError: a wheel cannot be had for a target.
    """
    lock = lock_file(run)
    wheelhouse = Wheelhouse()
    made: dict[Target, Bundle] = {}
    by_host = targets(run)
    for target in by_host.values():
        if target not in made:
            with run.report.step("bundle", target.name) as step:
                bundle = create_bundle(
                    lock,
                    target,
                    wheelhouse=wheelhouse,
                    terms=terms(run),
                    places=places(run),
                    progress=step.progress,
                    warn=run.report.warn,
                )
                made[target] = bundle
                verb = "is there already" if bundle.reused else "created"
                count = len(bundle.manifest.wheels)
                step.outcome = (
                    f"bundle {bundle.manifest.digest[:12]} {verb}: {count} {'wheel' if count == 1 else 'wheels'}"
                )
    return {host: made[target] for host, target in by_host.items()}
