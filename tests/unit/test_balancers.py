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
from deploy.fleet.balancers import Server
from deploy.fleet.balancers.haproxy import server_names
from deploy.fleet.balancers.nginx import addresses_of
from deploy.flows.balancing import too_few
from deploy.hostside import haproxy, healthfile, maintenance, nginx, sockets
from deploy.hostside.failure import Failure
from deploy.hostside.layout import Layout
from tests.unit.test_config import problems, section

HAPROXY = {"kind": "haproxy", "backend": "web"}


def test_a_stage_may_change_a_key_of_the_balancer() -> None:
    its = {"hosts": ["web1.example.org"], "balancer": {"backend": "other"}}
    settings = config.load(section(balancer=HAPROXY, stages={"production": its}), "production", "fabric.yaml")
    assert isinstance(settings.balancer, config.Haproxy)
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
        ({"kind": "f5"}, "deploy.balancer.kind: must be one of haproxy, nginx, file, command"),
        ({"kind": "nginx"}, "deploy.balancer.upstream_file: is missing"),
        ({"drain_timout": 3}, "deploy.balancer.drain_timout: unknown key; did you mean drain_timeout?"),
        ({"min_available": -1}, "deploy.balancer.min_available"),
    ],
)
def test_a_wrong_value_is_told_with_what_is_right(wrong: dict[str, Any], said: str) -> None:
    assert said in problems(section(balancer={**HAPROXY, **wrong}))


@pytest.mark.parametrize(
    ("balancer", "said"),
    [
        ({"backend": "web"}, "deploy.balancer.kind: must be one of haproxy, nginx, file, command"),
        ({"kind": "nginx", "upstream_file": "web.conf"}, "deploy.balancer.upstream_file: must be an absolute path"),
        ({"kind": "nginx", "upstream_flie": "/a"}, "unknown key; did you mean upstream_file?"),
        ({"kind": "file", "file": "../up", "notice": 3}, "deploy.balancer.file: must be a path below the base path"),
        ({"kind": "file", "file": "shared/up"}, "deploy.balancer.notice: is missing"),
        ({"kind": "file", "file": "shared/up", "notice": 3, "port": 0}, "deploy.balancer.port: "),
        ({"kind": "command", "drain": "a"}, "deploy.balancer.undrain: is missing"),
        ({"kind": "command", "drain": "a", "undrain": "b", "sttus": "c"}, "did you mean status?"),
        ({"kind": "command", "drain": "a", "undrain": "b", "where": "lb1"}, "deploy.balancer.where: "),
    ],
)
def test_each_kind_has_keys_of_its_own(balancer: dict[str, Any], said: str) -> None:
    assert said in problems(section(balancer=balancer))


def test_a_stage_may_have_a_balancer_of_another_kind() -> None:
    its = {"hosts": ["web1.example.org"], "balancer": {"kind": "file", "file": "shared/up", "notice": 3}}
    both = {
        "production": its,
        "staging": {"hosts": ["web2.example.org"], "balancer": {"kind": "haproxy", "socket": "/s"}},
    }
    balancer = config.load(section(balancer=HAPROXY, stages=both), "production", "fabric.yaml").balancer
    assert isinstance(balancer, config.HealthFile)
    balancer = config.load(section(balancer=HAPROXY, stages=both), "staging", "fabric.yaml").balancer
    assert isinstance(balancer, config.Haproxy)
    assert (balancer.backend, balancer.socket) == ("web", "/s")


@pytest.mark.parametrize(
    ("host", "servers", "name"),
    [
        ({"host": "deploy@web1.example.org:2222"}, ["web1.example.org"], "web1.example.org"),
        ({"host": "web1.example.org"}, ["web1", "web2"], "web1"),
        ({"host": "web1.example.org", "balancer_name": "a"}, ["web1", "a"], "a"),
        ({"host": "web1.example.org", "balancer_name": "b"}, ["web1", "a"], ""),
        ({"host": "deploy@[2001:db8::1]:2222"}, ["[2001:db8::1]"], "[2001:db8::1]"),
        ({"host": "web3"}, ["web1"], ""),
    ],
)
def test_a_host_is_the_server_of_its_name(host: dict[str, str], servers: list[str], name: str) -> None:
    assert server_names(HostSettings(**host), servers) == ([name] if name else [])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("host", "names"),
    [
        ("deploy@web1:22", ["deploy@web1:22", "web1:22", "web1"]),
        ("deploy@[2001:db8::1]:22", ["[2001:db8::1]:22", "[2001:db8::1]"]),
    ],
)
def test_a_host_is_called_by_its_address_with_or_without_user_and_port(host: str, names: list[str]) -> None:
    settings = HostSettings(host=host)
    assert all(map(settings.called, names))
    assert not any(map(settings.called, ["deploy", "22", "web", "[2001"]))


@pytest.mark.parametrize(
    ("host", "names"),
    [
        ({"host": "deploy@10.0.0.1:2222"}, ["10.0.0.1:8000", "10.0.0.1:8001"]),
        ({"host": "a", "balancer_name": "10.0.0.1:8001"}, ["10.0.0.1:8001"]),
        ({"host": "a", "balancer_name": "[2001:db8::1]"}, ["[2001:db8::1]:8000"]),
        ({"host": "[2001:db8::1]:22"}, ["[2001:db8::1]:8000"]),
        ({"host": "web2.example.org"}, ["web2:8000"]),
        ({"host": "10.0.0.9"}, []),
    ],
)
def test_a_host_is_all_servers_of_its_address(host: dict[str, str], names: list[str]) -> None:
    known = ("10.0.0.1:8000", "10.0.0.1:8001", "10.0.0.11:8000", "[2001:db8::1]:8000", "web2:8000")
    servers = {name: Server(True, "", "in") for name in known}
    assert addresses_of(HostSettings(**host), servers) == names  # type: ignore[arg-type]


