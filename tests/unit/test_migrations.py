"""Migrations as the host program runs them: one at a time whatever dies, and what patterns match."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.hostside import deploylock, migration, migrations, patterns
from deploy.hostside.failure import Failure
from deploy.hostside.layout import Layout

RELEASE = "20261124T080000Z-1f2e3d4"
PROGRAM = """
import sys
from deploy.hostside import migration
from deploy.hostside.layout import Layout
migration.run(Layout(sys.argv[1]), sys.argv[2], "echo head", "kay@laptop pid 7", print,
              command=sys.argv[3], env={}, timeout=None)
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    for name in (f"releases/{RELEASE}", "shared", ".deploy"):
        (tmp_path / name).mkdir(parents=True)
    return Layout(str(tmp_path))


def run(layout: Layout, command: str, **more: Any) -> dict[str, Any]:
    asked = {"head": "echo head", "by": "me", "progress": str, "env": {}, "timeout": None, **more}
    return migration.run(layout, RELEASE, command=command, **asked)


def await_that(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_of_two_at_once_the_second_is_told_who_is_at_it(layout: Layout, tmp_path: Path) -> None:
    waits = "touch begun; until test -e go; do sleep 0.05; done"
    first = subprocess.Popen([sys.executable, "-c", PROGRAM, layout.base, RELEASE, waits])
    place = tmp_path / "releases" / RELEASE
    await_that((place / "begun").exists)
    with pytest.raises(Failure, match=rf"the migration of release {RELEASE}, begun by kay@laptop pid 7") as caught:
        run(layout, "touch second")
    assert caught.value.kind == "migrating"
    await_that(lambda: "kill -- -" in migrations.running(layout))
    assert migrations.summary(layout)["releases"][RELEASE]["state"] == "running"
    (place / "go").touch()
    assert first.wait(30) == 0
    assert not (place / "second").exists()
    assert migrations.running(layout) == ""
    assert migrations.summary(layout)["releases"][RELEASE]["state"] == "done"


def test_a_command_whose_host_program_dies_keeps_others_away_until_it_ends(layout: Layout, tmp_path: Path) -> None:
    waits = "touch begun; until test -e go; do sleep 0.05; done"
    program = subprocess.Popen([sys.executable, "-c", PROGRAM, layout.base, RELEASE, waits])
    place = tmp_path / "releases" / RELEASE
    await_that((place / "begun").exists)
    program.send_signal(signal.SIGKILL)
    program.wait()
    assert "begun by kay@laptop" in migrations.running(layout)
    with pytest.raises(Failure, match="begun by kay@laptop"):
        deploylock.acquire(layout, "token", {"user": "u", "host": "h", "pid": 1, "message": ""}, 60)
    (place / "go").touch()
    await_that(lambda: not migrations.running(layout))
    assert migrations.summary(layout)["releases"][RELEASE]["state"] == "cut off"
    assert run(layout, "true")["exited"] == 0
    assert migrations.summary(layout)["releases"][RELEASE]["state"] == "done"


def test_what_a_migration_leaves_in_the_background_keeps_nobody_away(layout: Layout, tmp_path: Path) -> None:
    run(layout, "sleep 60 >/dev/null 2>&1 & echo $! > pid")
    try:
        assert migrations.running(layout) == ""
        assert run(layout, "true")["exited"] == 0
    finally:
        os.kill(int((tmp_path / "releases" / RELEASE / "pid").read_text()), signal.SIGKILL)


def test_how_it_ended_is_in_the_records_and_in_the_journal(layout: Layout, tmp_path: Path) -> None:
    ended = run(layout, "exit 3")
    record = ended["state"]["releases"][RELEASE]
    assert (record["state"], record["exited"], record["by"], record["heads"]) == ("failed", 3, "me", None)
    assert ended["state"]["database"]["heads"] == ["head"], "what it is at now is known all the same"
    late = run(layout, "sleep 60", timeout=0.2)
    assert (late["exited"], late["state"]["releases"][RELEASE]["state"]) == (-1, "failed")
    lines = (tmp_path / ".deploy/journal.jsonl").read_text().splitlines()
    assert [json.loads(line)["exited"] for line in lines] == [3, -1]


def test_a_release_that_is_gone_is_forgotten_and_one_that_is_missing_is_refused(layout: Layout, tmp_path: Path) -> None:
    run(layout, "true")
    (tmp_path / "releases" / RELEASE).rmdir()
    with pytest.raises(Failure, match="there is no"):
        run(layout, "true")
    assert migrations.summary(layout)["releases"] == {}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"schema": 99, "releases": {}, "database": {}}, "was written by a newer fabric-wheelhouse (schema 99)"),
        ({"schema": 99, "of_another_shape": []}, "was written by a newer fabric-wheelhouse (schema 99)"),
        ({"schema": 1, "releases": [], "database": {}}, "is damaged: .releases is not a mapping"),
        ({"schema": 1, "releases": {RELEASE: {}}, "database": {}}, f"is damaged: .releases.{RELEASE}.state is missing"),
        ({"schema": 1, "releases": {}, "database": {"heads": []}}, "is damaged: .database.release is missing"),
    ],
)
def test_records_of_a_newer_tool_or_of_another_shape_are_not_touched(
    layout: Layout, tmp_path: Path, document: dict[str, Any], said: str
) -> None:
    path = tmp_path / ".deploy/migrations.json"
    path.write_text(json.dumps(document))
    with pytest.raises(Failure, match=re.escape(f"{path} {said}")):
        run(layout, "true")
    assert json.loads(path.read_text()) == document


def test_a_head_that_hangs_or_holds_a_secret(layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration, "HEAD_TIMEOUT_S", 0.2)
    assert migration.ask(layout, RELEASE, "sleep 60", {})["problem"] == "took longer than 0.2 s"
    monkeypatch.undo()
    told = migration.ask(layout, RELEASE, "echo $A_PASSWORD; echo x >&2", {"A_PASSWORD": "sentinel"})
    assert told == {"heads": ["***"], "problem": ""}


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [
        ("**/migrations/*.py", ["migrations/1.py", "app/migrations/1.py", "app/sub/migrations/1.py"]),
        ("app/migrations", ["app/migrations/1.py", "app/migrations/data/x"]),
        ("app/**", ["app/migrations/1.py", "app/migrations/data/x", "app/sub/migrations/1.py"]),
        ("*.txt", ["requirements.txt"]),
        ("requirement[a-s].txt", ["requirements.txt"]),
        ("[!r]*.txt", []),
        ("?equirements.txt", ["requirements.txt"]),
        (".env", [".env"]),
        ("**/*", ["*"]),
        (".venv/**/migrations/*.py", [".venv/lib/migrations/1.py"]),
    ],
)
def test_what_patterns_match(tmp_path: Path, pattern: str, matching: list[str]) -> None:
    venv, root = tmp_path / "venv", tmp_path / "release"
    files = [
        "migrations/1.py", "app/migrations/1.py", "app/migrations/data/x", "app/sub/migrations/1.py",
        "requirements.txt",
    ]  # fmt: skip
    bytecode = ["app/migrations/__pycache__/1.cpython-311.pyc", "app/migrations/1.pyc", ".release.json"]
    for path in (*(root / name for name in files + bytecode), venv / "lib/migrations/1.py"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    (root / ".venv").symlink_to(venv)
    (root / ".env").symlink_to("../shared/.env")
    found = patterns.matched(str(root), [pattern])[pattern]
    assert sorted(found) == sorted([*files, ".env"] if matching == ["*"] else matching)
    assert all(path == entry.path for path, entry in found.items())
