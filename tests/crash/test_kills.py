"""The host program is killed at every step of a deploy; the next deploy mends what is left, with no hand work."""

from __future__ import annotations

import pytest

from tests.crash.harness import EXPIRY, VERSIONS, World, outcome
from tests.crash.looking import Judge
from tests.crash.points import chosen, tell

LATER = EXPIRY + 1


@pytest.mark.parametrize(("state", "version", "before"), [("first", "one", ""), ("third", "three", "two")])
def test_killed_at_every_step_of_a_deploy(
    world: World, judge: Judge, capsys: pytest.CaptureFixture[str], state: str, version: str, before: str
) -> None:
    world.version(version, *VERSIONS[version])
    world.restore(state)
    assert outcome(world.deploy, at=0) is None
    steps = world.steps()
    points = chosen(steps, world)
    wrong = []
    for number, how in points:
        world.restore(state)
        what = f"{how} at step {number}, {steps[number - 1].name(str(world.base))}"
        died = outcome(world.deploy, at=number, how=how)
        try:
            judge.assert_whole(world, before, version)
            mended = outcome(world.deploy, later=LATER)
            assert mended is None, f"{mended} after {died}"
            judge.assert_deployed(world, version)
        except AssertionError as error:
            wrong.append(f"{what}: {error}")
    assert not wrong, "\n".join(wrong)
    tell(capsys, f"killed while version {version} is deployed", steps, points)
