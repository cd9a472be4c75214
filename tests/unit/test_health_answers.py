"""What an application may answer when it is asked for its health."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from deploy.hostside import health
from deploy.hostside.layout import Layout


@pytest.mark.parametrize("answer", [b"", b"no HTTP\r\n\r\n", b"HTTP/1.1 200 OK" + b"x" * 70_000])
def test_an_answer_that_is_no_http_is_not_healthy(tmp_path: Path, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk() -> None:
            with server.accept()[0] as client:
                client.recv(1 << 12)
                client.sendall(answer)

        threading.Thread(target=talk, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        said = health.wait(Layout(str(tmp_path)), url, timeout=0.01, interval=1)
    assert not said["healthy"]
    assert said["last"]
