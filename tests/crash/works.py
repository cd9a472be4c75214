"""What is at work on a host while something dies: each work, where it begins, and what may serve meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from deploy.errors import DeployError, RolledBack
from deploy.flows import sharing, steps
from deploy.flows.deploy import deploy
from deploy.flows.rollback import rollback
from deploy.flows.run import Options
from tests.crash.harness import VERSIONS, World, outcome
from tests.crash.looking import Judge

Task = Callable[[World], None]


@dataclass(frozen=True)
class Work:
    """Something that is done to a host, in one or several tasks.

    :ivar state: what the host is like when it begins; see :meth:`World.prepare`.
    :ivar version: the code that lies here; a deploy afterwards brings it.
    :ivar allowed: the versions that may serve at any moment, '' for none.
    :ivar serves: the one that serves when it has ended and nothing died.
    :ivar fails: how it ends, where it is one that fails.
    """

    name: str
    state: str
    version: str
    allowed: tuple[str, ...]
    serves: str
    tasks: tuple[Task, ...]
    section: dict[str, Any] = field(default_factory=dict)
    fails: type[DeployError] | None = None

    def begin(self, world: World) -> None:
        world.version(self.version, *VERSIONS[self.version])
        world.configure(**self.section)
        world.restore(self.state)

    def perform(self, world: World, **order: Any) -> DeployError | None:
        """Do it; how it ended."""
        return outcome(self.run, world=world, **order)

    def run(self, world: World, **order: Any) -> None:
        with world.host(**order):
            for task in self.tasks:
                task(world)

    def alone(self, world: World) -> DeployError | None:
        """Do it on a host that is on; how it ended."""
        try:
            for task in self.tasks:
                task(world)
        except DeployError as error:
            return error
        return None

    def undisturbed(self, world: World, **order: Any) -> None:
        self.begin(world)
        error = self.perform(world, **order)
        assert type(error) is (self.fails or type(None)), error

    def hand_over(self, world: World) -> None:
        """To the deploy that follows: with no hand work but what an administrator does before the first."""
        world.configure()
        if self.state == "bare":
            world.administer()

    def mended(self, world: World, **order: Any) -> DeployError | None:
        """The deploy that follows."""
        self.hand_over(world)
        return outcome(world.deploy, **order)

    def assert_recovers(self, world: World, judge: Judge, died: object = "", **order: Any) -> None:
        """What serves is complete, and the deploy that follows succeeds and leaves nothing of what died."""
        judge.assert_whole(world, *self.allowed)
        mended = self.mended(world, **order)
        assert mended is None, f"{mended} after {died}"
        judge.assert_deployed(world, self.version)


def _task(flow: Callable[..., None], **arguments: Any) -> Task:
    return lambda world: flow(world.config(), Options(), **arguments)


def _put(world: World) -> None:
    sharing.put(world.config(), Options(), str(world.secrets), ".env", "0600")


_FAILS = "test ! -e version.txt || ! grep -q three version.txt"
_DEPLOY = (_task(deploy, force=False),)

WORKS = [
    Work("first", "first", "one", ("", "one"), "one", _DEPLOY),
    Work("deploy", "third", "three", ("two", "three"), "three", _DEPLOY),
    Work(
        "way-back",
        "third",
        "three",
        ("two", "three"),
        "two",
        _DEPLOY,
        section={"hooks": {"after_activate": [_FAILS]}},
        fails=RolledBack,
    ),
    Work("rollback", "third", "two", ("one", "two"), "one", (_task(rollback),)),
    Work(
        "one-by-one",
        "third",
        "three",
        ("two", "three"),
        "three",
        tuple(_task(flow) for flow in (steps.push, steps.update_deps, steps.migrate_db, steps.activate, steps.cleanup)),
    ),
    Work("cleanup", "cluttered", "three", ("two",), "two", (_task(steps.cleanup),)),
    Work("setup", "bare", "one", ("",), "", (_task(steps.setup, packages=False),)),
    Work("shared-put", "third", "two", ("two",), "two", (_put,)),
]

every_work = pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
