"""Two processes on one socket: the successor is asked by itself, whatever the former one answers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.hostside import handover
from deploy.hostside.layout import Layout

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")

SERVER = """\
import os, socket, sys, time
listener, status = socket.socket(fileno=int(sys.argv[1])), sys.argv[2]
if status != "ends":
    os.fork()  # a worker, on which its main process waits; both answer
print(flush=True)
while status == "busy":
    time.sleep(1)
if status == "ends":
    sys.exit(3)
while True:
    connection, _ = listener.accept()
    connection.settimeout(5)
    try:
        if connection.recv(1 << 16):
            connection.sendall(f"HTTP/1.1 {status} Said\\r\\nContent-Length: 4\\r\\n\\r\\nsaid".encode())
    except OSError:
        pass
    connection.close()
"""

Start = Callable[[str, str], int]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    for release in ("old", "new"):
        (tmp_path / "releases" / release).mkdir(parents=True)
    return Layout(str(tmp_path))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@pytest.fixture
def start(layout: Layout, listener: socket.socket) -> Iterator[Start]:
    """Starts a process of a release that answers so; its number."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(release: str, status: str) -> int:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(listener.fileno()), status],
            cwd=layout.release(release),
            pass_fds=[listener.fileno()],
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        started.append(process)
        assert process.stdout and process.stdout.readline()
        return process.pid

    yield begin
    for process in started:
        os.killpg(process.pid, 9)
        process.wait()
        assert process.stdout
        process.stdout.close()


def verdict(layout: Layout, listener: socket.socket, former: int, new: int, timeout: float = 10) -> dict[str, Any]:
    Path(layout.path("app.pid.2")).write_text(str(new))
    health = {"url": f"http://127.0.0.1:{listener.getsockname()[1]}/", "timeout": timeout, "interval": 1, "host": ""}
    return handover.verify(layout, "new", "app.pid.2", former, health, timeout)


def test_a_successor_that_answers_well_is_well_although_the_former_one_is_not(
    layout: Layout, listener: socket.socket, start: Start
) -> None:
    found = verdict(layout, listener, start("old", "503"), start("new", "200"))
    assert (found["healthy"], found["verdict"]) == (True, "proven")


def test_a_successor_that_is_sick_is_not_covered_by_the_former_one(
    layout: Layout, listener: socket.socket, start: Start
) -> None:
    found = verdict(layout, listener, start("old", "200"), start("new", "503"), timeout=3)
    assert (found["healthy"], found["last"]) == (False, "HTTP 503: said")


def test_a_successor_that_takes_no_connection_is_not_well(
    layout: Layout, listener: socket.socket, start: Start
) -> None:
    found = verdict(layout, listener, start("old", "200"), start("new", "busy"), timeout=1)
    assert (found["healthy"], found["last"]) == (False, "its predecessor answers")


def test_a_successor_that_ends_is_down(layout: Layout, listener: socket.socket, start: Start) -> None:
    assert verdict(layout, listener, start("old", "200"), start("new", "ends"), timeout=1)["verdict"] == "down"


def test_one_that_cannot_be_asked_has_to_stay_as_it_is(
    layout: Layout, listener: socket.socket, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "SETTLE_S", 0.2)
    Path(layout.path("app.pid.2")).write_text(str(start("new", "200")))
    former = start("old", "200")
    assert handover.verify(layout, "new", "app.pid.2", former, None, 10)["healthy"]
    elsewhere = {"url": f"http://127.0.0.1:{listener.getsockname()[1]}/", "timeout": 5, "interval": 1, "host": ""}
    Path(layout.path("app.pid.2")).write_text(str(start("new", "busy")))
    # What answers belongs to neither, as a web server before the application does.
    assert handover.verify(layout, "new", "app.pid.2", 4194305, elsewhere, 10)["healthy"]
