"""What going back means for the database: whether the schema is newer than the release, and what is done about it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..config import Downgrade, Migrate
from ..errors import CheckFailed, MigrationFailed
from ..host.connection import CommandResult, Host
from . import commands, migrating
from .migrating import shown
from .naming import names
from .run import Run

Releases = Mapping[Host, str]
Heads = list[str]


@dataclass(frozen=True, slots=True)
class TakingBack:
    """A downgrade that is to be run.

    :ivar release: the newer one, in which it runs.
    :ivar target: the release that is gone back to.
    :ivar heads: what the schema was at when *target* had been migrated.
    """

    command: str
    release: str
    target: str
    heads: Heads

    @property
    def variables(self) -> dict[str, str]:
        return {"DEPLOY_HEAD": "\n".join(self.heads)}


def look(run: Run, targets: Releases, there: list[Host], *, force: bool) -> TakingBack | None:
    """Compare the schema with what the releases to go back to were recorded with; a dry run asks no database.

    :param there: hosts that serve already what others go back to.
    :param force: go back in any case, and take nothing back.
    :returns: the downgrade, where one is to be run.
    :raises CheckFailed: the schema is newer, and that is refused; or the downgrade would harm hosts that stay.
    """
    settings = run.settings.migrate
    if settings is None or not settings.head:
        return None
    state = migrating.known(run)
    newer = _newest(run, state)
    now = _now(run, settings, state, newer) if newer else None
    if now is None:
        return None
    recorded = {name: state["releases"].get(name, {}).get("heads") for name in dict.fromkeys(targets.values())}
    made = state["database"].get("release") or newer
    for target, heads in recorded.items():
        if heads is None:
            run.report.warn(f"{_at(now, made)}; what {target} was migrated to is not recorded", run.primary.name)
    other = {target: heads for target, heads in recorded.items() if heads is not None and heads != now}
    if not other:
        return None
    differ = "; ".join(f"{target} was recorded with {shown(heads)}" for target, heads in other.items())
    what = f"{_at(now, made)}; {differ}"
    if force or settings.rollback == "warn":
        run.report.warn(f"{what}: it goes back, and the schema does not", run.primary.name)
        return None
    if not isinstance(settings.rollback, Downgrade):
        hint = f"take it back by hand, or {run.fab('rollback')} --force leaves the schema as it is"
        raise CheckFailed(f"{what} (deploy.migrate.rollback: refuse); nothing was touched", hint=hint)
    _assert_all_go(run, [*targets, *there], what)
    if len({tuple(heads) for heads in other.values()}) > 1:
        raise CheckFailed(f"{what}; one schema cannot be both", hint="narrow it by --limit to hosts that go alike")
    target, heads = next(iter(other.items()))
    return TakingBack(settings.rollback.command, newer, target, heads)


def _at(now: Heads, made: str) -> str:
    return f"the schema is at {shown(now)}, made by {made}"


def _newest(run: Run, state: Mapping[str, Any]) -> str:
    """The release that knows the schema best: what is live, unless another one was at the database since."""
    found = run.facts.get(run.primary) or run.found.get(run.primary) or {}
    live, releases = str(found.get("live", "")), found.get("releases", {})
    last = state["database"].get("release", "")
    if last in releases and state["releases"].get(live, {}).get("of") != last:
        return str(last)
    return live


def _now(run: Run, settings: Migrate, state: Mapping[str, Any], release: str) -> Heads | None:
    """What the schema is at, asked in *release*; where it does not say, what was recorded last."""
    last: Heads | None = state["database"].get("heads")
    if run.options.dry:
        return last
    host = run.primary
    env = commands.environment(run, host, release)
    answer = host.perform("ask_head", {"identifier": release, "head": settings.head, "env": env})
    if answer["problem"]:
        counts = "what was recorded last counts" if last is not None else "so nothing is compared"
        run.report.warn(f"what the schema is at cannot be asked: migrate.head {answer['problem']}; {counts}", host.name)
        return last
    heads: Heads = answer["heads"]
    return heads


def _assert_all_go(run: Run, going: list[Host], what: str) -> None:
    stay = [host for host in run.host_settings if host not in going]
    if stay:
        raise CheckFailed(
            f"{what}; a downgrade would take it away from {names(stay)}, which would not go back; nothing was touched",
            hint=f"go back on all hosts, or {run.fab('rollback')} --force leaves the schema as it is",
        )


def show(run: Run, back: TakingBack) -> None:
    """What :func:`take_back` would do, for a dry run."""
    told = f"would run in {back.release}{commands.names(run)}, with DEPLOY_HEAD {shown(back.heads)}: {back.command}"
    run.report.say(told, run.primary.name)


def take_back(run: Run, back: TakingBack) -> None:
    """Run the downgrade on the primary host; nothing is switched yet.

    :raises MigrationFailed: it did not exit with 0, or could not be run.
    :raises Locked: somebody migrates; it did not run.
    """
    assert run.settings.migrate is not None
    host = run.primary
    with run.report.step("downgrade", host.name) as step:
        ended = migrating.perform(
            run, "take_back", back.release, back.command, step.progress, back.variables, target=back.target
        )
        result = CommandResult(ended["exited"], ended["output"].strip())
        if problem := commands.problem(result, run.settings.migrate.timeout):
            raise MigrationFailed(
                f"the downgrade {problem}; nothing was switched",
                where=host.name,
                output=result.output,
                hint=commands.again(run, host, back.release, back.command, back.variables),
            )
        step.outcome = f"the schema is back at {shown(ended['heads'])}"
    if ended["problem"] or ended["heads"] != back.heads:
        why = f"migrate.head {ended['problem']}" if ended["problem"] else f"it is at {shown(ended['heads'])}"
        run.report.warn(f"the downgrade went well, but not to {shown(back.heads)}: {why}", host.name)


def tell_of_way_back(run: Run, release: str) -> None:
    """Hosts went back by themselves from *release*: say where that leaves the schema. It is not taken back.

    A person may do so, with the line that is shown, once no host serves the new release.
    """
    settings = run.settings.migrate
    former = str(run.facts.get(run.primary, {}).get("live", ""))
    if settings is None or not settings.head or former in ("", release):
        return
    records = migrating.known(run)["releases"]
    made, recorded = records.get(release, {}), records.get(former, {}).get("heads")
    if made.get("state") != "done" or made.get("heads") in (None, recorded):
        return
    known = f"was recorded with {shown(recorded)}" if recorded is not None else "was recorded without its own"
    run.report.warn(f"{_at(made['heads'], release)}, and stays so; {former} {known}", run.primary.name)
    if isinstance(settings.rollback, Downgrade) and recorded is not None:
        back = TakingBack(settings.rollback.command, release, former, recorded)
        line = shlex.join([*commands.by_hand(run.primary, release, back.variables), back.command])
        run.report.say(f"to take it back there (as {run.primary.deploy_user}): {line}", run.primary.name)
