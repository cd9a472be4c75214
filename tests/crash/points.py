"""Which points something goes wrong at: all of them, or, where that takes too long, a sample."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import pytest

from tests.crash.harness import World
from tests.crash.steps import Step

Point = tuple[int, str]

T = TypeVar("T")

EVERY = os.environ.get("CRASH_EVERY_POINT") == "1"
"""Whether every single point is tried; else a sample."""
SEED = os.environ.get("CRASH_SEED", "0")
"""What the sample is drawn by."""
AT_MOST = int(os.environ.get("CRASH_POINTS", "15"))
"""Points of a test where they are drawn."""


def chosen(steps: Sequence[Step], world: World, torn: bool = True) -> list[Point]:
    """The numbers of steps, from 1 on, and how to die there: ``kill``, or ``torn`` where a file is written.

    In a sample are, of steps with one name, the first, the last and one between.
    """
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


def sample(points: Sequence[T]) -> list[T]:
    """*points* in their order, all or as many as there is room for; the first and the last are always among them."""
    if EVERY or len(points) <= AT_MOST:
        return list(points)
    drawn = random.Random(SEED).sample(range(1, len(points) - 1), AT_MOST - 2)
    return [points[number] for number in sorted({0, len(points) - 1, *drawn})]


def _some(numbers: Sequence[int]) -> set[int]:
    return {numbers[0], numbers[len(numbers) // 2], numbers[-1]}


@contextmanager
def noting(wrong: list[str], what: str) -> Iterator[None]:
    """Note what is not as it should be at one point, so that the others are tried, too."""
    try:
        yield
    except AssertionError as error:
        wrong.append(f"{what}: {error}")


def tell(
    capsys: pytest.CaptureFixture[str],
    what: str,
    every: Sequence[object],
    points: Sequence[object],
    kind: str = "steps",
) -> None:
    """Print the figures, past pytest's capture."""
    with capsys.disabled():
        print(f"\n{what}: {len(every)} {kind}, {len(points)} points tried")  # noqa: T201
