"""Links and pipes that the application's user puts below the base path: nothing that links lead to is touched, and
nobody waits for what a pipe brings.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.flows.deploy import deploy
from deploy.flows.locking import unlock
from deploy.flows.rollback import rollback
from deploy.flows.run import Options
from deploy.flows.sharing import put
from deploy.flows.steps import cleanup, setup
from deploy.hostside import disk
from tests.crash.harness import EXPIRY, SECRET, VERSIONS, World, outcome

# Places below the base path; * is any name. What is there goes outside, and a link takes its place.
PLACES = [
    "releases", "venvs", "wheels", "shared", ".deploy", "current", "staged", "repo",
    "releases/*", "venvs/*", "wheels/*", "wheels/*/tree", "wheels/*/wheel.json", "releases/*/.release.json",
    "releases/*/package", "venvs/*/lib", "venvs/*/.venv.json", "shared/media", "shared/.env",
    ".deploy/releases.json", ".deploy/lock.json", ".deploy/lock.guard", ".deploy/journal.jsonl", ".deploy/checks.json",
    ".deploy/migrations.json", ".deploy/migration.guard", ".deploy/work.guard", ".deploy/hostside-*.pyz",
]  # fmt: skip

# Where nothing is: a link to a directory outside that has something in it.
NEW = [
    "releases/20200101T000000Z-0000000", "releases/.partial-20200101T000000Z-0000000", "releases/.partial-x.1.gone",
    "venvs/.partial-0", "venvs/0", "wheels/.partial-0", ".partial-current.1", ".partial-x", "staged", "repo",
    ".deploy/lock.json", ".deploy/.partial-lock.json.1", ".deploy/hostside-0.pyz", "shared/.partial-put.00000000",
]  # fmt: skip

# Where a pipe takes the place of what is there, or of what may come there.
PIPES = [
    "releases", "venvs", "wheels", "shared", ".deploy", "current", "staged", "repo", "shared/media", "shared/.env",
    "releases/*/.release.json", "releases/*/package/__init__.py", "venvs/*/.venv.json", "wheels/*/wheel.json",
    "wheels/*/tree/*/__init__.py", "wheels/*/bytecode-*.json", ".deploy/releases.json", ".deploy/lock.json",
    ".deploy/lock.guard", ".deploy/journal.jsonl", ".deploy/checks.json", ".deploy/migrations.json",
    ".deploy/migration.guard", ".deploy/work.guard", ".deploy/drained.json", ".deploy/hostside-*.pyz",
    ".deploy/allowed_signers", ".deploy/.partial-lock.json.1", "shared/.partial-put.00000000",
]  # fmt: skip
PATIENCE_S = 60


def _works(world: World) -> Iterator[Callable[[], None]]:
    config = world.config
    yield lambda: deploy(config(), Options(), force=False)
    yield lambda: put(config(), Options(), str(world.directory / "planted.env"), ".env", "0600")
    yield lambda: put(config(), Options(), str(world.directory / "planted.env"), "media/pictures/x", "0644")
    yield lambda: setup(config(), Options(), packages=False)
    yield lambda: unlock(config(), Options(), force=True)
    yield lambda: cleanup(config(), Options())
    yield lambda: rollback(config(), Options())


@pytest.mark.parametrize(("kind", "places"), [("moved", PLACES), ("new", NEW)])
def test_what_a_planted_link_leads_to_is_not_touched(world: World, kind: str, places: list[str]) -> None:
    (world.directory / "planted.env").write_text(f"SECRET={SECRET}\n")
    world.version("three", *VERSIONS["three"])
    wrong = []
    for place in places:
        world.restore("third")
        outside = world.directory / "outside"
        shutil.rmtree(outside, ignore_errors=True)
        outside.mkdir()
        (_move_out if kind == "moved" else _lead_out)(world.base, place, outside)
        before = _state(outside)
        for work in _works(world):
            with world.host(later=EXPIRY + 1):
                failed = outcome(work)
            if failed is not None and ("defect" in str(failed) or "Traceback" in str(failed)):
                wrong.append(f"{place}: {failed}")
        after = _state(outside)
        differing = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
        if differing:
            wrong.append(f"{place}: touched {differing}")
    assert not wrong, "\n".join(wrong)


def test_nobody_waits_for_what_a_planted_pipe_brings(world: World) -> None:
    (world.directory / "planted.env").write_text(f"SECRET={SECRET}\n")
    world.version("three", *VERSIONS["three"])
    wrong, place = [], ""

    def hangs(*_: object) -> None:
        raise AssertionError(f"{place}: somebody waits")

    former = signal.signal(signal.SIGALRM, hangs)
    try:
        for place in PIPES:
            world.restore("third")
            planted = list(world.base.glob(place)) or ([] if "*" in place else [world.base / place])
            assert planted, place
            for path in planted:
                disk.remove(str(path))
                os.mkfifo(path)
            for work in _works(world):
                signal.alarm(PATIENCE_S)
                with world.host(later=EXPIRY + 1):
                    failed = outcome(work)
                if failed is not None and ("defect" in str(failed) or "Traceback" in str(failed)):
                    wrong.append(f"{place}: {failed}")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)
    assert not wrong, "\n".join(wrong)


def _move_out(base: Path, place: str, outside: Path) -> None:
    for number, path in enumerate(sorted(base.glob(place))):
        target = outside / str(number)
        if path.is_symlink():
            shutil.copytree(path, target, symlinks=True)
            path.unlink()
        else:
            path.rename(target)
        path.symlink_to(target)


def _lead_out(base: Path, place: str, outside: Path) -> None:
    (outside / "kept").mkdir()
    (outside / "kept/pyvenv.cfg").write_text("sentinel")
    (base / place).unlink(missing_ok=True)
    (base / place).symlink_to(outside)


def _state(directory: Path) -> dict[str, tuple[object, ...]]:
    """Path → what it is, its mode, owner, time and content, of the directory itself, too."""
    found = {}
    for path in [directory, *directory.rglob("*")]:
        look = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        found[str(path)] = (look.st_mode, look.st_uid, look.st_mtime_ns, look.st_size, content)
    return found
