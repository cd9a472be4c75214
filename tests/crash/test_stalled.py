"""A host program that stands still, as on a disk that does not answer: its connection is given up, another deploy
comes, and then it goes on where it was."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.errors import DeployError
from tests.crash.harness import EXPIRY, Channel, World, nothing, outcome
from tests.crash.looking import Judge
from tests.crash.points import noting, sample, tell
from tests.crash.works import Work, every_work

LATER = EXPIRY + 1
PATIENCE_S = 0.3


@every_work
def test_what_stands_still_is_in_nobodys_way_when_it_goes_on(
    world: World, judge: Judge, capsys: pytest.CaptureFixture[str], work: Work
) -> None:
    work.undisturbed(world, at=0)
    steps = world.steps()
    switches = [number for number, step in enumerate(steps, 1) if step.paths[-1] == str(world.base / "current")]
    points = sorted({*sample(range(1, len(steps) + 1)), *switches})
    wrong: list[str] = []
    waited_for = []
    for number in points:
        work.begin(world)
        with (
            noting(wrong, f"stopped at step {number}, {steps[number - 1].name(str(world.base))}"),
            world.host(at=number, how="stop", patience=PATIENCE_S),
            ThreadPoolExecutor(1) as pool,
        ):
            stopped = _stood_still(world, pool.submit(work.alone, world))
            work.hand_over(world)
            came = outcome(world.deploy_besides)
            if came and "is still at work" in str(came):
                waited_for.append(number)
                judge.assert_whole(world, *work.allowed)
            for process in {*stopped, *_stopped(os.getpid())}:
                os.kill(process, signal.SIGCONT)
        with noting(wrong, f"after step {number}, {steps[number - 1].name(str(world.base))}, and {came}"):
            deployed = work if came else replace(work, allowed=(work.version,))
            deployed.assert_recovers(world, judge, later=LATER)
    assert not wrong, "\n".join(wrong)
    assert set(switches) <= set(waited_for)
    tell(capsys, f"stopped while at work on {work.name}; {len(waited_for)} were waited for", steps, points)


@every_work
def test_what_was_asked_before_a_connection_was_given_up_is_not_begun_after(
    world: World, judge: Judge, capsys: pytest.CaptureFixture[str], work: Work
) -> None:
    """The host has so much to do that its program comes to a request only when another deploy has been at work."""
    requests: list[bytes] = []
    world.moment = lambda kind, channel, data: requests.append(data) if kind == "send" else None
    work.undisturbed(world)
    wrong: list[str] = []
    points = sample(range(1, len(requests) + 1))
    for number in points:
        work.begin(world)
        world.moment = standing = _StandingStill(world, number)
        with (
            noting(wrong, f"stopped at message {number}, {requests[number - 1][:100]!r}"),
            world.host(patience=PATIENCE_S),
        ):
            work.alone(world)
            world.moment = nothing
            work.hand_over(world)
            came = outcome(world.deploy_besides)
            before = _what_is_known(world)
            standing.go_on()
        with noting(wrong, f"after message {number}, {requests[number - 1][:100]!r}, and {came}"):
            if came:
                # What was asked before was at work, or it was the lock that was to be let go of.
                assert "is still at work" in str(came) or b'"unlock"' in requests[number - 1]
                work.assert_recovers(world, judge, later=LATER)
            else:
                assert _what_is_known(world) == before
                replace(work, allowed=(work.version,)).assert_recovers(world, judge)
    assert not wrong, "\n".join(wrong)
    tell(capsys, f"asked before and come to after while at work on {work.name}", requests, points, "requests")


def _what_is_known(world: World) -> list[str]:
    """What serves, what is recorded of the releases, and who has the lock."""
    records = [world.base / ".deploy" / name for name in ("releases.json", "lock.json")]
    return [os.path.realpath(world.base / "current"), *(path.read_text() for path in records if path.exists())]


class _StandingStill:
    """Lets the host program stand still before a request, counted from 1, and gives the connection up behind it."""

    def __init__(self, world: World, number: int) -> None:
        self._world, self._left = world, number
        self.program = 0

    def __call__(self, kind: str, channel: Channel, data: bytes) -> None:
        if kind == "send":
            self._left -= 1
            if self._left == 0:
                self.program = channel.program
                os.kill(self.program, signal.SIGSTOP)
        elif kind == "sent" and channel.program == self.program:
            self._world.give_up()

    def go_on(self) -> None:
        os.kill(self.program, signal.SIGCONT)


def _stood_still(world: World, at_work: Future[DeployError | None]) -> list[int]:
    """Give the connection up as soon as a process stands still, and wait until whoever had it has noticed."""
    stopped: list[int] = []
    while not at_work.done():
        if not stopped and (stopped := list(_stopped(os.getpid()))):
            world.give_up()
        time.sleep(0.01)
    return stopped


def _stopped(ancestor: int) -> Iterator[int]:
    for child in _children(ancestor):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "T":
                yield child
            else:
                yield from _stopped(child)


def _children(parent: int) -> Iterator[int]:
    for children in Path(f"/proc/{parent}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # that thread has
            yield from map(int, children.read_text().split())
