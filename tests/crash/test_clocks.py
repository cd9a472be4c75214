"""A clock that is wrong by a year, of the laptop or of the host, ahead or behind, from one deploy to the next or within
one: what serves, what is gone back to and who has the lock do not go by it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import pytest

from deploy.errors import Locked
from deploy.flows import pushing
from tests.crash.harness import VERSIONS, Channel, World, nothing, outcome
from tests.crash.looking import Judge

YEAR_S = 365 * 86400.0

SetClock = Callable[[float], None]


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """What the clock of the host is wrong by."""
    file = tmp_path / "clock"
    file.write_text("0")
    return file


@pytest.fixture(params=["laptop", "host"])
def set_clock(request: pytest.FixtureRequest, clock: Path, monkeypatch: pytest.MonkeyPatch) -> SetClock:
    wrong_by = 0.0

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(seconds=wrong_by)

    def of_laptop(seconds: float) -> None:
        nonlocal wrong_by
        wrong_by = seconds

    def of_host(seconds: float) -> None:
        fresh = clock.with_name("fresh")
        fresh.write_text(str(seconds))
        fresh.rename(clock)

    monkeypatch.setattr(pushing, "datetime", Wrong)
    return of_laptop if request.param == "laptop" else of_host


@pytest.fixture(params=[YEAR_S, -YEAR_S], ids=["ahead", "behind"])
def jump(request: pytest.FixtureRequest) -> float:
    seconds: float = request.param
    return seconds


def deploy(world: World, judge: Judge, version: str, clock: Path) -> None:
    world.version(version, *VERSIONS[version])
    assert outcome(world.deploy, clock=str(clock)) is None
    judge.assert_deployed(world, version)


def test_a_clock_that_is_wrong_between_deploys(
    world: World, judge: Judge, set_clock: SetClock, clock: Path, jump: float
) -> None:
    world.configure()
    world.restore("first")
    deploy(world, judge, "one", clock)
    set_clock(jump)
    deploy(world, judge, "two", clock)
    deploy(world, judge, "three", clock)
    assert outcome(world.roll_back, clock=str(clock)) is None
    judge.assert_whole(world, "two")
    set_clock(0)
    deploy(world, judge, "one", clock)
    set_clock(-jump)
    deploy(world, judge, "three", clock)
    assert outcome(world.roll_back, clock=str(clock)) is None
    judge.assert_whole(world, "one")


def test_a_clock_that_is_set_within_a_deploy(
    world: World, judge: Judge, set_clock: SetClock, clock: Path, jump: float
) -> None:
    """It is set after each message; just then another deploy wants the lock, and is refused."""
    world.configure()
    world.restore("third")
    refused: list[object] = []

    def moment(kind: str, channel: Channel, data: bytes) -> None:
        if kind != "sent" or not (world.base / ".deploy/lock.json").exists():
            return
        set_clock(jump * (len(refused) % 2))
        world.moment = nothing
        refused.append(outcome(world.deploy_besides))
        world.moment = moment

    world.moment = moment
    try:
        deploy(world, judge, "three", clock)
    finally:
        world.moment = nothing
    assert len(refused) > 5
    late = [error for error in refused if not isinstance(error, Locked)]
    # The last message lets go of the lock.
    assert not late[1:], late
    assert not late or isinstance(refused[-1], type(late[0])), late
