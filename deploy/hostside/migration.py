"""Migrations of the database, run in a release on the primary host: one at a time, each written down as it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Callable

from . import commands, journal, patterns, troubles
from .failure import Failure
from .layout import Layout
from .migrations import Document, Guard, Heads, alone, summary
from .releases import now

HEAD_TIMEOUT_S = 60.0
HEADS_AT_MOST = 20
"""Lines that are heads; who has more of them prints a digest."""
HEAD_LENGTH = 200
"""Characters of one."""
NAMED = 3
"""Changed files that are told by name."""


def decide(
    layout: Layout, identifier: str, reference: str, only_if_changed: Sequence[str], later: bool, by: str
) -> dict[str, Any]:
    """Whether the files that tell of migrations changed since *reference*; if they did not, that is written down.

    :param reference: the release that is live, '' for none.
    :param later: it is to be migrated after the switch; that it is due is written down, too.
    :returns: ``needed``, ``why`` (or why not), ``lacking``: patterns that match nothing, and ``state`` as
        :func:`summary`.
    """
    with alone(layout, f"a look at the migrations of release {identifier}", by):
        document = Document(layout)
        changed, lacking = _compared(layout, reference, identifier, only_if_changed)
        why = _needed(document, reference, changed, lacking) if only_if_changed else "it always is"
        if why and later:
            document.note(identifier, state="due", by=by)
            document.save()
        elif not why and identifier != reference:
            known = document.of(reference)
            document.note(identifier, state="skipped", by=by, ended=now(), of=known["of"], heads=known.get("heads"))
            document.save()
    told = why or f"nothing of {', '.join(only_if_changed)} differs from {reference}"
    return {"needed": bool(why), "why": told, "lacking": lacking, "state": summary(layout)}


def _compared(layout: Layout, reference: str, identifier: str, wanted: Sequence[str]) -> tuple[list[str], list[str]]:
    """The files that differ, and the patterns that match nothing."""
    if not reference or not wanted:
        return [], []
    old, new = (patterns.matched(layout.release(name), wanted) for name in (reference, identifier))
    lacking = [pattern for pattern in wanted if not old[pattern] and not new[pattern]]
    changed = {
        path
        for pattern in wanted
        for path in old[pattern].keys() | new[pattern].keys()
        if old[pattern].get(path) != new[pattern].get(path)
    }
    return sorted(changed), lacking


def _needed(document: Document, reference: str, changed: Sequence[str], lacking: Sequence[str]) -> str:
    """Why to migrate, '' where there is no reason to."""
    known = document.of(reference)
    if not reference:
        return "no release is live"
    if known.get("state") not in ("done", "skipped") or "of" not in known:
        return f"no finished migration of {reference}, which is live, is recorded"
    last = document.database.get("release")
    if known["of"] != last:
        return f"{last or 'something else'} was at the database since {reference} migrated"
    if lacking:
        return f"nothing matches {', '.join(lacking)}"
    more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
    return f"changed: {', '.join(changed[:NAMED])}{more}" if changed else ""


def run(
    layout: Layout,
    identifier: str,
    head: str,
    by: str,
    progress: Callable[[str], None],
    command: str,
    env: Mapping[str, str],
    timeout: float | None,
) -> dict[str, Any]:
    """Migrate in a release; how it ends is written down, also where nobody waits for it.

    :param head: the command that tells the schema's heads, '' for none.
    :param command: with *env* and *timeout* as :func:`commands.run` has them.
    :returns: as :func:`commands.run`; ``heads`` and ``problem`` as :func:`ask`; ``state`` as :func:`summary`.
    :raises Failure: kind ``migrating``; one is running already.
    """

    given = {"command": command, "env": env, "timeout": timeout}

    def settle(document: Document, well: bool, heads: Heads | None) -> None:
        document.note(identifier, state="done" if well else "failed", of=identifier, heads=heads if well else None)
        document.schema_is(identifier, heads)

    with alone(layout, f"the migration of release {identifier}", by) as guard:
        ended = _written_down(layout, identifier, "migrate", guard, settle, head, by, progress, given)
    return {**ended, "state": summary(layout)}


def take_back(
    layout: Layout,
    identifier: str,
    target: str,
    head: str,
    by: str,
    progress: Callable[[str], None],
    command: str,
    env: Mapping[str, str],
    timeout: float | None,
) -> dict[str, Any]:
    """Bring the schema back to what it was when *target* had migrated, in the newer release; else as :func:`run`."""

    given = {"command": command, "env": env, "timeout": timeout}

    def settle(document: Document, well: bool, heads: Heads | None) -> None:
        document.note(identifier, state="undone" if well else "failed", heads=None)
        document.schema_is(document.of(target).get("of", target) if well else identifier, heads)

    with alone(layout, f"the downgrade in release {identifier}", by) as guard:
        ended = _written_down(layout, identifier, "downgrade", guard, settle, head, by, progress, given)
    return {**ended, "state": summary(layout)}


def _written_down(
    layout: Layout,
    identifier: str,
    event: str,
    guard: Guard,
    settle: Callable[[Document, bool, Heads | None], None],
    head: str,
    by: str,
    progress: Callable[[str], None],
    command: Mapping[str, Any],
) -> dict[str, Any]:
    document = Document(layout)
    document.note(identifier, state="running", by=by, started=now(), ended="", exited=None)
    # From now on nobody knows what it is at, until it is asked.
    document.schema_is(identifier, None)
    document.save()
    try:
        ended = commands.run(
            layout, identifier, progress=progress, holding=[guard.descriptor], begun=guard.name_group, **command
        )
    except (OSError, Failure):
        document.note(identifier, state="failed", ended=now())
        document.save()
        raise
    told = ask(layout, identifier, head, command["env"])
    settle(document, ended["exited"] == 0, told["heads"])
    document.note(identifier, ended=now(), exited=ended["exited"])
    document.save()
    outcome = {"outcome": "failed" if ended["exited"] else "good", "exited": ended["exited"]}
    entry = {"event": event, "release": identifier, "by": by, **outcome, "heads": told["heads"]}
    journal.append(layout, entry)
    return {**ended, **told}


def ask(layout: Layout, identifier: str, head: str, env: Mapping[str, str]) -> dict[str, Any]:
    """What the schema is at, as a command in a release tells it.

    :returns: ``heads``: the lines that it says, sorted, each once; None where that is not known, and then ``problem``.
    """
    if not head:
        return {"heads": None, "problem": ""}
    try:
        said = commands.answer(layout, identifier, head, env, HEAD_TIMEOUT_S)
    except OSError as error:
        return {"heads": None, "problem": troubles.explain(error).what}
    except Failure as failure:
        return {"heads": None, "problem": failure.what}
    if said["exited"]:
        last = (said["errors"] + said["output"]).strip().splitlines()[-1:]
        how = f"took longer than {HEAD_TIMEOUT_S:g} s" if said["exited"] == -1 else f"failed (exit {said['exited']})"
        return {"heads": None, "problem": ": ".join([how, *last])}
    heads = sorted({line.strip() for line in said["output"].splitlines() if line.strip()})
    if len(heads) > HEADS_AT_MOST or any(len(each) > HEAD_LENGTH for each in heads):
        what = f"said more than {HEADS_AT_MOST} lines, or one of more than {HEAD_LENGTH} characters"
        return {"heads": None, "problem": f"{what}; let it print a digest"}
    return {"heads": heads, "problem": ""}
