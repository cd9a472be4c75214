"""What is kept of the host program between two runs, and how a run starts from it: with a real interpreter."""

from __future__ import annotations

import getpass
import hashlib
import json
import marshal
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.host.bootstrap import program

PYTHON = getattr(sys, "_base_executable", sys.executable)


class Loaded:
    """A base path, and the host program that is started for it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.folder = base / ".deploy"

    @property
    def kept(self) -> Path:
        return self.folder / program().file_name

    @property
    def made(self) -> Path:
        found = [path for path in self.folder.iterdir() if path.name.startswith("hostside-") and path != self.kept]
        assert len(found) == 1
        return found[0]

    def run(self, *operations: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
        """What it says to one request; the program comes behind it, and is not looked at where it is known."""
        content = program().content
        request = json.dumps({"base": str(self.base), "ops": operations}).encode() + b"\n"
        folder = self.folder
        private = not folder.is_symlink() and not (folder.exists() and folder.stat().st_mode & 0o022)
        there = private and self.kept.exists()
        known = there and hashlib.sha256(self.kept.read_bytes()).hexdigest() == program().sha256
        sent = request if known else request + b"program %d\n" % len(content) + content
        return said(program().command(PYTHON, str(self.folder)), sent, 1 + len(operations))


def said(command: list[str], sent: bytes, count: int) -> list[dict[str, Any]]:
    """The lines with which the host program answers."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as asked:
        assert asked.stdin and asked.stdout and asked.stderr
        asked.stdin.write(sent)
        asked.stdin.flush()
        lines = [json.loads(asked.stdout.readline()) for _ in range(count)]
        asked.stdin.close()
        assert not (errors := asked.stderr.read()), errors.decode()
        assert not asked.stdout.read()
    return lines


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    return Loaded(tmp_path / "app")


@pytest.fixture
def kept(loaded: Loaded) -> Loaded:
    assert loaded.run(("setup", {"owner": getpass.getuser()}))[0] == {"known": 0}
    return loaded


def test_it_is_kept_by_the_run_that_makes_the_directory_for_it(kept: Loaded) -> None:
    assert kept.kept.read_bytes() == program().content
    assert [path.stat().st_mode & 0o777 for path in (kept.kept, kept.made)] == [0o644, 0o644]
    assert kept.run(("records", {}))[0] == {"known": 1}
    assert len(list(kept.folder.iterdir())) == 2


def test_without_a_directory_it_runs_and_keeps_nothing(loaded: Loaded) -> None:
    known, answer = loaded.run(("records", {}))
    assert known == {"known": 0} and answer["result"]["live"] == ""
    assert not loaded.base.exists()


def test_what_python_made_of_it_is_taken_and_what_is_imported_later_joins_it(kept: Loaded) -> None:
    before = kept.made.read_bytes()
    kept.run(("setup", {"owner": getpass.getuser()}))
    assert kept.made.read_bytes() == before
    kept.run(("records", {}), ("journal", {"entry": {}}))
    made = marshal.loads(kept.made.read_bytes()[32:])
    assert {"hostside.setup", "hostside.journal"} <= made.keys()
    made["hostside.journal"] = marshal.dumps(compile("def append(layout, entry): return 'taken'", "journal.py", "exec"))
    put(kept.made, made)
    assert kept.run(("journal", {"entry": {}}))[-1] == {"result": "taken"}


@pytest.mark.parametrize("left", [b"", b"torn", b"\0" * 4096])
def test_what_is_damaged_is_as_good_as_none_and_made_anew(kept: Loaded, left: bytes) -> None:
    whole = kept.made.read_bytes()
    kept.made.write_bytes(whole[:100] + left if left == b"torn" else left)
    assert kept.run(("setup", {"owner": getpass.getuser()})) == [{"known": 1}, {"result": {"changed": []}}]
    assert kept.made.read_bytes()[:32] == hashlib.sha256(kept.made.read_bytes()[32:]).digest()


def test_a_program_that_is_not_the_wanted_one_is_not_run(kept: Loaded) -> None:
    kept.kept.write_bytes(b"something else")
    assert kept.run(("records", {}))[0] == {"known": 0}
    assert kept.kept.read_bytes() == program().content


def test_it_runs_where_nothing_can_be_kept(kept: Loaded) -> None:
    made, name = kept.made, kept.made.name
    made.unlink()
    (kept.folder / name).mkdir()
    assert "result" in kept.run(("records", {}))[-1]
    assert sorted(os.listdir(kept.folder)) == sorted([kept.kept.name, name])


def test_cleaning_up_forgets_other_versions_and_what_other_interpreters_made(kept: Loaded) -> None:
    own = {kept.kept.name, kept.made.name}
    (kept.folder / ("hostside-" + "0" * 64 + ".pyz")).touch()
    (kept.folder / f"{kept.kept.stem}.cpython-39-30900f0").touch()
    assert "problem" in kept.run(("cleanup", {"keep": 1}))[-1]["result"]
    assert {path.name for path in kept.folder.iterdir() if path.name.startswith("hostside-")} == own


def put(path: Path, made: dict[str, Any]) -> None:
    data = marshal.dumps(made)
    path.write_bytes(hashlib.sha256(data).digest() + data)


def test_where_nothing_is_to_be_kept_nothing_is(kept: Loaded) -> None:
    before = sorted(kept.folder.iterdir())
    content = program().content
    request = json.dumps({"base": str(kept.base), "ops": [["records", {}]]}).encode() + b"\n"
    known, answer = said(program().command(PYTHON, ""), request + b"program %d\n" % len(content) + content, 2)
    assert known == {"known": 0}
    assert answer["result"]["live"] == ""
    assert sorted(kept.folder.iterdir()) == before


def test_nothing_is_taken_from_or_kept_in_a_directory_that_others_may_write_to(kept: Loaded) -> None:
    kept.folder.chmod(0o777)
    kept.made.write_bytes(b"theirs")
    assert kept.run(("records", {}))[0] == {"known": 0}
    assert kept.made.read_bytes() == b"theirs"


def test_nothing_is_taken_from_or_kept_behind_a_link(kept: Loaded, tmp_path: Path) -> None:
    elsewhere = kept.folder.rename(tmp_path / "elsewhere")
    kept.folder.symlink_to(elsewhere)
    before = [(path.name, path.stat().st_mtime_ns) for path in sorted(elsewhere.iterdir())]
    known, answer = kept.run(("records", {}))
    assert known == {"known": 0}
    assert "is a link" in answer["failure"]["what"]
    assert [(path.name, path.stat().st_mtime_ns) for path in sorted(elsewhere.iterdir())] == before
