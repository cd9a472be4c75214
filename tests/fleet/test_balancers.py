"""Behind a real haproxy, with gunicorn on three hosts and requests all the while: none is lost, whatever is done."""

from __future__ import annotations

import http.client
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import Project

pytestmark = pytest.mark.fleet

NAMES = ("web1", "web2", "web3")
SOCKET = "/run/haproxy/admin.sock"
CLIENTS = 6

# It takes its time, so that requests are under way whenever a host is taken out.
APP = """\
import time
VERSION = open("version.txt").read().strip()
def application(environ, start):
    if environ["PATH_INFO"] == "/health":
        start("500 broken" if VERSION == "broken" else "200 OK", [("Content-Length", "0")])
        return [b""]
    time.sleep(0.05)
    start("200 OK", [("Content-Length", str(len(VERSION)))])
    return [VERSION.encode()]
"""

UNIT = """\
[Unit]
StartLimitIntervalSec=0
[Service]
Type=notify
User=guestbook
WorkingDirectory=/srv/tiny/current
ExecStart=/usr/bin/env .venv/bin/gunicorn --bind 0.0.0.0:8000 --threads 8 web
"""

# No second try and no other server for a request that fails: what is lost is seen.
HAPROXY = """\
global
    stats socket {socket} mode 660 level admin
    stats socket ipv4@0.0.0.0:9999 level admin
defaults
    mode http
    retries 0
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout check 5s
frontend all
    bind :80
    default_backend web
backend web
    option httpchk GET /health
    default-server check inter 200ms fall 2 rise 2
{servers}
"""


@pytest.fixture(scope="module")
def balancer(standing: Any) -> Machine:
    machine: Machine
    machine, *webs = standing.all(("bookworm-haproxy", "lb1"), *(("bookworm", name) for name in NAMES))
    servers = "".join(f"    server {web.name} {web.address}:8000\n" for web in webs)
    machine.write("/etc/haproxy/haproxy.cfg", HAPROXY.format(socket=SOCKET, servers=servers))
    machine.join(*webs)
    machine.run("systemctl restart haproxy")
    return machine


@pytest.fixture
def project(tmp_path: Path, fleet: Fleet, standing: Any, balancer: Machine) -> Project:
    """Three hosts behind the balancer, on which version one serves."""
    machines = standing.all(*(("bookworm", name) for name in NAMES))
    for machine in machines:
        machine.run("systemctl stop tiny.service; rm -rf /srv/tiny/*", check=False)
        machine.run("rm -rf /srv/tiny/.deploy")
    project = Project(tmp_path / "tiny", fleet, machines, migrate=None, hashes="warn")
    (project.directory / "web.py").write_text(APP)
    with (project.directory / "requirements.txt").open("a") as lock:
        lock.write("gunicorn==23.0.0\npackaging==25.0\n")
    for machine in machines:
        machine.write("/etc/systemd/system/tiny.service", UNIT)
        machine.run("systemctl daemon-reload")
    hosts = [{"host": f"deploy@{each.address}", "balancer_name": each.name} for each in machines]
    project.configure(
        stages={"production": {"hosts": hosts}},
        rolling={"batch": 1},
        balancer={
            "kind": "haproxy", "hosts": [f"deploy@{balancer.address}"], "socket": SOCKET, "user": "root",
            "backend": "web", "drain_timeout": 10,
        },
    )  # fmt: skip
    project.version("one")
    project.fab("deploy")
    return project


