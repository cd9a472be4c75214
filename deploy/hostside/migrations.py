"""What is known of migrations on the primary host, and the guard that lets one run at a time.

The guard is flock(2) on a file that the command inherits: even where the host program dies, nobody else migrates before
the command has ended. `.deploy/migrations.json` is written by who holds the guard, and by nobody else: a migration that
goes on when nobody listens any more tells how it ended, whoever deploys by then.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from . import clock, disk, looking
from .failure import Failure
from .layout import Layout, is_name
from .releases import now

SCHEMA = 1
_TRIES = 20
"""Who only looks whether the guard is held holds it for a moment himself."""

REMEDY = "wait for it (--lock-wait SECONDS); fab status tells how it ended"

Heads = list[str]


class Document:
    """`.deploy/migrations.json`.

    :ivar releases: of each release that is there, ``state`` (``due``, ``running``, ``done``, ``failed``, ``skipped``,
        ``undone``), ``by``, ``started``, ``ended``, ``exited``, ``heads`` (what the schema was at then, None where
        that is not known) and ``of``: the release whose migration made that schema.
    :ivar database: the same of the schema as it is now: ``release`` that was at it last, ``heads``, ``time``.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._path = layout.path(".deploy", "migrations.json")
        new = {"schema": SCHEMA, "releases": {}, "database": {}}
        document: dict[str, Any] = disk.read_json(self._path, "Migrations", SCHEMA) or new
        self._document = document
        self.releases: dict[str, dict[str, Any]] = document["releases"]
        self.database: dict[str, Any] = document["database"]

    def of(self, identifier: str) -> dict[str, Any]:
        return self.releases.get(identifier, {})

    def note(self, identifier: str, **fields: Any) -> None:
        self.releases.setdefault(identifier, {}).update(fields)

    def schema_is(self, release: str, heads: Heads | None) -> None:
        self.database.clear()
        self.database.update(release=release, heads=heads, time=now())

    def save(self) -> None:
        for identifier in list(self.releases):
            if not is_name(identifier) or not self._layout.has(identifier):
                del self.releases[identifier]
        disk.write_json(self._path, self._document)


def summary(layout: Layout) -> dict[str, Any]:
    """What is known of all migrations; read-only.

    :returns: ``running``, a sentence, '' where none is; ``releases`` and ``database`` as :class:`Document` has them,
        but what ended and could not say how is ``cut off``.
    """
    if not looking.is_directory(layout.path(".deploy")):
        return {"running": "", "releases": {}, "database": {}}
    at_work = running(layout)
    document = Document(layout)
    for record in document.releases.values():
        if record["state"] == "running" and not at_work:
            record["state"] = "cut off"
    return {"running": at_work, "releases": document.releases, "database": document.database}


# --- the guard ---


def running(layout: Layout) -> str:
    """A sentence about the migration that is running, '' where none is; read-only."""
    try:
        descriptor = disk.open_own(_guard_file(layout), os.O_RDONLY)
    except FileNotFoundError:
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return ""
    except BlockingIOError:
        return _described(descriptor)
    finally:
        os.close(descriptor)


def _guard_file(layout: Layout) -> str:
    return layout.path(".deploy", "migration.guard")


class Guard:
    """The held guard; what is written into the file tells others who is at it."""

    def __init__(self, descriptor: int, what: str, by: str) -> None:
        self.descriptor = descriptor
        self._about: dict[str, Any] = {"what": what, "by": by, "since": _clock()}
        self._write()

    def name_group(self, group: int) -> None:
        self._about["group"] = group
        with contextlib.suppress(OSError):  # a full disk is no reason to leave the command alone
            self._write()

    def _write(self) -> None:
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, json.dumps(self._about).encode(), 0)


@contextmanager
def alone(layout: Layout, what: str, by: str) -> Iterator[Guard]:
    """Hold the guard.

    :raises Failure: kind ``migrating``; somebody else does.
    """
    descriptor = disk.open_own(_guard_file(layout), os.O_RDWR | os.O_CREAT)
    try:
        _take(descriptor)
        yield Guard(descriptor, what, by)
        # Not only closed: what the command left running in the background has inherited it. Where something fails
        # while it runs, it keeps the guard.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> None:
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(0.05)
    raise Failure(_described(descriptor), REMEDY, "migrating")


def _clock() -> float:
    """Who holds the guard began since this host was started, so nobody who sets its clock matters."""
    return clock.since_boot() if clock.boot() else time.time()


def _described(descriptor: int) -> str:
    try:
        about = json.loads(os.pread(descriptor, 1 << 12, 0))
        age = max(0, int(_clock() - about["since"]))
        told = f"{about['what']}, begun by {about['by']}, has been running for {age // 60} min {age % 60} s"
        return told + (f" (to end it there: kill -- -{about['group']})" if "group" in about else "")
    except (ValueError, KeyError, TypeError):
        return "a migration is running"
