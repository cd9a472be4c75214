"""Behind a real haproxy, with gunicorn on three hosts and requests all the while: none is lost, whatever is done."""

from __future__ import annotations

import json
import signal
import time
from typing import Any

import pytest

from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import Project
from tests.fleet.visitors import steady

pytestmark = pytest.mark.fleet

NAMES = ("web1", "web2", "web3")
SOCKET = "/run/haproxy/admin.sock"

# It takes its time, so that requests are under way whenever a host is taken out.
APP = """\
import os, time
VERSION = open("version.txt").read().strip()
def application(environ, start):
    if environ["PATH_INFO"] == "/health":
        sick = VERSION.endswith("-broken") or os.path.exists("/srv/tiny/shared/refuse-" + VERSION)
        start("500 broken" if sick else "200 OK", [("Content-Length", "0")])
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
    machine, *webs = standing.all(("bookworm-balancers", "lb1"), *(("bookworm", name) for name in NAMES))
    servers = "".join(f"    server {web.name} {web.address}:8000\n" for web in webs)
    machine.write("/etc/haproxy/haproxy.cfg", HAPROXY.format(socket=SOCKET, servers=servers))
    machine.join(*webs)
    machine.run("rm -f /etc/nginx/sites-enabled/default; systemctl restart nginx; systemctl restart haproxy")
    return machine


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: Any, fleet: Fleet, standing: Any, balancer: Machine) -> Project:
    """Three hosts behind the balancer, on which a first version serves."""
    machines = standing.all(*(("bookworm", name) for name in NAMES))
    project = Project(tmp_path_factory.mktemp("app") / "tiny", fleet, machines, migrate=None, hashes="warn")
    (project.directory / "web.py").write_text(APP)
    with (project.directory / "requirements.txt").open("a") as lock:
        lock.write("gunicorn==23.0.0\npackaging==25.0\n")
    for machine in machines:
        machine.write("/etc/systemd/system/tiny.service", UNIT)
        machine.run("systemctl daemon-reload")
    hosts = [{"host": f"deploy@{each.address}", "balancer_name": each.name} for each in machines]
    project.configure(stages={"production": {"hosts": hosts}})
    renew(project, balancer)
    project.fab("deploy")
    return project


@pytest.fixture
def project(deployed: Project, balancer: Machine) -> Project:
    """All of them well and in balance; what they serve is new to each test."""
    renew(deployed, balancer)
    await_up(balancer)
    return deployed


def renew(project: Project, balancer: Machine) -> None:
    """The configuration that all tests begin with."""
    haproxy = {
        "kind": "haproxy", "hosts": [f"deploy@{balancer.address}"], "socket": SOCKET, "user": "root", "backend": "web",
        "drain_timeout": 10,
    }  # fmt: skip
    project.configure(rolling={"batch": 1}, balancer=haproxy)


def change(project: Project, suffix: str = "") -> str:
    """A new version, and its name."""
    name = f"{time.time_ns()}{suffix}"
    project.version(name)
    return name


def tell(balancer: Machine, command: str) -> str:
    """What haproxy answers, as an administrator would ask it."""
    return balancer.run(
        f"python3 -c \"import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect('{SOCKET}'); "
        's.sendall(sys.stdin.buffer.read()); print(s.makefile().read())"',
        input=f"{command}\n",
    ).stdout


def statuses(balancer: Machine) -> list[str]:
    """What haproxy says of each server."""
    rows = [line.split(",") for line in tell(balancer, "show stat").splitlines()]
    return [next(row[17] for row in rows if row[:2] == ["web", name]) for name in NAMES]


def test_no_request_is_lost_in_a_deploy_a_failed_deploy_and_a_rollback(project: Project, balancer: Machine) -> None:
    with steady(balancer.address) as unaware:
        project.fab("restart")
    assert unaware.failures, "what is lost is seen: this restart is one that the balancer knows nothing of"
    with steady(balancer.address) as quiet:
        time.sleep(2)
    assert not quiet.failures
    found = {"nothing": quiet, "a restart that the balancer is not told of": unaware}
    former, new, broken = quiet.versions[0], change(project), ""
    for what, code in (("deploy", 0), ("failed deploy", 6), ("rollback", 0)):
        if code:
            broken = change(project, "-broken")
        with steady(balancer.address) as found[what]:
            said = project.fab(what.split()[-1], expect=code).output
        assert not found[what].failures, (what, found[what].failures[:5], said)
        assert "out of backend web (" in said
        assert statuses(balancer) == ["UP"] * 3
    assert set(found["deploy"].versions) == {former, new}
    assert found["deploy"].mixed(former, new), "host by host, both are in balance meanwhile"
    assert broken not in found["failed deploy"].versions, "it was never in balance"
    assert set(found["rollback"].versions) == {former, new}
    for name, load in found.items():
        print(f"{name}: {len(load.seconds)} requests, {len(load.failures)} failed, p99 {load.p99 * 1000:.0f} ms")  # noqa: T201


def test_half_by_half_no_two_releases_are_in_balance_at_once(project: Project, balancer: Machine) -> None:
    project.configure(rolling={"batch": "half"})
    with steady(balancer.address) as load:
        new = change(project)
        said = project.fab("deploy").output
    assert not load.failures, (load.failures[:5], said)
    assert len(set(load.versions)) == 2
    former = next(version for version in load.versions if version != new)
    assert not load.mixed(former, new), said
    first, second = project.machines[:2], project.machines[2]
    assert f"out of backend web, and {', '.join(each.address for each in first)} back in it" in said
    assert statuses(balancer) == ["UP"] * 3

    # Where the second half fails, the first goes back in its stead, too.
    refused = change(project)
    second.run(f"touch /srv/tiny/shared/refuse-{refused}")
    with steady(balancer.address) as load:
        said = project.fab("deploy", expect=6).output
    assert not load.failures, (load.failures[:5], said)
    assert f"out of backend web, and {second.address} back in it" in said
    assert set(load.versions) == {new, refused}
    assert not load.mixed(new, refused), said
    assert statuses(balancer) == ["UP"] * 3


def test_a_balancer_that_does_not_answer_or_has_too_few_others_stops_all_before_a_host_is_touched(
    project: Project, balancer: Machine
) -> None:
    change(project)
    before = project.records(project.machines[0])
    project.configure(rolling={"batch": "all"})
    said = project.fab("deploy", expect=5).output
    assert "without web1, web2, web3, servers that are up: none" in said
    project.configure(rolling={"batch": 1})
    balancer.run("systemctl stop haproxy")
    for task in ("deploy", "check"):
        said = project.fab(task, expect=5).output
        assert f"{balancer.address}: haproxy's socket {SOCKET} does not answer" in said
    balancer.run("systemctl start haproxy")
    assert project.records(project.machines[0]) == before


def test_an_interrupt_and_a_killed_client_leave_nobody_out_for_long(project: Project, balancer: Machine) -> None:
    web1 = project.machines[0]
    slow = "/etc/systemd/system/tiny.service.d/slow.conf"
    web1.write(slow, "[Service]\nExecStartPre=+/bin/sh -c 'touch /run/restarting; sleep 2; rm -f /run/restarting'\n")
    web1.run("systemctl daemon-reload")
    change(project)
    for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        process = project.start("deploy")
        project.kill_when(process, lambda: web1.exists("/run/restarting"), number)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == code, said
        if code == 130:
            assert statuses(balancer) == ["UP"] * 3
    web1.run(f"rm {slow}; systemctl daemon-reload; while test -e /run/restarting; do sleep 0.1; done")
    assert statuses(balancer)[0] != "UP"
    project.fab("deploy", "--lock-wait", "30")
    assert statuses(balancer) == ["UP"] * 3


def test_who_was_taken_out_by_somebody_else_is_switched_and_stays_out(project: Project, balancer: Machine) -> None:
    for name, state in (("web1", "drain"), ("web2", "maint")):
        tell(balancer, f"set server web/{name} state {state}")
    project.section["balancer"].update(hosts=[], user="", socket=f"{balancer.address}:9999", min_available=0)
    project.configure()
    change(project)
    said = project.fab("deploy").output
    assert said.count("was taken out of backend web by somebody else, and stays so") == 2
    assert said.count("out of backend web (") == 1
    assert statuses(balancer) == ["DRAIN", "MAINT", "UP"]
    said = project.fab("check").output
    for machine, status in zip(project.machines, statuses(balancer), strict=True):
        assert f"{machine.address}: in backend web of {project.machines[0].address}: {status}" in said

    # Of a run that was killed, it is noted whom it took out.
    path = f"{project.base}/.deploy/drained.json"
    noted = json.dumps({"balancers": [project.machines[0].address]})
    project.machines[0].write(path, noted, owner="guestbook:guestbook")
    assert "was left out of backend web by a run that ended; put back" in project.fab("deploy").output
    assert statuses(balancer) == ["UP", "MAINT", "UP"]
    assert not project.machines[0].exists(path)
    tell(balancer, "set server web/web2 state ready")
    await_up(balancer)


def await_up(balancer: Machine) -> None:
    deadline = time.monotonic() + 30
    while statuses(balancer) != ["UP"] * 3:
        assert time.monotonic() < deadline
        time.sleep(0.1)
