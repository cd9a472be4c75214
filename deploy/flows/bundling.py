"""One bundle for each target of the stage, made once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..bundle import Bundle, Target, Wheelhouse, create_bundle, known_bundle, targetfile
from ..host.connection import Host
from . import asking, matching, signing
from .building import building
from .run import Run

Bundles = Mapping[Host, Bundle]


def targets(run: Run) -> dict[Host, Target]:
    """What each host's bundle is made for; needs the facts of a probe."""
    return {host: matching.match(run, host).target for host in run.hosts}


def known(run: Run, target: Target) -> Bundle | None:
    """The bundle for *target*, if it was made before."""
    terms = asking.terms_of(run)
    return known_bundle(asking.lock_file(run), target, wheelhouse=Wheelhouse(), terms=terms)


def all_known(run: Run) -> Bundles:
    """The bundles that were made before, of the hosts that have one."""
    by_host = targets(run)
    made = {target: known(run, target) for target in dict.fromkeys(by_host.values())}
    return {host: bundle for host, target in by_host.items() if (bundle := made[target]) is not None}


def create(run: Run) -> Bundles:
    """The bundle of each host; hosts with the same target share one.

    :raises BuildError: a wheel cannot be had for a target.
    """
    by_host = targets(run)
    made = make(run, by_host.values())
    return {host: made[target] for host, target in by_host.items()}


def make(run: Run, wanted: Iterable[Target]) -> dict[Target, Bundle]:
    """A bundle for each of *wanted*.

    :raises BuildError: a wheel cannot be had for a target.
    """
    lock = asking.lock_file(run)
    wheelhouse = Wheelhouse()
    made: dict[Target, Bundle] = {}
    for target, name in targetfile.names(wanted).items():
        with run.report.step("bundle", name) as step:
            bundle = create_bundle(
                lock,
                target,
                wheelhouse=wheelhouse,
                terms=asking.terms_of(run),
                places=asking.places(run),
                building=building(run, target),
                accept=run.settings.accept_wheels,
                progress=step.progress,
                say=run.report.say,
                warn=run.report.warn,
            )
            bundle, signer = signing.signed(run.settings, run.directory, bundle)
            made[target] = bundle
            verb = "is there already" if bundle.reused else "created"
            count = len(bundle.manifest.wheels)
            step.outcome = (
                f"bundle {bundle.manifest.digest[:12]} {verb}: {count} {'wheel' if count == 1 else 'wheels'}"
                + (f", signed by {signer}" if signer else "")
            )
    return made
