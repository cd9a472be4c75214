"""The host program is killed at every step of a work; the next deploy mends what is left, with no hand work."""

from __future__ import annotations

import pytest

from tests.crash.harness import EXPIRY, World
from tests.crash.looking import Judge
from tests.crash.points import chosen, noting, tell
from tests.crash.works import Work, every_work

LATER = EXPIRY + 1


@every_work
def test_killed_at_every_step(world: World, judge: Judge, capsys: pytest.CaptureFixture[str], work: Work) -> None:
    work.undisturbed(world, at=0)
    steps = world.steps()
    judge.assert_whole(world, work.serves)
    points = chosen(steps, world)
    wrong: list[str] = []
    for number, how in points:
        work.begin(world)
        what = f"{how} at step {number}, {steps[number - 1].name(str(world.base))}"
        died = work.perform(world, at=number, how=how)
        with noting(wrong, what):
            work.assert_recovers(world, judge, died, later=LATER)
    assert not wrong, "\n".join(wrong)
    tell(capsys, f"killed while at work on {work.name}", steps, points)
