"""Every call of the host program that writes, and every one that reads, fails once, or from then on.

Each time there is one clear message, what served serves on, and the next deploy mends what is left.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import pytest

from deploy.errors import DeployError, ExitCode
from deploy.flows.deploy import deploy
from deploy.flows.locking import lock, unlock
from deploy.flows.rollback import rollback
from deploy.flows.run import Options
from deploy.flows.sharing import put
from deploy.flows.steps import cleanup, setup
from tests.crash.harness import EXPIRY, SECRET, VERSIONS, Channel, World, nothing, outcome
from tests.crash.looking import Judge
from tests.crash.points import EVERY
from tests.crash.steps import EVENTS, NEW, READING, Step

SEED = int(os.environ.get("CRASH_SEED", "1"))

CHANGING = tuple({"write" if event == "open" else event.partition(".")[2] for event in EVENTS})
GROWING = ("write", "mkdir", "symlink", "link", "rename")


@dataclass(frozen=True)
class Trouble:
    """What is wrong with a host.

    *told* is a part of the message; the others are as in :func:`tests.crash.failing.arm`.
    """

    name: str
    told: str
    errno: int
    verbs: tuple[str, ...]
    creating: bool = False
    within: bool = False


TROUBLES = [
    Trouble("a full disk", "no space left on the disk", errno.ENOSPC, GROWING),
    Trouble("a disk that runs full in a file", "no space left on the disk", errno.ENOSPC, GROWING, within=True),
    Trouble("a used up quota", "the quota is used up", errno.EDQUOT, GROWING),
    Trouble("no inodes", "no inodes left on the disk", errno.ENOSPC, GROWING, creating=True),
    Trouble("a read-only file system", "the file system is read-only", errno.EROFS, CHANGING),
    Trouble("no permission to write", "permission denied", errno.EACCES, CHANGING),
    Trouble("a broken disk", "the disk does not work", errno.EIO, CHANGING),
    Trouble("too many open files", "too many open files", errno.EMFILE, ("write", "read")),
    Trouble("no permission to read", "permission denied", errno.EACCES, READING),
]
ANY = Trouble("any", "", 0, (*CHANGING, *READING))


@dataclass(frozen=True)
class Work:
    """Something that is done to a host.

    *state* is what it begins with. *before* and *after*: the version that serves ('' for none).
    """

    name: str
    state: str
    before: str
    after: str
    codes: tuple[ExitCode, ...]
    do: Callable[[World], None]


STAGED = (ExitCode.CHECK, ExitCode.STAGING, ExitCode.ROLLED_BACK, ExitCode.NOT_ROLLED_BACK, ExitCode.MIGRATION)


def _do(flow: Callable[..., None], *arguments: Any, **named: Any) -> Callable[[World], None]:
    return lambda world: flow(world.config(), Options(), *arguments, **named)


WORKS = [
    Work("setup", "bare", "", "", (ExitCode.CHECK,), _do(setup, packages=False)),
    Work("a first deploy", "first", "", "one", STAGED, _do(deploy, force=False)),
    Work("a deploy", "third", "two", "three", STAGED, _do(deploy, force=False)),
    Work("rollback", "third", "two", "one", STAGED, _do(rollback)),
    Work(
        "shared put",
        "third",
        "two",
        "two",
        (ExitCode.CHECK,),
        lambda world: put(world.config(), Options(), str(world.directory / "new.env"), ".env", "0600"),
    ),
    Work("lock", "third", "two", "two", (ExitCode.CHECK,), _do(lock, "maintenance")),
    Work("unlock", "locked", "two", "two", (ExitCode.CHECK,), _do(unlock, force=True)),
    Work("cleanup", "untidy", "two", "two", (ExitCode.CHECK,), _do(cleanup)),
]


@dataclass(frozen=True)
class Point:
    work: Work
    trouble: Trouble
    lasting: bool
    number: int
    step: str

    def __str__(self) -> str:
        often = "from then on" if self.lasting else "once"
        return f"{self.work.name}: {self.trouble.name} ({often}) at {self.number}, {self.step}"

    def order(self) -> dict[str, Any]:
        trouble = {**asdict(self.trouble), "lasting": self.lasting}
        return {"at": self.number, "trouble": trouble}


@pytest.fixture
def prepared(world: World) -> World:
    """With states for the works that are no deploys."""
    (world.directory / "new.env").write_text(f"SECRET={SECRET}\nMORE=1\n")
    shutil.rmtree(world.base)
    world.save("bare")
    world.restore("third")
    with world.host():
        lock(world.config(), Options(), "maintenance")
    world.save("locked")
    world.restore("third")
    for path in ("releases/20200101T000000Z-0000000/code.py", "releases/.partial-x/code.py", "venvs/0000/pyvenv.cfg"):
        (world.base / path).parent.mkdir()
        (world.base / path).touch()
    world.save("untidy")
    return world


def test_a_call_fails(prepared: World, judge: Judge, capsys: pytest.CaptureFixture[str]) -> None:
    world = prepared
    points = [point for work in WORKS for point in _points(world, work)]
    taken = points if EVERY else _sample(points)
    wrong = []
    for point in taken:
        try:
            _assert_survives(world, judge, point)
        except AssertionError as error:
            wrong.append(f"{point}: {str(error).splitlines()[0]}")
    assert not wrong, "\n".join(wrong)
    with capsys.disabled():
        print(f"\ncalls that fail: {len(points)} points, {len(taken)} tried")  # noqa: T201


def test_what_a_host_gave_up_at_is_told_also_where_more_is_asked_of_it_by_then(prepared: World, judge: Judge) -> None:
    """What is to be installed is asked for behind the code, before anybody knows how that arrived."""
    deploys = next(work for work in WORKS if work.name == "a first deploy")
    point = next(
        point
        for point in _points(prepared, deploys)
        if point.trouble.name == "a broken disk" and point.lasting and point.step.startswith("chmod releases/.partial-")
    )
    late = []

    def when_it_has_ended(kind: str, channel: Channel, data: bytes) -> None:
        if kind == "send" and b'"install"' in data and not late:
            late.append(channel)
            channel.await_end()

    prepared.moment = when_it_has_ended
    try:
        _assert_survives(prepared, judge, point)
    finally:
        prepared.moment = nothing
    assert late


def _points(world: World, work: Work) -> list[Point]:
    """A point for each step of *work* and each trouble that may hit it: once, and lasting."""
    _begin(world, work)
    with world.host(trouble={**asdict(ANY), "lasting": False}):
        work.do(world)
    steps = world.steps()
    return [
        Point(work, trouble, lasting, number, step.name(str(world.base)))
        for trouble in TROUBLES
        for number, step in enumerate((step for step in steps if _may_hit(trouble, step)), 1)
        for lasting in (False, True)
    ]


def _may_hit(trouble: Trouble, step: Step) -> bool:
    return step.verb in trouble.verbs and (not trouble.creating or step.detail == NEW)


def _begin(world: World, work: Work) -> None:
    version = work.after or "one"
    world.version(version, *VERSIONS[version])
    world.restore(work.state)


def _sample(points: list[Point]) -> list[Point]:
    """Each trouble of each work, and each step by its name, some of them together: which, is drawn."""
    drawn = random.Random(SEED).sample(points, len(points))
    first: dict[tuple[str, str], Point] = {}
    for point in drawn:
        first.setdefault((point.work.name, point.trouble.name), point)
    named = {point.step: point for point in drawn} | {point.step: point for point in first.values()}
    return list(dict.fromkeys([*first.values(), *named.values()]))


def _assert_survives(world: World, judge: Judge, point: Point) -> None:
    work = point.work
    _begin(world, work)

    def attempt(**order: Any) -> None:
        with world.host(**order):
            work.do(world)

    failed = outcome(attempt, **point.order())
    if failed is not None:
        _assert_clear(failed, point, str(world.base))
    if world.base.exists():
        judge.assert_whole(world, *_serving(work, failed))
    if work.state == "bare":
        world.restore("first")
    if work.name in ("lock", "unlock"):
        with world.host():
            unlock(world.config(), Options(), force=True)
    version = "one" if work.state in ("bare", "first") else "three"
    world.version(version, *VERSIONS[version])
    mended = outcome(world.deploy, later=EXPIRY + 1)
    assert mended is None, f"{mended} after {failed}"
    judge.assert_deployed(world, version)


def _serving(work: Work, failed: DeployError | None) -> set[str]:
    if failed is None:
        return {work.after}
    # What could not be written down after the switch could not be switched back either.
    return {work.before, work.after} if failed.exit_code == ExitCode.NOT_ROLLED_BACK else {work.before}


def _assert_clear(error: DeployError, point: Point, base: str) -> None:
    """What, where, and what to do; the exit code of its kind."""
    told = str(error)
    for word in ("Traceback", "defect", "Errno", "Error("):
        assert word not in told, told
    assert error.exit_code in point.work.codes, f"{error.exit_code!r}: {told!r}"
    assert point.trouble.told in told, told
    assert "host.invalid" in told, told
    assert base in told, told
    assert error.hint, told
