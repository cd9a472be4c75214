"""The remote shell that rsync, git and hg are given: what they would get of ssh, over the connection that is open."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.errors import ConnectionFailed
from deploy.host.connection import Host
from deploy.host.relay import Relay, relay
from tests.local.conftest import LoopbackHost, reach

pytestmark = pytest.mark.parametrize("host", ["openssh"], indirect=True)


@pytest.fixture
def server(tmp_path: Path, host: LoopbackHost) -> Iterator[Host]:
    opened = reach(host, tmp_path)
    yield opened
    opened.close()


def call(rides: Relay, script: str, content: bytes = b"", **options: object) -> subprocess.CompletedProcess[bytes]:
    """What rsync does: the words of ssh, the host's name, and a command."""
    line = [*shlex.split(rides.shell), "-l", "nobody", "host", "sh", "-c", script]
    return subprocess.run(line, input=content, capture_output=True, timeout=60, check=False, **options)  # type: ignore[call-overload,no-any-return]


def test_streams_exit_status_and_errors_pass_through_and_each_call_has_a_channel(
    server: Host, host: LoopbackHost
) -> None:
    content = os.urandom(3 << 20)
    with relay(server) as rides:
        done = call(rides, "cat; echo noise >&2; exit 7", content)
        assert (done.returncode, done.stdout, done.stderr) == (7, content, b"noise\n")
        assert rides.sent == len(content)
        for script, status in (("exit 0", 0), ("exit 255", 255), ("kill -9 $$", 255)):
            done = call(rides, script)
            assert (done.returncode, done.stdout, done.stderr) == (status, b"", b"")
            assert rides.error is None
    assert host.logins == 1


def test_only_this_user_reaches_the_socket_and_it_goes_with_the_transfer(server: Host) -> None:
    with relay(server) as rides:
        socket = Path(shlex.split(rides.shell)[-1])
        assert socket.is_socket()
        assert socket.parent.stat().st_mode & 0o7777 == 0o700
        assert socket.parent.stat().st_uid == os.getuid()
        if os.getuid() == 0:
            knock = f"import os, socket; os.setuid(65534); socket.socket(socket.AF_UNIX).connect({str(socket)!r})"
            told = subprocess.run([sys.executable, "-c", knock], capture_output=True, text=True, check=False)
            assert "PermissionError" in told.stderr
    assert not socket.parent.exists()


def test_much_passes_through_in_little_memory_both_ways(server: Host) -> None:
    size = 24 << 20
    with relay(server) as rides:
        tracemalloc.start()
        try:
            line = [*shlex.split(rides.shell), "host", "cat"]
            with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
                assert process.stdin and process.stdout
                writer = threading.Thread(target=_write, args=(process.stdin, size))
                writer.start()
                returned = 0
                while chunk := process.stdout.read(1 << 16):
                    returned += len(chunk)
                writer.join()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (process.returncode, returned) == (0, size)
    assert peak < 8 << 20, peak


def _write(stream: object, size: int) -> None:
    for _ in range(size >> 16):
        stream.write(bytes(1 << 16))  # type: ignore[attr-defined]
    stream.close()  # type: ignore[attr-defined]


def test_a_connection_that_is_cut_ends_the_call_and_is_told(server: Host, host: LoopbackHost) -> None:
    with relay(server) as rides:
        server.open()
        threading.Timer(0.5, lambda: server.connection.transport.sock.shutdown(2)).start()
        assert call(rides, "sleep 30").returncode == 255
        assert isinstance(rides.error, ConnectionFailed)
