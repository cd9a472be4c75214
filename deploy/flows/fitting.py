"""What hosts lack of what the app expects of them: shared libraries and packages; asked before a byte is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..bundle import Bundle
from ..errors import CheckFailed, by_host
from ..fleet import parallel
from ..host import packages
from ..host.connection import Host
from . import commands
from .run import Run

NAMED = 3
"""How many of the files that need a library are named."""


def verify(run: Run, bundles: Mapping[Host, Bundle]) -> None:
    """Stop here where a host lacks a library that its bundle needs; hosts that had the bundle before are not asked.

    :raises CheckFailed: with every library, host by host.
    """
    new = {host: bundle for host, bundle in bundles.items() if not _had(run, host, bundle.manifest.digest)}
    if found := missing_libraries(run, new):
        raise CheckFailed(f"the deploy would fail; nothing was touched:\n{by_host(found)}", hint=hint(run))


def _had(run: Run, host: Host, digest: str) -> bool:
    return any(record.get("bundle") == digest for record in run.facts[host]["releases"].values())


def hint(run: Run) -> str:
    return (
        f"install what is lacking ({run.fab('setup --packages')}, if deploy.system_packages names it), "
        "or name in deploy.check.ignore what the application does without"
    )


def missing_libraries(run: Run, bundles: Mapping[Host, Bundle]) -> list[tuple[str, str]]:
    """Each host's name with each library that it lacks, as a sentence.

    :raises BuildError: a wheel cannot be read.
    """
    from ..bundle import needs

    by_digest = {bundle.manifest.digest: bundle for bundle in bundles.values()}
    ignored = set(run.settings.check.ignore)
    wanted = {
        digest: [each for each in needs.of_bundle(bundle) if each.soname not in ignored]
        for digest, bundle in by_digest.items()
    }
    asked = [host for host, bundle in bundles.items() if wanted[bundle.manifest.digest]]

    def ask(host: Host) -> list[str]:
        libraries = wanted[bundles[host].manifest.digest]
        paths = {each.soname: list(each.paths) for each in libraries}
        answer = host.call("libraries", libraries=paths, env=commands.environment(run, host, ""))
        lacking = answer["lacking"]
        return [
            _sentence(each.soname, each.by, lacking[each.soname], answer["manager"])
            for each in libraries
            if each.soname in lacking
        ]

    answers = parallel.each(asked, ask)
    return [(host.name, sentence) for host, sentences in answers.items() for sentence in sentences]


def _sentence(soname: str, by: Sequence[str], words: str, manager: str) -> str:
    from ..bundle import sonames

    verb = "lacks" if not words else "cannot load"
    said = f" ({words})" if words else ""
    more = f" and {len(by) - NAMED} more" if len(by) > NAMED else ""
    package = sonames.rpm(soname) if manager == "dnf" else sonames.debian(soname)
    name = {"apt": "Debian", "dnf": "RPM"}.get(manager)
    brings = f"; {name}: {package}" if package and name else ""
    return f"{verb} {soname}{said}, needed by {', '.join(by[:NAMED])}{more}{brings}"


def missing_packages(facts: Mapping[str, Any]) -> list[str]:
    """The packages that ``system_packages`` names and a host that says *facts* of itself lacks, as a sentence."""
    answer = facts.get("packages")
    if not answer or not answer["lacking"]:
        return []
    names = ", ".join(answer["lacking"])
    return [
        f"lacks {names} (deploy.system_packages.{answer['manager']}); fab setup --packages installs what is lacking"
    ]


def unchecked_packages(run: Run, facts: Mapping[str, Any]) -> str:
    """Why ``system_packages`` says nothing about a host; '' where it does."""
    answer = facts.get("packages")
    named = [manager for manager, names in run.settings.system_packages.model_dump().items() if names]
    if not answer or answer["manager"] in named:
        return ""
    its = answer["manager"] or "no package manager that is known"
    return f"deploy.system_packages names packages of {', '.join(named)}; the host has {its}, so none was looked for"


def install_packages(run: Run) -> None:
    """Install, as root, what the hosts lack of ``system_packages``; needs the facts of a probe.

    :raises CheckFailed: the package manager failed, with the end of its output.
    """
    parallel.each(run.hosts, lambda host: _install(run, host))


def _install(run: Run, host: Host) -> None:
    answer = run.facts[host].get("packages") or {"lacking": []}
    if not answer["lacking"]:
        run.report.say(unchecked_packages(run, run.facts[host]) or "no package is lacking", host.name)
        return
    command = packages.install(answer["manager"], answer["lacking"])
    with run.report.step("packages", host.name) as step:
        result = host.run(command, user="root")
        if not result.ok:
            raise CheckFailed(
                f"the packages could not be installed (exit {result.exited})",
                where=host.name,
                output=result.output,
                hint=f"to see it again there, as root: {command}",
            )
        wanted = run.settings.system_packages.model_dump()
        left = host.call("packages", wanted=wanted)["lacking"]
        if left:
            raise CheckFailed(f"{', '.join(left)} is still lacking", where=host.name, output=result.output)
        step.outcome = f"installed {', '.join(answer['lacking'])}"


def show_packages(run: Run) -> None:
    """What :func:`install_packages` would run where."""
    for host in run.hosts:
        answer = run.facts[host].get("packages")
        if answer and answer["lacking"]:
            run.report.say(f"would run as root: {packages.install(answer['manager'], answer['lacking'])}", host.name)
