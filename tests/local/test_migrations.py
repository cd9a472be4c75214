"""Migrations over real SSH: one at a time whatever is killed or broken, and what they mean for several hosts."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fab import FAB
from tests.local.conftest import LocalProject
from tests.local.many import Many


def await_that(process: subprocess.Popen[str], happened: Callable[[], object]) -> None:
    while not happened():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


class HeldUp:
    """A deploy that is held up in its migration, until it is let go."""

    def __init__(self, project: LocalProject, tmp_path: Path) -> None:
        self.project, self._go = project, tmp_path / "go"
        self.begun = tmp_path / "begun"
        line = f"echo $DEPLOY_RELEASE >> {self.begun}; until test -e {self._go}; do sleep 0.05; done"
        path = project.directory / "fabric.yaml"
        path.write_text(path.read_text().replace("{command: python migrate.py}", json.dumps({"command": line})))
        self.process = subprocess.Popen(
            [FAB, "deploy"], cwd=project.directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        await_that(self.process, self.begun.exists)

    def let_go(self) -> None:
        self._go.touch()

    def records(self) -> dict[str, Any]:
        document = json.loads((self.project.base / ".deploy/migrations.json").read_text())
        records: dict[str, Any] = document["releases"]
        return records


@pytest.mark.parametrize("host", ["openssh"], indirect=True)
def test_nobody_migrates_beside_another_whatever_is_broken_or_killed(project: LocalProject, tmp_path: Path) -> None:
    project.fab("deploy")
    (project.directory / "version.txt").write_text("two\n")
    held = HeldUp(project, tmp_path)
    try:
        project.fab("unlock", "--force")
        said = project.fab("migrate-db", expect=8)
        assert "the migration of release 2" in said
        assert f"pid {held.process.pid}, has been running for" in said
        # Taken by hand, the lock keeps others away and does nothing itself.
        project.fab("lock")
        project.fab("unlock")
        held.process.kill()
        held.process.communicate()
        assert f"pid {held.process.pid}, has been running for" in project.fab("status")
        assert "has been running for" in project.fab("deploy", "--retry", expect=8)
        assert project.version == "one"
        assert len(held.begun.read_text().splitlines()) == 1
    finally:
        held.let_go()
    said = project.fab("deploy", "--retry", "--lock-wait", "60")
    release = held.begun.read_text().split()[0]
    assert f"release {release} is taken up" in said
    assert project.version == "two"
    assert held.begun.read_text().split() == [release, release], "it ran again: that it ended well, nobody saw"
    journal = [json.loads(line) for line in (project.base / ".deploy/journal.jsonl").read_text().splitlines()]
    assert [line["outcome"] for line in journal if line["event"] == "migrate"] == ["good"] * 3


@pytest.mark.parametrize("host", ["openssh"], indirect=True)
def test_an_interrupt_says_that_the_migration_goes_on_and_it_is_recorded_how_it_ends(
    project: LocalProject, tmp_path: Path
) -> None:
    held = HeldUp(project, tmp_path)
    try:
        held.process.send_signal(signal.SIGINT)
        time.sleep(1)
        held.process.send_signal(signal.SIGINT)  # who is in a hurry; once is waited for ten seconds
        said, _ = held.process.communicate(timeout=60)
        assert held.process.returncode == 130, said
        assert "is migrated: it goes on there, and nobody else deploys or migrates until it has ended" in said
        assert "has been running for" in project.fab("status")
    finally:
        held.let_go()
    deadline = time.monotonic() + 30
    while any(record["state"] == "running" for record in held.records().values()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "has been running for" not in project.fab("status")
    project.fab("deploy")
    assert project.version == "one"


@pytest.fixture
def many(tmp_path: Path) -> Iterator[Many]:
    made = Many(tmp_path, 3)
    made.server.start()
    yield made
    made.server.stop()


def test_while_some_hosts_serve_an_older_release_nothing_is_taken_away_from_them(many: Many) -> None:
    """Neither by what comes after the switch, nor by a downgrade."""
    database = many.directory.parent / "database"
    migrate = {
        "command": f"cp version.txt {database}", "when": "after", "head": f"cat {database}",
        "rollback": {"command": f'echo "$DEPLOY_HEAD" > {database}'},
    }  # fmt: skip
    many.configure(migrate=migrate, source={"strategy": "stream", "exclude": ["/fabric.yaml"]})
    many.fab("deploy")
    assert database.read_text() == "one\n"
    (many.directory / "version.txt").write_text("two\n")
    first, second, third = (f"{address}:{many.server.port}" for address in many.addresses)
    said = many.fab("deploy", "--limit", first)
    assert f"not migrated yet: {second}, {third} may serve an older release" in said
    assert "is due" in many.fab("status", "--limit", first)
    assert "not within --limit" in many.fab("deploy", "--limit", second)
    assert database.read_text() == "one\n"
    said = many.fab("deploy")
    assert "migrated" in said
    assert database.read_text() == "two\n"
    said = many.fab("rollback", "--limit", f"{first},{second}", expect=5)
    assert f"a downgrade would take it away from {third}, which would not go back; nothing was touched" in said
    assert [many.version(number) for number in range(3)] == ["two"] * 3
    many.fab("rollback")
    assert database.read_text() == "one\n"
    assert [many.version(number) for number in range(3)] == ["one"] * 3
