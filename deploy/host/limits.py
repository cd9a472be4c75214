"""A time limit for commands that somebody else's code runs: each has what is left of it, and ends with all it began.

The time-outs of Invoke and Fabric end no more than a shell here, and nothing at all on a host.
"""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import signal
import subprocess
import threading
import time
from typing import Any

import fabric.runners
import invoke.runners
from invoke.exceptions import CommandTimedOut

GRACE_S = 5.0
"""How long what is told to end may take, until it is killed."""

LEEWAY_S = 10.0
"""How much later than on the host itself a command's time is over here."""

LATE = (124, 137)
"""Exit statuses of what timeout(1) ended or killed."""


class Limit:
    """So many seconds from now on, for all that is run one after another."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self, own: float | None) -> float:
        """What a command may take that has a time-out of its *own*."""
        left = self._end - time.monotonic()
        return left if own is None else min(left, own)


class _Limited:
    """Mixed into a runner of Invoke's, whose context has a ``limit`` or None."""

    allowed: float | None = None
    opts: dict[str, Any]
    using_pty: bool
    context: Any

    def run(self, command: str, **keywords: Any) -> Any:
        limit: Limit | None = getattr(self.context, "limit", None)
        # What is disowned is to go on by itself.
        if limit is not None and not keywords.get("disown"):
            allowed = limit.left(keywords.get("timeout", self.context.config.timeouts.command))
            if allowed <= 0:
                raise CommandTimedOut(invoke.runners.Result(command=command), timeout=limit.seconds)  # type: ignore[arg-type]
            self.allowed = keywords["timeout"] = allowed
        try:
            return super().run(command, **keywords)  # type: ignore[misc]
        except CommandTimedOut as error:
            if limit is not None and limit.left(None) <= 0:
                error.timeout = limit.seconds  # type: ignore[assignment]
            raise


class OnHost(_Limited, fabric.runners.Remote):  # type: ignore[misc]  # Fabric has no types
    """Commands over a connection: timeout(1) ends them there, and the channel is closed where it cannot (root's)."""

    def send_start_message(self, command: str) -> None:
        self._started = time.monotonic()
        super().send_start_message(self._ended_there(command))

    def _ended_there(self, command: str) -> str:
        # In a terminal the end of the channel is a hang-up, which ends all.
        if self.allowed is None or self.using_pty:
            return command
        limited = shlex.join(["timeout", "-k", f"{GRACE_S:g}", str(math.ceil(self.allowed))])
        return f'{limited} "$SHELL" -c {shlex.quote(command)}'

    def start_timer(self, timeout: float | None) -> None:
        patience = 0.0 if self.allowed is None or self.using_pty else GRACE_S + LEEWAY_S
        super().start_timer(None if timeout is None else timeout + patience)

    @property
    def timed_out(self) -> bool:
        # The signal that kills is sent to timeout(1) itself, too: then there is no exit status.
        if self.allowed is not None and self.channel.exit_status_ready() and self.returncode() in (*LATE, -1):
            return time.monotonic() - self._started >= self.allowed
        return bool(super().timed_out)


class Here(_Limited, invoke.runners.Local):
    """Commands on this machine: in a session of their own where they are limited, to be ended together."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._over = threading.Event()
        self._child: subprocess.Popen[bytes] | OSError | None = None
        self._starts = False
        self._begun = threading.Event()

    def start(self, command: str, shell: str, env: dict[str, Any]) -> None:
        if self.allowed is None or self.using_pty:
            super().start(command, shell, env)
            return
        # Signals interrupt the main thread only, so one that comes while a process is being made does not lose it.
        self._starts = True
        try:
            threading.Thread(target=self._begin, args=([shell, "-c", command], env)).start()
        except RuntimeError:  # no thread to be had
            self._begun.set()
            raise
        self._begun.wait()
        if isinstance(self._child, OSError):
            raise self._child
        assert self._child is not None
        self.process = self._child

    def _begin(self, words: list[str], env: dict[str, Any]) -> None:
        pipe = subprocess.PIPE
        try:
            self._child = subprocess.Popen(words, env=env, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
        except OSError as error:
            self._child = error
        finally:
            self._begun.set()

    def stop(self) -> None:
        # Interrupted before anybody waited for it.
        if self._starts:
            self._begun.wait()
        if isinstance(self._child, subprocess.Popen) and self._child.poll() is None:
            end_group(self._child)
        super().stop()

    def wait(self) -> None:
        try:
            super().wait()
        except KeyboardInterrupt:
            raise
        except BaseException:
            self._end()
            raise

    def send_interrupt(self, interrupt: KeyboardInterrupt) -> None:
        if self.allowed is None or self.using_pty:
            super().send_interrupt(interrupt)
            return
        self._end()
        raise interrupt

    def kill(self) -> None:
        self._over.set()
        self._end()

    def _end(self) -> None:
        if self.allowed is None:
            super().kill()
        elif self.using_pty:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        else:
            end_group(self.process)

    @property
    def timed_out(self) -> bool:
        return self._over.is_set() or bool(super().timed_out)

    def _thread_join_timeout(self, target: Any) -> int | None:
        # A process that left the session may hold the output for ever.
        return 1 if self._over.is_set() else super()._thread_join_timeout(target)


def end_group(child: subprocess.Popen[Any]) -> None:
    """End *child*, the first of its session, and all that did not leave it: asked first, then killed."""
    try:
        _signal(child, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_S)
    finally:
        _signal(child, signal.SIGKILL)
        child.wait()


def _signal(child: subprocess.Popen[Any], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)
