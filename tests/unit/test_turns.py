"""Who changes what lies below a base path does so alone, and ends where nobody listens any more."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from deploy.hostside import removal, turns
from deploy.hostside.failure import Failure
from deploy.hostside.layout import Layout

HOLDS = (
    "import fcntl, sys; file = open(sys.argv[1]); fcntl.flock(file, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
)

# The program with a beat of its own, and an operation that takes its time: it writes into a file when it is done.
WORKS = """
import sys, time
from deploy.hostside import server
server.BEAT_S = 0.05
def perform(name, layout, wire, arguments):
    print("at work", file=sys.stderr, flush=True)
    time.sleep(0.6)
    open(layout.path("done"), "w").close()
server.perform = perform
server.serve()
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / ".deploy").mkdir()
    (tmp_path / ".deploy/work.guard").touch()
    return Layout(str(tmp_path))


@pytest.fixture
def holder(layout: Layout) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", HOLDS, layout.path(".deploy", "work.guard")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        yield process
        with suppress(BrokenPipeError):
            process.communicate()


def test_who_is_at_work_is_waited_for_and_named(
    layout: Layout, holder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "WAIT_S", 0.2)
    with pytest.raises(Failure, match=rf"at work in .* \(process {holder.pid}\)") as raised, turns.alone(layout):
        pass
    assert raised.value.kind == "busy"
    assert f"kill -KILL {holder.pid}" in raised.value.hint
    monkeypatch.setattr(turns, "WAIT_S", 30)
    holder.kill()
    with turns.alone(layout):
        pass


def test_what_is_not_set_up_has_nobody_to_wait_for(tmp_path: Path) -> None:
    with turns.alone(Layout(str(tmp_path / "new"))):
        pass
    assert not (tmp_path / "new").exists()


def test_who_removes_what_is_out_of_use_keeps_nobody_waiting(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in removal.KINDS:
        os.mkdir(layout.path(kind))
    os.mkdir(layout.path("venvs", ".partial-old.12345678.gone"))
    assert removal.pending(layout)

    end = Path(layout.path("end"))

    def removes(layout: Layout) -> None:
        while not end.exists():
            time.sleep(0.01)

    monkeypatch.setattr(removal, "now", removes)
    monkeypatch.setattr(turns, "WAIT_S", 0.0)
    with turns.alone(layout):
        removal.afterwards(layout)
        assert removal.going_on(layout)
    with turns.alone(layout):
        end.touch()


@pytest.mark.parametrize(("operation", "ends"), [("begin", True), ("migrate", False)])
def test_what_changes_a_host_ends_when_nobody_listens_and_a_command_of_the_application_does_not(
    tmp_path: Path, operation: str, ends: bool
) -> None:
    request = f'{{"base": "{tmp_path}", "ops": [["{operation}", {{}}]]}}\n'.encode()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", WORKS], **pipes) as process:  # type: ignore[call-overload]
        process.stdin.write(request)
        process.stdin.flush()
        assert process.stderr.readline() == b"at work\n"
        process.stdout.close()
        process.stdin.close()
        process.wait(30)
    assert (tmp_path / "done").exists() is not ends
