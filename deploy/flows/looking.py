"""`fab status` and `fab check`: look at every host, change nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fabric import Config

from ..bundle import Target, targetfile
from ..errors import CheckFailed, ConnectionFailed, DeployError, Interrupted, as_kind, by_host
from ..fleet import parallel
from ..host.connection import Host
from ..host.session import HostFailure
from ..source.snapshot import files
from . import bundling, fitting, maintaining, matching, migrating, plan, probing, pushing, reaching
from .balancing import Balance
from .run import Options, Run, opened


def status(config: Config, options: Options) -> None:
    """What serves where: release, revision, since when, by whom.

    :raises ConnectionFailed: after the table, where a host could not be asked.
    """
    with opened(config, options) as run:
        asked = run.hosts
        answers, failures = parallel.attempt(asked, lambda host: _ask(run, host))
        rows = []
        for host in asked:
            if host in failures:
                reached = not isinstance(failures[host], ConnectionFailed)
                rows.append([host.name, "not known" if reached else "not reached", "", "", "", "", ""])
            else:
                rows.append([host.name, *_row(answers[host])])
        run.report.table(["host", "release", "revision", "state", "since", "by", "staged"], rows)
        for host, facts in answers.items():
            if facts["lock"]:
                run.report.say(facts["lock"], host.name)
            for line in migrating.told(run, facts):
                run.report.say(line, host.name)
            if facts["drained"]:
                run.report.say(f"was taken out of {', '.join(facts['drained'])} by a run, and not put back", host.name)
        maintaining.tell(run, {host: facts["maintenance"] for host, facts in answers.items()})
        reaching.pass_over(run, failures)


def _ask(run: Run, host: Host) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = host.call("probe", shared_files=[], services=[], maintenance_file=run.watched)
    except HostFailure as failure:
        raise as_kind(CheckFailed, failure) from None
    return answer


def _row(facts: dict[str, Any]) -> list[str]:
    live = facts["live"]
    record = facts["releases"].get(live, {})
    return [
        live or "none",
        _revision(record),
        str(record.get("state", "")),
        str(record.get("activated", "")),
        str(record.get("by", "")),
        str(facts["staged"] or ""),
    ]


def _revision(record: Mapping[str, Any]) -> str:
    """The revision; and the tag or branch it was asked for by, or how many files no commit held."""
    asked = str(record.get("asked") or "")
    revision = str(record.get("revision", ""))
    if asked and not str(record.get("commit", "")).startswith(asked):
        return f"{revision} ({asked})"
    count = record.get("changes", {}).get("count", 0)
    return f"{revision} ({files(count)})" if count else revision


def check(config: Config, options: Options) -> None:
    """Probe every host and say everything that would stop a deploy.

    :raises CheckFailed: something would.
    """
    with opened(config, options) as run:
        _, lost = parallel.attempt(run.hosts, Host.open)
        if lost:
            # What the others say is shown all the same; in the end it is told.
            run.hosts = [host for host in run.hosts if host not in lost]
        probing.probe(run, also=["foreign", "openssh"])
        probing.warn(run)
        probing.warn_of_foreign(run)
        rights = parallel.each(run.hosts, probing.sudo_rights)
        doubts = parallel.each(run.hosts, lambda host: probing.doubts(run, host))
        problems = []
        maintaining.tell(run, {host: run.facts[host]["maintenance"] for host in run.hosts})
        try:
            for name, told in Balance(run).describe():
                run.report.say(told, name)
        except Interrupted:
            raise
        except DeployError as error:
            problems += [(part.where, part.what) for part in error.parts or (error,)]
        libraries = fitting.missing_libraries(run, bundling.all_known(run))
        for host in run.hosts:
            facts = run.facts[host]
            found = probing.problems(run, host, facts) + matching.problems(run, host)
            found += [problem for name, problem in libraries if name == host.name]
            if unchecked := fitting.unchecked_packages(run, facts):
                run.report.warn(unchecked, host.name)
            if denied := probing.may_restart(run, host):
                found.append(denied)
            for held in filter(None, (facts["lock"], facts["migration"]["running"])):
                run.report.warn(held, host.name)
            for doubt in doubts[host]:
                run.report.warn(doubt, host.name)
            problems += [(host.name, problem) for problem in found]
            said = f"{len(found)} in the way, see below" if found else _described(facts, rights[host])
            run.report.say(said, host.name)
        if problems:
            problems += [(host.name, error.what) for host, error in lost.items()]
            raise CheckFailed(f"a deploy would fail:\n{by_host(problems)}", hint=fitting.hint(run) if libraries else "")
        reaching.pass_over(run, lost)
        if told := pushing.other_way(run):
            run.report.warn(told)
        matching.warn(run)
        targets = bundling.targets(run).values()
        plan.show_bundles(run, targets)
        names = targetfile.names(targets).values()
        run.report.say(f"nothing stands in the way ({', '.join(sorted(names))})")


def _described(facts: dict[str, Any], sudo: str) -> str:
    openssh = f"OpenSSH {facts['openssh']}" if facts["openssh"] else ""
    libc = Target.from_facts(facts).libc_version
    free = f"{facts['free_bytes'] >> 20} MiB free"
    parts = [f"Python {facts['python']}", libc, openssh, f"sudo: {sudo or 'unknown'}", free]
    return ", ".join(filter(None, [*parts, facts["live"] or "nothing live"]))
