"""Which steps something goes wrong at: all of them, or, where that takes too long, some of each name."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from tests.crash.harness import World
from tests.crash.steps import Step

Point = tuple[int, str]

EVERY = os.environ.get("CRASH_EVERY_POINT") == "1"
"""Whether every single step is tried; else of steps with one name the first, the last and one between."""


def chosen(steps: Sequence[Step], world: World, torn: bool = True) -> list[Point]:
    """The numbers of steps, from 1 on, and how to die there: ``kill``, or ``torn`` where a file is written."""
    places: dict[str, list[int]] = {}
    for number, step in enumerate(steps, 1):
        places.setdefault(step.name(str(world.base)), []).append(number)
    taken = sorted({number for same in places.values() for number in (same if EVERY else _some(same))})
    points: list[Point] = []
    for number in taken:
        points.append((number, "kill"))
        if torn and steps[number - 1].verb == "write":
            points.append((number, "torn"))
    return points


def _some(numbers: Sequence[int]) -> set[int]:
    return {numbers[0], numbers[len(numbers) // 2], numbers[-1]}


def tell(capsys: pytest.CaptureFixture[str], what: str, steps: Sequence[Step], points: Sequence[object]) -> None:
    """Print the figures, past pytest's capture."""
    with capsys.disabled():
        print(f"\n{what}: {len(steps)} steps, {len(points)} points tried")  # noqa: T201