class Load:
    """Clients that ask the balancer one request after another, each on a connection of its own.

    :ivar failures: whatever was no good answer.
    :ivar seconds: what the others took.
    :ivar versions: what they told.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self.failures: list[str] = []
        self.seconds: list[float] = []
        self.versions: list[str] = []
        self.ended = threading.Event()

    def ask(self) -> None:
        while not self.ended.is_set():
            begun = time.monotonic()
            connection = http.client.HTTPConnection(self._address, timeout=20)
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                text = answer.read().decode()
                if answer.status == 200:
                    self.versions.append(text)
                    self.seconds.append(time.monotonic() - begun)
                else:
                    self.failures.append(f"{answer.status}: {text}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
            finally:
                connection.close()

    @property
    def p99(self) -> float:
        return sorted(self.seconds)[len(self.seconds) * 99 // 100]


@contextmanager
def steady(balancer: Machine) -> Iterator[Load]:
    load = Load(balancer.address)
    clients = [threading.Thread(target=load.ask) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield load
    finally:
        load.ended.set()
        for client in clients:
            client.join()


def statuses(balancer: Machine) -> list[str]:
    """What haproxy says of each server."""
    said = balancer.run(
        f"python3 -c \"import socket; s = socket.socket(socket.AF_UNIX); s.connect('{SOCKET}'); "
        "s.sendall(b'show stat\\n'); print(s.makefile().read())\""
    ).stdout
    rows = [line.split(",") for line in said.splitlines()]
    return [next(row[17] for row in rows if row[:2] == ["web", name]) for name in NAMES]


def test_no_request_is_lost_in_a_deploy_a_failed_deploy_and_a_rollback(project: Project, balancer: Machine) -> None:
    with steady(balancer) as quiet:
        time.sleep(2)
    found = {}
    for what, version, code in (("deploy", "two", 0), ("deploy", "broken", 6), ("rollback", "", 0)):
        if version:
            project.version(version)
        with steady(balancer) as load:
            said = project.fab(what, expect=code).output
        assert not load.failures, (what, version, load.failures[:5], said)
        assert said.count("out of web") >= 1
        assert statuses(balancer) == ["UP"] * 3
        found[f"{what} {version}".strip()] = load
    assert "broken" not in found["deploy broken"].versions, "it was never in balance"
    assert set(found["deploy two"].versions) == {"one", "two"}
    assert set(found["rollback"].versions) == {"one", "two"}
    for name, load in {"nothing": quiet, **found}.items():
        print(f"{name}: {len(load.seconds)} requests, {len(load.failures)} failed, p99 {load.p99 * 1000:.0f} ms")  # noqa: T201


def test_a_balancer_that_does_not_answer_or_has_too_few_others_stops_all_before_a_host_is_touched(
    project: Project, balancer: Machine
) -> None:
    project.version("two")
    before = project.records(project.machines[0])
    project.configure(rolling={"batch": "all"})
    said = project.fab("deploy", expect=5).output
    assert "without web1, web2, web3, servers that are up: none" in said
    project.configure(rolling={"batch": 1})
    balancer.run("systemctl stop haproxy")
    said = project.fab("deploy", expect=5).output
    assert f"{balancer.address}: haproxy's socket {SOCKET} does not answer" in said
    balancer.run("systemctl start haproxy")
    assert project.records(project.machines[0]) == before
    project.section["balancer"].update(hosts=[], user="", socket=f"{balancer.address}:9999")
    project.configure()
    for task in ("deploy", "rollback"):
        assert "out of web" in project.fab(task).output
        assert statuses(balancer) == ["UP"] * 3


def test_an_interrupt_and_a_killed_client_leave_nobody_out_for_long(project: Project, balancer: Machine) -> None:
    web1 = project.machines[0]
    slow = "/etc/systemd/system/tiny.service.d/slow.conf"
    web1.write(slow, "[Service]\nExecStartPre=+/bin/sh -c 'touch /run/restarting; sleep 2; rm -f /run/restarting'\n")
    web1.run("systemctl daemon-reload")
    project.version("two")
    for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        process = project.start("deploy")
        project.kill_when(process, lambda: web1.exists("/run/restarting"), number)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == code, said
        if code == 130:
            assert statuses(balancer) == ["UP"] * 3
    web1.run(f"rm {slow}; systemctl daemon-reload; while test -e /run/restarting; do sleep 0.1; done")
    assert "DRAIN" in statuses(balancer)[0] or "DOWN" in statuses(balancer)[0]
    project.fab("deploy", "--lock-wait", "30")
    assert statuses(balancer) == ["UP"] * 3

    balancer.run(f"echo 'set server web/web2 state drain' | python3 -c \"{CAT}\"")
    assert "was left drained by a run that ended; put back" in project.fab("deploy").output
    assert statuses(balancer) == ["UP"] * 3


CAT = (
    f"import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect('{SOCKET}'); "
    "s.sendall(sys.stdin.buffer.read()); s.recv(99)"
)
