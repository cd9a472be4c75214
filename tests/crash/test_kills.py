"""The host program is killed at every step of a work; the next deploy mends what is left, with no hand work."""

from __future__ import annotations

import pytest

from tests.crash.harness import EXPIRY, World
from tests.crash.looking import Judge
from tests.crash.points import chosen, tell
from tests.crash.works import Work, every_work

LATER = EXPIRY + 1


@every_work
def test_killed_at_every_step(world: World, judge: Judge, capsys: pytest.CaptureFixture[str], work: Work) -> None:
    work.undisturbed(world, at=0)
    steps = world.steps()
    judge.assert_whole(world, work.serves)
    points = chosen(steps, world)
    wrong = []
    for number, how in points:
        work.begin(world)
        what = f"{how} at step {number}, {steps[number - 1].name(str(world.base))}"
        died = work.perform(world, at=number, how=how)
        try:
            judge.assert_whole(world, *work.allowed)
            mended = work.mended(world, later=LATER)
            assert mended is None, f"{mended} after {died}"
            judge.assert_deployed(world, work.version)
        except AssertionError as error:
            wrong.append(f"{what}: {error}")
    assert not wrong, "\n".join(wrong)
    tell(capsys, f"killed while at work on {work.name}", steps, points)
