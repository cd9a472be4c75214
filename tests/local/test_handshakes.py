"""Logins to a real sshd that is configured as it comes: staggered below its limit, and repeated where it drops them."""

from __future__ import annotations

import getpass
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fabric import Config

from deploy.errors import NotReached
from deploy.host.connection import Host
from deploy.host.login import Access
from tests.local.conftest import SSHD, Client, LoopbackHost, free_port

AS_IT_COMES = "10:30:100"
TEN = "10:100:10"
"""The eleventh is dropped, and not by chance."""
LOGINS = 40
DROPPED = "drop connection"


class Server(LoopbackHost):
    """An sshd with its own limits, at every address of loopback."""

    def __init__(self, directory: Path, startups: str) -> None:
        self.client = Client(directory / "client")
        super().__init__(directory / "sshd", self.client, kind="openssh", listen="0.0.0.0", startups=startups)
        key = (directory / "sshd/host_key.pub").read_text().strip()
        self.addresses = [f"127.2.0.{number + 1}" for number in range(LOGINS)]
        self.client.known_hosts.write_text("".join(f"[{each}]:{self.port} {key}\n" for each in self.addresses))

    def host(self, name: str, address: str, attempts: int) -> Host:
        access = Access(
            known_hosts=(self.client.known_hosts,), identity=str(self.client.key), connect_attempts=attempts
        )
        return Host(
            f"{getpass.getuser()}@{address}:{self.port}",
            name=name,
            base_path="/srv",
            deploy_user="",
            python="",
            config=Config(),
            access=access,
        )


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    if not SSHD:
        pytest.skip("OpenSSH's sshd is not installed")
    made = Server(tmp_path, getattr(request, "param", AS_IT_COMES))
    made.start()
    yield made
    made.stop()


def test_many_logins_to_one_address_stay_below_what_its_sshd_takes_at_once(server: Server) -> None:
    hosts = [server.host(str(number), server.addresses[0], attempts=1) for number in range(LOGINS)]
    with ThreadPoolExecutor(LOGINS) as pool:
        list(pool.map(Host.open, hosts))
    assert server.logins == LOGINS
    assert DROPPED not in server.log
    for host in hosts:
        host.close()


@pytest.mark.parametrize("server", [TEN], indirect=True)
def test_a_login_that_the_server_drops_is_tried_again(server: Server) -> None:
    # Few enough for all of them to be let in once the ten are gone, and so many attempts that the server may take long
    # to notice that.
    hosts = [server.host(address, address, attempts=9) for address in server.addresses[:8]]
    others = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(10)]
    with ThreadPoolExecutor(len(hosts)) as pool:
        opening = [pool.submit(host.open) for host in hosts]
        while DROPPED not in server.log and not all(login.done() for login in opening):
            time.sleep(0.02)
        for each in others:
            each.close()
        for login in opening:
            login.result()
    assert DROPPED in server.log
    assert server.logins == len(hosts)
    for host in hosts:
        host.close()


def test_a_port_where_nobody_listens_is_tried_again_and_then_is_not_reached(server: Server) -> None:
    server.port = free_port()
    start = time.monotonic()
    with pytest.raises(NotReached, match=r"cannot connect to 127.0.0.1 port \d+ \(Connection refused\)"):
        server.host("here", "127.0.0.1", attempts=3).open()
    assert time.monotonic() - start >= 0.7, "there are two pauses"
