"""Balancers: what is refused of their configuration, which server a host is, and when too few would be left."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy import config
from deploy.config import HostSettings
from deploy.flows.balancers import Server
from deploy.flows.balancers.haproxy import server_names
from deploy.flows.balancing import too_few
from deploy.hostside import haproxy
from deploy.hostside.failure import Failure
from deploy.hostside.layout import Layout
from tests.unit.test_config import problems, section

HAPROXY = {"kind": "haproxy", "backend": "web"}


def test_a_stage_may_change_a_key_of_the_balancer() -> None:
    its = {"hosts": ["web1.example.org"], "balancer": {"backend": "other"}}
    settings = config.load(section(balancer=HAPROXY, stages={"production": its}), "production", "fabric.yaml")
    assert settings.balancer
    assert (settings.balancer.backend, settings.balancer.socket) == ("other", "/run/haproxy/admin.sock")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"backend": "a b"}, "deploy.balancer.backend"),
        ({"backend": "web; disable server web/web1"}, "deploy.balancer.backend"),
        ({"socket": "admin.sock"}, "deploy.balancer.socket: must be an absolute path, or address:port"),
        ({"socket": "lb1:99999"}, "deploy.balancer.socket: must be an absolute path, or address:port"),
        ({"hosts": ["-oProxyCommand=x"]}, "must look like [user@]host[:port]"),
        ({"hosts": ["lb1", "lb1"]}, "deploy.balancer.hosts: one is listed twice"),
        ({"kind": "nginx"}, "deploy.balancer.kind"),
        ({"drain_timout": 3}, "deploy.balancer.drain_timout: unknown key; did you mean drain_timeout?"),
        ({"min_available": -1}, "deploy.balancer.min_available"),
    ],
)
def test_a_wrong_value_is_told_with_what_is_right(wrong: dict[str, Any], said: str) -> None:
    assert said in problems(section(balancer={**HAPROXY, **wrong}))


@pytest.mark.parametrize(
    ("host", "servers", "name"),
    [
        ({"host": "deploy@web1.example.org:2222"}, ["web1.example.org"], "web1.example.org"),
        ({"host": "web1.example.org"}, ["web1", "web2"], "web1"),
        ({"host": "web1.example.org", "balancer_name": "a"}, ["web1", "a"], "a"),
        ({"host": "web1.example.org", "balancer_name": "b"}, ["web1", "a"], ""),
        ({"host": "web3"}, ["web1"], ""),
    ],
)
def test_a_host_is_the_server_of_its_name(host: dict[str, str], servers: list[str], name: str) -> None:
    assert server_names(HostSettings(**host), servers) == ([name] if name else [])  # type: ignore[arg-type]


def test_servers_that_would_be_left_are_counted() -> None:
    servers = {
        "web1": Server(True, "", "UP"), "web2": Server(True, "", "no check"), "web3": Server(False, "", "DOWN 1/2"),
        "web4": Server(False, "maint", "MAINT"),
    }  # fmt: skip
    assert too_few(servers, ["web1"], 1) == ""
    assert "servers that are up: 1 (web2); deploy.balancer.min_available is 2" in too_few(servers, ["web1"], 2)
    assert "servers that are up: none" in too_few(servers, ["web1", "web2"], 1)
    assert too_few(servers, ["web3"], 3) == "", "who is down serves nobody"
    assert too_few(servers, ["web1", "web2"], 1, coming=["web3"]) == "", "its turn is before theirs"


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[None]:
    """A socket that gives the same answer to each connection."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    if not connection.recv(99):
                        return
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(str(path))
        thread.join()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"Permission denied\n", "does not answer as haproxy's runtime socket does"),
        (b"\x00\xff\xfe", "does not answer as haproxy's runtime socket does"),
        (b"", "does not answer as haproxy's runtime socket does"),
        (b"# pxname,svname,status,scur\nother,web1,UP,0\n", "has no backend 'web' with servers"),
    ],
)
def test_a_socket_that_is_not_what_was_meant_is_told(tmp_path: Path, answer: bytes, said: str) -> None:
    layout = Layout(str(tmp_path))
    with answering(tmp_path / "s", answer), pytest.raises(Failure) as caught:
        haproxy.look(layout, str(tmp_path / "s"), "web")
    assert said in caught.value.what
    assert caught.value.kind == "balancer"


def test_a_socket_where_nobody_listens_is_told(tmp_path: Path) -> None:
    for address in (str(tmp_path / "none"), "127.0.0.1:1"):
        with pytest.raises(Failure, match="does not answer"):
            haproxy.look(Layout(str(tmp_path)), address, "web")
