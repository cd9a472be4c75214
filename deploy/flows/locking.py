"""`fab lock` and `fab unlock`: keep everybody from deploying for a while."""

from __future__ import annotations

import os
import secrets

from fabric import Config

from ..errors import CheckFailed, DeployError, Locked, as_kind
from ..fleet.lock import whoami
from ..host.session import HostFailure
from .preparing import prepare
from .run import Options, opened


def lock(config: Config, options: Options, message: str) -> None:
    """Take the deploy lock of the stage and keep it until ``fab unlock``.

    :raises Locked: somebody has it.
    :raises CheckFailed: the host cannot write it down.
    """
    with opened(config, options) as run:
        if options.dry:
            run.report.say("would take the deploy lock", run.primary.name)
            return
        prepare(run, [run.primary])
        owner = {**whoami(), "pid": os.getpid(), "message": message}
        try:
            run.primary.call("lock", token=secrets.token_hex(16), owner=owner, expiry=0)
        except HostFailure as failure:
            raise _kind(failure) from None
        run.report.say(f"{run.stage} is locked; {run.fab('unlock')} lets go of it")


def unlock(config: Config, options: Options, *, force: bool) -> None:
    """Let go of a deploy lock: one's own, or anybody's with *force*.

    :raises Locked: it is somebody else's.
    :raises CheckFailed: it cannot be looked at or removed.
    """
    with opened(config, options) as run:
        if options.dry:
            run.report.say("would let go of the deploy lock", run.primary.name)
            return
        who = whoami()
        try:
            answer = run.primary.call("break_lock", user=who["user"], host=who["host"], force=force)
        except HostFailure as failure:
            if failure.kind == "unprepared":
                answer = {"held": None}
            else:
                raise _kind(failure) from None
        held = answer["held"]
        run.report.say(f"unlocked; {held.replace('is held', 'was held')}" if held else f"{run.stage} was not locked")


def _kind(failure: HostFailure) -> DeployError:
    return as_kind(Locked if failure.kind == "locked" else CheckFailed, failure)
