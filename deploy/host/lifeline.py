"""Whether the other end of a connection still lives: asked while it is silent, and given up when it stays so.

Neither Paramiko nor the kernel tells in time: a frozen server acknowledges what it never reads, and what is sent into
a network that was cut is repeated for a quarter of an hour.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import weakref
from typing import Any

import paramiko
from paramiko.common import cMSG_GLOBAL_REQUEST

QUESTION = "keepalive@openssh.com"
"""A request that no server knows, so that each answers that it does not."""

LOOK_S = 1.0


class HeardSocket:
    """What a connection reads from: a socket, or the channel of a gateway; remembers when something last came.

    :param below: what is really read from.
    """

    def __init__(self, below: Any) -> None:
        self._below = below
        self.heard = time.monotonic()

    def recv(self, size: int) -> bytes:
        received: bytes = self._below.recv(size)
        self.heard = time.monotonic()
        return received

    def __getattr__(self, name: str) -> Any:
        return getattr(self._below, name)

    def cut(self) -> None:
        """Wake who reads from it; closing alone does not."""
        if isinstance(self._below, socket.socket):
            with contextlib.suppress(OSError):
                self._below.shutdown(socket.SHUT_RDWR)


class Lifeline:
    """The watch over one connection, from the login to its end.

    :param silence_s: how long it may be silent at most.
    :ivar silent_s: how long it had been silent when it was given up; 0 where it was not.
    """

    def __init__(self, transport: paramiko.Transport, heard: HeardSocket, silence_s: float) -> None:
        self._transport = transport
        self._heard = heard
        # Less than may be, because looking and closing take a moment.
        self._limit_s = silence_s * 0.8
        self.silent_s = 0.0
        # Sent by the connection's own thread: another one could be held up by a full socket, and nobody would look.
        transport.packetizer.set_keepalive(silence_s / 6, self._ask)
        _watch(self)

    def _ask(self) -> None:
        # Paramiko's own keepalive wants no answer, so it notices nothing.
        message = paramiko.Message()
        message.add_byte(cMSG_GLOBAL_REQUEST)
        message.add_string(QUESTION)
        message.add_boolean(True)
        self._transport._send_user_message(message)  # type: ignore[attr-defined]  # global_request() waits, or asks nothing

    def look(self, now: float) -> bool:
        """Give the connection up where it has been silent for too long; whether there is more to watch."""
        if not self._transport.is_active():
            return False
        silent_s = now - self._heard.heard
        if silent_s < self._limit_s:
            return True
        self.silent_s = silent_s
        self._heard.cut()
        # It waits for the connection's thread; the other connections' lives must not depend on that.
        threading.Thread(target=self._transport.close, daemon=True, name="give up").start()
        return False


_watched: weakref.WeakSet[Lifeline] = weakref.WeakSet()
_mutex = threading.Lock()
_watcher: threading.Thread | None = None


def _watch(lifeline: Lifeline) -> None:
    """One thread looks after all connections of this process."""
    global _watcher
    with _mutex:
        _watched.add(lifeline)
        if _watcher is None or not _watcher.is_alive():
            _watcher = threading.Thread(target=_look, daemon=True, name="lifelines")
            _watcher.start()


def _look() -> None:
    last = time.monotonic()
    while True:
        time.sleep(LOOK_S)
        now = time.monotonic()
        # A process that stood still heard nothing because it did not listen.
        stood_still = now - last > 5 * LOOK_S
        last = now
        with _mutex:
            lifelines = list(_watched)
        if stood_still:
            for lifeline in lifelines:
                lifeline._heard.heard = now
            continue
        for lifeline in lifelines:
            if not lifeline.look(now):
                with _mutex:
                    _watched.discard(lifeline)
