"""The deploy lock: what keeps two deploys of one stage apart.

All times are this host's, so the clocks of the machines that deploy do not matter. What counts is the time since the
host was started, as its own clock may be set, too; where there is no such time, that clock has to do. Every look and
change happens under flock(2) on a guard file, so taking over an expired lock is as atomic as taking a free one.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from . import asking, clock, disk, migrations, troubles, turns
from .failure import Failure
from .layout import Layout
from .shapes import Owner

LockDocument = dict[str, Any]


@contextmanager
def _guarded(layout: Layout) -> Iterator[str]:
    if not os.access(layout.path(".deploy"), os.W_OK | os.X_OK):
        if os.path.isdir(layout.base) and troubles.is_read_only(layout.base):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), layout.path(".deploy"))
        raise Failure(f"{layout.base} is not set up", "run fab setup", "unprepared")
    descriptor = disk.open_own(layout.path(".deploy", "lock.guard"), os.O_RDWR | os.O_CREAT)
    try:
        turns.take(descriptor, layout)
        yield layout.path(".deploy", "lock.json")
    finally:
        os.close(descriptor)


def _valid(document: LockDocument | None) -> bool:
    return document is not None and (not document["expires"] or _left(document) > 0)


def _extended(document: LockDocument, expiry: float) -> LockDocument:
    """*document* for *expiry* seconds from now on.

    ``expires`` is by the clock: for documents and programs that know nothing of ``boot`` and ``until``.
    """
    boot = clock.boot()
    counted = {"boot": boot, "until": clock.since_boot() + expiry, "expiry": expiry} if boot else {}
    return {**document, "expires": time.time() + expiry if expiry else 0, **counted}


def _left(held: LockDocument) -> float:
    """Seconds until a lock that expires may be taken over."""
    boot = clock.boot()
    if not boot or not held.get("boot"):
        return float(held["expires"] - time.time())
    if held["boot"] == boot:
        return float(held.get("until", 0) - clock.since_boot())
    # The host was started again meanwhile; its owner, who may be at work on other hosts, has as long as ever to return.
    return float(held.get("expiry", 0) - clock.since_boot())


def _age(held: LockDocument) -> int:
    boot, since = held.get("since") or ("", 0)
    if boot and boot == clock.boot():
        return int(clock.since_boot() - since)
    return max(0, int(time.time() - held["started"]))


def acquire(layout: Layout, token: str, owner: Owner, expiry: float) -> dict[str, Any]:
    """Take the lock, or say who has it.

    :param token: a secret of this run; only who knows it may extend or release.
    :param owner: ``user``, ``host``, ``pid`` and ``message`` of the one who deploys.
    :param expiry: seconds until the lock may be taken over unless it is extended; 0 for never.
    :returns: ``taken_over``, the dead owner's document, or None.
    :raises Failure: kind ``locked``; somebody holds it, or a migration outlived the run that began it.
    """
    with _guarded(layout) as path:
        asking.assert_there()  # who was interrupted lets go of it by another program, which may have come first
        held = disk.read_json(path, "Held")
        if _valid(held):
            raise Failure(describe(held), _remedy(held), "locked")
        # By hand (no expiry) it keeps others away meanwhile, and does nothing itself.
        if expiry and (running := migrations.running(layout)):
            raise Failure(running, migrations.REMEDY, "locked")
        disk.sweep_orphans(layout.path(".deploy"))
        taken = {**owner, "token": token, "started": time.time()}
        if boot := clock.boot():
            taken["since"] = [boot, clock.since_boot()]
        disk.write_json(path, _extended(taken, expiry), 0o600)
        return {"taken_over": {**held, "token": ""} if held else None}


def extend(layout: Layout, token: str, expiry: float) -> dict[str, Any]:
    """Push the expiry on; who deploys says that it lives.

    :raises Failure: kind ``lost``; the lock is somebody else's by now.
    """
    with _guarded(layout) as path:
        held = disk.read_json(path, "Held")
        if not held or held["token"] != token:
            now = describe(held) if held else "it expired, or fab unlock took it away"
            raise Failure(f"the deploy lock was lost: {now}", kind="lost")
        disk.write_json(path, _extended(held, expiry), 0o600)
    return {}


def release(layout: Layout, token: str) -> dict[str, Any]:
    """Let go of the lock, if it is ours."""
    with _guarded(layout) as path:
        held = disk.read_json(path, "Held")
        if held and held["token"] == token:
            disk.remove(path)
            return {"released": True}
    return {"released": False}


def break_lock(layout: Layout, user: str, host: str, force: bool) -> dict[str, Any]:
    """Remove the lock: one's own that was taken by hand, an expired one, or any with *force*."""
    with _guarded(layout) as path:
        asking.assert_there()  # somebody may have come first who asked again, and the lock is that of a deploy by now
        held = disk.read_json(path, "Held")
        if not held:
            return {"held": None}
        by_hand = not held["expires"] and (held["user"], held["host"]) == (user, host)
        if _valid(held) and not by_hand and not force:
            raise Failure(describe(held), "fab unlock --force takes it away", "locked")
        disk.remove(path)
        return {"held": describe(held)}


def show(layout: Layout) -> str | None:
    """One sentence about the lock that is held, or None."""
    held = disk.read_json(layout.path(".deploy", "lock.json"), "Held")
    return describe(held) if held and _valid(held) else None


def describe(held: LockDocument) -> str:
    age = _age(held)
    message = f" ({held['message']})" if held.get("message") else ""
    left = int(_left(held)) if held["expires"] else 0
    end = f", expires in {left} s" if left > 0 else ", expired" if held["expires"] else ""
    return (
        f"the deploy lock is held by {held['user']}@{held['host']} pid {held['pid']}{message}"
        f" for {age // 60} min {age % 60} s{end}"
    )


def _remedy(held: LockDocument) -> str:
    if held["expires"]:
        return (
            "wait for it (--lock-wait SECONDS); if that run is dead, the lock expires by itself, or: fab unlock --force"
        )
    return "it was taken by hand with fab lock; fab unlock lets go of it"
