"""At every message between laptop and host the connection is cut, or who deploys is killed, or interrupted.

What runs on the host meanwhile goes on or ends; in both cases what serves is complete, and the next deploy succeeds.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

import pytest

from deploy.errors import ExitCode, Locked
from tests.crash.harness import EXPIRY, Channel, World, nothing
from tests.crash.looking import Judge
from tests.crash.points import noting, sample, tell
from tests.crash.works import Work, every_work

LATER = EXPIRY + 1


@dataclass(frozen=True)
class Message:
    """A moment of a message: ``send``, ``sent``, ``receive``; and what it is."""

    kind: str
    data: bytes

    def __str__(self) -> str:
        return f"{self.kind} {self.data[:100]!r}"


def _listen(world: World, work: Work) -> list[Message]:
    """Every moment of *work*, when nothing goes wrong."""
    heard: list[Message] = []
    world.moment = lambda kind, channel, data: heard.append(Message(kind, data))
    try:
        work.undisturbed(world)
    finally:
        world.moment = nothing
    return heard


class At:
    """Does something at one moment, counted from 1."""

    def __init__(self, number: int, act: Callable[[Channel, bytes], None]) -> None:
        self._left = number
        self._act = act

    def __call__(self, kind: str, channel: Channel, data: bytes) -> None:
        self._left -= 1
        if not self._left:
            self._act(channel, data)


def _in_a_process(world: World, work: Work, moment: At) -> int:
    """Perform *work* in a process of its own; its exit code, negative for a signal."""
    with world.host():
        child = os.fork()
        if not child:
            code = 70
            try:
                # What earlier tests left behind is not this process's to clear away: Python loses an interrupt that it
                # hears of within a finalizer.
                gc.freeze()
                _note_what_is_heard(world)
                world.moment = moment
                error = work.alone(world)
                code = int(error.exit_code if error else ExitCode.OK)
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _note_what_is_heard(world: World) -> None:
    """Where this process was when it heard of an interrupt, and what Python could not raise."""
    heard = (world.directory / "heard").open("w", buffering=1)

    def hear(number: int, frame: FrameType | None) -> None:
        traceback.print_stack(frame, file=heard)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, hear)
    sys.unraisablehook = lambda told: print(f"{told.exc_type} in {told.object}", file=heard)


@every_work
def test_the_connection_is_cut_at_every_message(
    world: World, judge: Judge, capsys: pytest.CaptureFixture[str], work: Work
) -> None:
    messages = _listen(world, work)
    # Cut before a message, or in its middle, or behind it.
    points = sample([(number, how) for number in range(1, len(messages) + 1) for how in _ways(messages[number - 1])])
    wrong: list[str] = []
    for number, how in points:
        work.begin(world)

        def cut(channel: Channel, data: bytes, how: str = how) -> None:
            if how == "torn":
                channel.send_now(data[: len(data) // 2])
            world.cut()

        world.moment = At(number, cut)
        try:
            died = work.perform(world)
        finally:
            world.moment = nothing
        with noting(wrong, f"{how} at message {number}, {messages[number - 1]}"):
            work.assert_recovers(world, judge, died, later=LATER)
    assert not wrong, "\n".join(wrong)
    tell(capsys, f"connection cut while at work on {work.name}", messages, points, "moments of messages")


def _ways(message: Message) -> tuple[str, ...]:
    return ("cut", "torn") if message.kind == "send" else ("cut",)


@every_work
def test_who_deploys_is_killed_at_every_message(
    world: World, judge: Judge, capsys: pytest.CaptureFixture[str], work: Work
) -> None:
    def look(code: int) -> None:
        assert code == -signal.SIGKILL, code
        judge.assert_whole(world, *work.allowed)
        if (world.base / ".deploy/lock.json").exists():
            refused = work.mended(world, later=EXPIRY / 2)
            assert isinstance(refused, Locked), f"taken over before its time: {refused}"
        work.assert_recovers(world, judge, later=LATER)

    _at_every_message(world, work, capsys, "client killed", signal.SIGKILL, look)


@every_work
def test_an_interrupt_at_every_message_lets_go_of_the_lock(
    world: World, judge: Judge, capsys: pytest.CaptureFixture[str], work: Work
) -> None:
    def look(code: int) -> None:
        expected = code == ExitCode.INTERRUPTED or (code == ExitCode.NOT_ROLLED_BACK and "" in work.allowed)
        assert expected, f"{code}, heard {(world.directory / 'heard').read_text()}"
        assert not (world.base / ".deploy/lock.json").exists(), "the lock is held"
        work.assert_recovers(world, judge)

    _at_every_message(world, work, capsys, "interrupted", signal.SIGINT, look)


def _at_every_message(
    world: World,
    work: Work,
    capsys: pytest.CaptureFixture[str],
    what: str,
    number: signal.Signals,
    look: Callable[[int], None],
) -> None:
    """Send a signal to who is at *work*, at one message after another.

    :param look: is given the exit code.
    """
    messages = _listen(world, work)
    points = sample(range(1, len(messages) + 1))
    wrong: list[str] = []
    for at in points:
        work.begin(world)
        code = _in_a_process(world, work, At(at, lambda channel, data: os.kill(os.getpid(), number)))
        with noting(wrong, f"{what} at message {at}, {messages[at - 1]}"):
            look(code)
    assert not wrong, "\n".join(wrong)
    tell(capsys, f"{what} while at work on {work.name}", messages, points, "moments of messages")
