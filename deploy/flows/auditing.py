"""`fab audit`, and the gate before a deploy: what is known against the packages of a bundle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from fabric import Config

from ..bundle import Manifest
from ..bundle.advisories import Finding, Pins
from ..config import Ignore, Settings, relative_to
from ..errors import CheckFailed, ConfigurationError
from ..report.console import Report, make
from .asking import asked
from .bundles import SHORT, Shelf
from .projects import Project
from .run import Run, terminable


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an audit found.

    :ivar counting: what stops a deploy.
    :ivar borne: what is ignored, and why.
    :ivar expired: the entries of the ignore list whose day has come.
    :ivar unused: those that nothing was found for.
    """

    counting: tuple[Finding, ...]
    borne: tuple[tuple[Finding, Ignore], ...]
    expired: tuple[Ignore, ...]
    unused: tuple[Ignore, ...]


def audit(config: Config, word: str | None) -> None:
    """Audit the bundles of the stage's lock file, or the one whose digest begins with *word*.

    :raises CheckFailed: there are vulnerabilities that count, or not all packages could be audited.
    :raises ConfigurationError: there is no bundle yet.
    """
    project = Project.of(config)
    _, settings = project.stage()
    shelf = Shelf.open(config)
    if word is not None:
        manifests = [shelf.find(word)]
    else:
        lock = asked(settings, project.directory).sha256
        manifests = [manifest for manifest in shelf.manifests() if manifest.lock_sha256 == lock]
        if not manifests:
            raise ConfigurationError(
                f"there is no bundle of {settings.requirements} in the wheelhouse", hint="fab create-bundle makes it"
            )
    with terminable(), make() as report:
        _audit(settings, project.directory, manifests, report)


def gate(run: Run, manifests: Iterable[Manifest]) -> None:
    """Stop here where the configuration wants audited bundles and these are not well.

    :raises CheckFailed: see :func:`audit`.
    """
    if run.settings.audit.gate:
        _audit(run.settings, run.directory, manifests, run.report)


def _audit(settings: Settings, directory: Path, manifests: Iterable[Manifest], report: Report) -> None:
    from packaging.utils import canonicalize_name

    private = {canonicalize_name(name) for name in settings.audit.private}
    every = {manifest.digest: manifest for manifest in manifests}
    sets = {
        frozenset((wheel.name, wheel.version) for wheel in manifest.wheels if wheel.name not in private)
        for manifest in every.values()
    }
    named = ", ".join(digest[:SHORT] for digest in every)
    with report.step("audit", named) as step:
        found, source = _look(settings, directory, sets)
        verdict = judge(found, settings.audit.ignore, date.today())
        step.outcome = f"{_count(len(frozenset().union(*sets)), 'package')} audited by {source}"
    _tell(verdict, report)
    if verdict.counting:
        packages = _count(len({finding.package for finding in verdict.counting}), "package")
        known = _count(len(verdict.counting), "known vulnerability", "known vulnerabilities")
        raise CheckFailed(
            f"{known} in {packages}",
            hint="lock mended versions, then fab create-bundle; "
            "what does no harm here can be borne for a while: deploy.audit.ignore",
        )


def _look(settings: Settings, directory: Path, sets: Iterable[Pins]) -> tuple[list[Finding], str]:
    """All that is known, and who said so."""
    if settings.audit.database:
        from ..bundle.advisories import search

        database = relative_to(directory, settings.audit.database)
        found, records = search(database, frozenset().union(*sets))
        return found, f"{database} ({records} records)"
    from ..bundle.pipaudit import ask

    # A package has one version in one question: the bundles of several targets are asked for one after another.
    answers = {finding: None for pins in sets for finding in ask(pins, settings.audit.service, settings.audit.url)}
    return sorted(answers, key=lambda each: (each.package, each.names)), f"pip-audit ({settings.audit.service})"


def judge(found: Iterable[Finding], ignores: Iterable[Ignore], today: date) -> Verdict:
    """Which findings count on a day, given the list of those that are borne."""
    known: Mapping[str, Ignore] = {each.id.upper(): each for each in ignores}
    counting, borne, met = [], [], set()
    for finding in found:
        entry = next((known[name.upper()] for name in finding.names if name.upper() in known), None)
        if entry is not None:
            met.add(entry.id)
        if entry is not None and today < entry.expires:
            borne.append((finding, entry))
        else:
            counting.append(finding)
    return Verdict(
        counting=tuple(counting),
        borne=tuple(borne),
        expired=tuple(each for each in known.values() if each.id in met and today >= each.expires),
        unused=tuple(each for each in known.values() if each.id not in met),
    )


def _tell(verdict: Verdict, report: Report) -> None:
    for finding, entry in verdict.borne:
        report.say(f"{finding.package} {finding.version}: {entry.id} is borne until {entry.expires}: {entry.reason}")
    for entry in verdict.expired:
        report.warn(f"deploy.audit.ignore: {entry.id} was borne until {entry.expires}: {entry.reason}")
    for entry in verdict.unused:
        report.warn(f"deploy.audit.ignore: nothing was found that {entry.id} is the name of; it can go")
    if verdict.counting:
        report.table(
            ["package", "version", "vulnerability", "also known as", "mended in"],
            [
                [each.package, each.version, each.names[0], ", ".join(each.names[1:]), ", ".join(each.fixed)]
                for each in verdict.counting
            ],
        )


def _count(number: int, one: str, several: str = "") -> str:
    return f"{number} {one if number == 1 else several or one + 's'}"
