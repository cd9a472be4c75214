"""Look at every host before anything is touched, and say all that would stop a deploy."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import CheckFailed, as_kind, by_host
from ..fleet import parallel
from ..host.connection import Host
from ..host.session import HostFailure
from ..service import manager, unitfiles
from . import fitting, matching, reaching, signing
from .run import Run

MIB = 1 << 20
MIN_FREE_INODES = 5_000


def probe(run: Run, also: Sequence[str] = ()) -> None:
    """Ask every host of the run what it is and what lies on it; read-only, in parallel.

    :param also: questions that take longer (``libraries``, ``openssh``, ``sudo``): see :mod:`deploy.hostside.probe`.
    :raises CheckFailed: a host could not look.
    """

    def ask(host: Host) -> dict[str, Any]:
        with run.report.step("probe", host.name):
            if host in run.found:
                return run.found.pop(host)
            try:
                return run.heard(host.batch(run.questions(host, also)))
            except HostFailure as failure:
                raise as_kind(CheckFailed, failure) from None

    run.facts, failures = parallel.attempt(run.hosts, ask)
    reaching.leave_out(run, failures)


def verify(run: Run) -> None:
    """Stop here where a host cannot take a release.

    :raises CheckFailed: with everything that is in the way, host by host.
    """
    found = {host: problems(run, host, facts) + matching.problems(run, host) for host, facts in run.facts.items()}
    warn(run)
    if any(found.values()):
        told = by_host((host.name, problem) for host, items in found.items() for problem in items)
        raise CheckFailed(f"the deploy would fail; nothing was touched:\n{told}")


def warn(run: Run) -> None:
    """Say what does not stop a deploy and may not be meant."""
    for host, facts in run.facts.items():
        for name, doubt in facts["shared_doubtful"]:
            run.report.warn(f"{host.base_path}/shared/{name} {doubt}", host.name)


def warn_of_foreign(run: Run) -> None:
    """Say what the deploy user will not be able to remove; it stops no deploy and fills the disk."""
    for host, facts in run.facts.items():
        for path, owner in facts["foreign"]:
            remedy = f"sudo rm -r {shlex.quote(path)}, where no release needs it any more"
            run.report.warn(f"{path} belongs to {owner} and cannot be removed with its release: {remedy}", host.name)


def problems(run: Run, host: Host, facts: Mapping[str, Any]) -> list[str]:
    """What would stop a deploy to a host that says *facts* of itself."""
    settings = run.settings
    found = []
    base = facts["base"]
    if not facts["has_venv"]:
        found.append(f"{host.python} lacks the module venv (Debian: apt install python3-venv)")
    if facts["free_bytes"] < settings.min_free_mb * MIB:
        free = facts["free_bytes"] // MIB
        found.append(f"only {free} MiB are free for {host.base_path}; deploy.min_free_mb is {settings.min_free_mb}")
    if facts["free_inodes"] < MIN_FREE_INODES:
        found.append(f"only {facts['free_inodes']} inodes are free for {host.base_path}")
    if base["read_only"]:
        found.append(f"the file system of {host.base_path} is read-only; look at the host's disk and its mount")
    for path in () if base["read_only"] else base["unwritable"]:
        found.append(f"{facts['user']} may not write to {path}; fab setup mends it")
    for name in facts["shared_missing"]:
        found.append(f"{host.base_path}/shared/{name} is missing; {run.fab('shared.put')} FILE --as {name}")
    for name, matter in facts["shared_wrong"]:
        found.append(f"{host.base_path}/shared/{name} {matter}")
    for name in facts["units_missing"]:
        if not unitfiles.brings(run.service(host), name):
            found.append(f"the unit {name} is not on the host (systemctl does not know it)")
    found += fitting.missing_packages(facts)
    if problem := _signers(run, host, facts):
        found.append(problem)
    return found


def _signers(run: Run, host: Host, facts: Mapping[str, Any]) -> str:
    """Whether the host's list of allowed signers is the configured one; what is the matter, '' if nothing is."""
    text = signing.allowed_text(run.settings, run.directory)
    known = facts["signers"]
    if text is None or facts["base"]["lacking"]:
        return ""  # what has no directories yet is set up before anything is sent, and given its list with them
    if not known["path"]:
        return "the host has no list of allowed signers, and deploy.bundle.allowed_signers is set; fab setup mends it"
    if known["sha256"] != signing.sha256(text):
        return f"{known['path']} is not what deploy.bundle.allowed_signers says; fab setup mends it"
    if run.settings.bundle.signers_owner == "root" and known["path"].startswith(host.base_path):
        return f"{known['path']} can be changed by the deploy user, and it is to be root's; fab setup mends it"
    return ""


def sudo_rights(host: Host) -> str:
    """What sudo lets the login user do, in short: see :mod:`deploy.hostside.probe`."""
    with host.lost_means_failed():
        answer: str = host.session(host.login).batch([("ask", {"also": ["sudo"]})])[0]["sudo"]
    return answer


def doubts(run: Run, host: Host) -> list[str]:
    """What of the service's units would give their processes two releases at once: :mod:`deploy.hostside.mixing`."""
    service = run.service(host)
    if service is None or run.facts[host]["base"]["lacking"]:
        return []
    told = manager.descriptions(service, host.base_path)
    asked = [(name, {"service": each}) for each in told for name in ("doubt_unit", "doubt_sockets")]
    return [doubt for answer in host.batch(asked) for doubt in answer]


def may_restart(run: Run, host: Host) -> str:
    """Whether sudo lets the login user restart the service; '' where it does or cannot be asked."""
    service = run.service(host)
    if service is None or host.login == "root" or host.sudo_password:
        return ""
    commands = [manager.restart(part.service, host.base_path) for part in manager.parts(service)]
    commands += unitfiles.all_of(service, host.base_path) if unitfiles.names(service) else []
    for command in commands:
        if command.user == "root" and not host.run(f"sudo -n -l -- {command}").ok:
            return f"{host.login} may not run without a password: sudo {command}"
    return ""
