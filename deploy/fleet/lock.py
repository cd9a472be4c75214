"""The deploy lock of a stage, held on its primary host for as long as this run lives."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from ..errors import CheckFailed, DeployError, Locked, as_kind
from ..host.connection import Host
from ..host.session import HostFailure, Operations, Session


def whoami() -> dict[str, str]:
    """Who deploys, from where."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return {"user": user, "host": socket.gethostname()}


class DeployLock:
    """Taken on entering, extended while it is held, let go of on leaving, whatever the reason.

    :param prepare: makes the directories of the host, called where they are lacking.
    :param wait_s: how long to wait for another deploy.
    :param say: told once when there is somebody to wait for, and when a dead run's lock is taken over.
    :param then: what the primary is asked in the same round trip, once the lock is ours; see :attr:`found`.
    :ivar found: the results of *then*.
    """

    def __init__(
        self,
        primary: Host,
        *,
        message: str,
        expiry_s: float,
        wait_s: float,
        prepare: Callable[[], None],
        say: Callable[[str], None],
        then: Operations = (),
    ) -> None:
        self._primary = primary
        self._message = message
        self._expiry_s = expiry_s
        self._wait_s = wait_s
        self._prepare = prepare
        self._say = say
        self._then = then
        self.found: list[Any] = []
        self._token = secrets.token_hex(16)
        self._done = threading.Event()
        self._released = False
        self._extender = threading.Thread(target=self._extend, daemon=True)

    def __enter__(self) -> DeployLock:
        try:
            self._acquire()
        except BaseException:
            # An interrupt may have come between the host's yes and our hearing it.
            self._release()
            raise
        self._extender.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._release()

    def assert_held(self) -> None:
        """Look before something is migrated or switched: a laptop that slept may have lost the lock without noticing.

        :raises Locked: it is not ours any more.
        :raises CheckFailed: the host cannot write it down.
        """
        try:
            self._primary.call("extend", token=self._token, expiry=self._expiry_s)
        except HostFailure as failure:
            if failure.kind != "lost":
                raise as_kind(CheckFailed, failure) from None
            hint = "nothing that serves was touched; deploy again"
            raise Locked(failure.what, where=failure.where, hint=hint) from None

    def _acquire(self) -> None:
        deadline: float | None = None
        owner = {**whoami(), "pid": os.getpid(), "message": self._message}
        prepared = False
        while True:
            try:
                take = ("lock", {"token": self._token, "owner": owner, "expiry": self._expiry_s})
                answer, *self.found = self._primary.batch([take, *self._then])
            except HostFailure as failure:
                if failure.kind == "unprepared" and not prepared:
                    self._prepare()
                    prepared = True
                    continue
                if failure.kind != "locked":
                    raise as_kind(CheckFailed, failure) from None
                if deadline is None:
                    deadline = time.monotonic() + self._wait_s
                    if self._wait_s:
                        self._say(f"{failure.what}; waiting up to {self._wait_s:g} s")
                if time.monotonic() >= deadline:
                    raise Locked(failure.what, where=failure.where, hint=failure.hint) from None
                time.sleep(min(1.0, max(0.05, deadline - time.monotonic())))
                continue
            if dead := answer["taken_over"]:
                self._say(f"took over the expired deploy lock of {dead['user']}@{dead['host']} pid {dead['pid']}")
            return

    def _extend(self) -> None:
        session: Session | None = None
        while not self._done.wait(self._expiry_s / 3):
            try:
                with self._primary.lost_means_failed():
                    # A host program of its own: the deploy's one may be busy for minutes.
                    if session is None or session.closed:
                        session = self._primary.new_session()
                    session.batch([("extend", {"token": self._token, "expiry": self._expiry_s})])
            except HostFailure as failure:
                if failure.kind == "lost":
                    return  # it is told by assert_held()
                # Its disk may be full, and have room again before the lock expires.
            except DeployError:
                session = None  # a lost connection is the deploy's own to report

    def last_request(self) -> Operations:
        """What lets go of the lock, to be sent behind the run's last work; until then it is extended as ever."""
        return [("unlock", {"token": self._token})]

    def was_released(self) -> None:
        """The answer to :meth:`last_request` has come, so leaving has nothing to do."""
        self._released = True

    def _release(self) -> None:
        if self._released:
            return
        try:
            self._let_go()
        except BaseException:
            # An interrupt came just now; letting go twice does no harm.
            self._let_go()
            raise

    def _let_go(self) -> None:
        with contextlib.suppress(DeployError):
            self._primary.call("unlock", token=self._token)
