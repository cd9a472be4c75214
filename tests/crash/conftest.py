"""One world for all that dies in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.harness import VERSIONS, World, connected
from tests.crash.looking import Judge


@pytest.fixture(scope="session")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Judge]]:
    directory = tmp_path_factory.mktemp("crash")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(directory / "cache"))
        patch.setenv("HOME", str(directory))
        world, judge = World(directory), Judge()
        patch.chdir(world.app)
        with connected(world):
            world.prepare()
            for version, names in VERSIONS.items():
                world.version(version, *names)
                world.deploy()
                judge.learn(world, version)
    # Outside: what is for all tests of this process must not change the environment of the others.
    yield world, judge
    world.close()


@pytest.fixture
def world(shared_world: tuple[World, Judge], monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The application and its host; connections lead there."""
    world, _ = shared_world
    monkeypatch.chdir(world.app)
    monkeypatch.setenv("XDG_CACHE_HOME", str(world.directory / "cache"))
    monkeypatch.setenv("HOME", str(world.directory))
    with connected(world):
        yield world


@pytest.fixture
def judge(shared_world: tuple[World, Judge]) -> Judge:
    return shared_world[1]
