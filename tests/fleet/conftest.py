"""Fixtures that boot real Debian hosts; where that cannot be done, the tests are not run and the summary says why."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fleet import bases
from tests.fleet.machines import Fleet, Machine

HERE = Path(__file__).parent


class Boot:
    """Boots hosts for one test or one module: ``boot("trixie", "web1")``, ``boot.all(("bullseye", "a"), ...)``."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._machines: list[Machine] = []

    def __call__(self, suite: str = "trixie", name: str | None = None) -> Machine:
        return self.all((suite, name))[0]

    def all(self, *wanted: tuple[str, str | None]) -> list[Machine]:
        machines = self.fleet.boot_all(wanted)
        self._machines += machines
        return machines

    def stop(self) -> None:
        machines, self._machines = self._machines, []
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(Machine.stop, machines))


class Standing(Boot):
    """Like :class:`Boot`, but who asks for the same host again gets the one that stands already."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet)
        self._standing: dict[tuple[str, str | None], Machine] = {}

    def all(self, *wanted: tuple[str, str | None]) -> list[Machine]:
        missing: Sequence[tuple[str, str | None]] = [each for each in wanted if each not in self._standing]
        self._standing.update(zip(missing, super().all(*missing), strict=True))
        return [self._standing[each] for each in wanted]


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    """This run's network, client and hosts."""
    # Not pytest's own temporary directories: it keeps the last three of them, overlays and all.
    with (
        tempfile.TemporaryDirectory(prefix="fleet-", dir="/var/tmp") as workdir,
        Fleet.start(Path(workdir)) as fleet,
    ):
        yield fleet


@pytest.fixture
def boot(fleet: Fleet) -> Iterator[Boot]:
    """Fresh hosts for one test."""
    boot = Boot(fleet)
    yield boot
    boot.stop()


@pytest.fixture(scope="module")
def standing(fleet: Fleet) -> Iterator[Standing]:
    """Hosts that the tests of a module share, for tests that leave a host as they found it."""
    standing = Standing(fleet)
    yield standing
    standing.stop()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    ours = [item for item in items if HERE in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.fleet)
    # A file named on the command line is collected whatever the top conftest ignores.
    if ours and (not config.getoption("--fleet") or bases.why_not()):
        config.hook.pytest_deselected(items=ours)
        items[:] = [item for item in items if item not in ours]