UPSTREAM = """\
# server 10.0.0.9:8000;
upstream other { server 10.0.0.1:8000; }
upstream web {
    least_conn;
    server 10.0.0.1:8000 weight=2;  # rack 1; the old one
    server 10.0.0.2:8000 down;
\tserver [2001:db8::1]:8000;
}
server {
    listen 80;
    server_name a;
    location / { proxy_pass http://web; }
}
"""


def test_a_server_is_taken_out_of_its_upstream_and_put_back_to_the_letter() -> None:
    names = ["10.0.0.1:8000", "10.0.0.2:8000", "[2001:db8::1]:8000"]
    out = nginx.edited(UPSTREAM, "f", "web", names, nginx.DRAINED, taken=True)
    assert "server 10.0.0.1:8000 weight=2 down;  # rack 1; the old one  # drained by fabric-wheelhouse\n" in out
    assert "server 10.0.0.2:8000 down;\n" in out, "somebody else's"
    assert "upstream other { server 10.0.0.1:8000; }" in out
    assert nginx.edited(out, "f", "web", names, nginx.DRAINED, taken=True) == out
    closed = nginx.edited(out, "f", "web", names, nginx.CLOSED, taken=True)
    assert closed == out, "who is out already is left alone"
    assert nginx.edited(out, "f", "web", names, nginx.CLOSED, taken=False) == out
    assert nginx.edited(out, "f", "web", names, nginx.DRAINED, taken=False) == UPSTREAM


@pytest.mark.parametrize(
    ("text", "upstream", "said"),
    [
        (UPSTREAM, "weB", "has no upstream 'weB' with servers"),
        ("upstream web {\n}\n", "", "has no line with servers"),
        ("server a:1; server b:1;\n", "", "f:1 has more than one server"),
        ("server a:1;\nserver a:1;\n", "", "names a server twice"),
    ],
)
def test_servers_that_cannot_be_told_from_each_other_are_refused(text: str, upstream: str, said: str) -> None:
    with pytest.raises(Failure) as caught:
        nginx.edited(text, "f", upstream, ["a:1"], nginx.CLOSED, taken=True)
    assert said in caught.value.what


def test_a_page_is_there_until_it_is_removed(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    with pytest.raises(Failure, match="there is no"):
        maintenance.put(layout, "shared/page.html", "soon")
    (tmp_path / "shared").mkdir()
    changed = [maintenance.put(layout, "shared/page.html", text)["changed"] for text in ("soon", "soon", "later")]
    assert changed == [True, False, True]
    assert (tmp_path / "shared/page.html").read_text() == "later"
    assert maintenance.since(layout, "shared/page.html").startswith("20")
    assert [maintenance.remove(layout, "shared/page.html")["changed"] for _ in range(2)] == [True, False]
    assert maintenance.since(layout, "shared/page.html") == ""


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"maintenance": {"by": "balancer"}}, "maintenance.by: balancer needs a balancer of kind haproxy or nginx"),
        ({"maintenance": {"by": "nobody"}}, "deploy.maintenance.by: "),
        ({"maintenance": {"file": "../page.html"}}, "deploy.maintenance.file: must be a path below the base path"),
        ({"maintenance": {"pgae": "page.html"}}, "deploy.maintenance.pgae: unknown key; did you mean page?"),
    ],
)
def test_a_wrong_value_of_maintenance_is_told(keys: dict[str, Any], said: str) -> None:
    assert said in problems(section(**keys))


def test_a_host_is_in_balance_while_its_file_is_there(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    assert healthfile.look(layout, "up", new=False)["out"] == "maint"
    assert healthfile.look(layout, "up", new=True)["out"] == ""
    assert healthfile.drain(layout, "up", 0, 0, 0) == {"left": 0}
    assert healthfile.look(layout, "up", new=False)["out"] == "drain"
    healthfile.ready(layout, "up", 0)
    assert healthfile.look(layout, "up", new=False) == {"status": f"{tmp_path}/up is there", "up": True, "out": ""}
    (tmp_path / "up").write_text("ok\n")
    for _ in range(2):
        healthfile.drain(layout, "up", 0, 0, 0)
    assert not (tmp_path / "up").exists()
    for _ in range(2):
        healthfile.ready(layout, "up", 0)
    assert (tmp_path / "up").read_text() == "ok\n"


@pytest.mark.parametrize("family", ["127.0.0.1", "::1"])
def test_connections_are_seen_as_the_kernel_tells_them(family: str) -> None:
    kind = socket.AF_INET6 if ":" in family else socket.AF_INET
    with socket.socket(kind) as server:
        try:
            server.bind((family, 0))
        except OSError:
            pytest.skip("no IPv6 here")
        server.listen()
        ends = sockets.resolve(family, server.getsockname()[1])
        assert sockets.count_to(ends) == 0
        with socket.create_connection(server.getsockname()[:2]), server.accept()[0]:
            assert sockets.count_to(ends) == 1
            assert sockets.count_at(ends[0][1]) == 0, "what a host says to itself is nobody's request"
    assert sockets.resolve("no.such.name.invalid", 80) == []


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
