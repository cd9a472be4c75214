"""Behind real balancers, with gunicorn on three hosts and requests all the while: none is lost, whatever is done."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.fleet.balanced import (
    NAMES,
    PAGE,
    SOCKET,
    UPSTREAM,
    ask,
    await_up,
    change,
    furnish,
    orders,
    provide,
    renew,
    statuses,
    tell,
)
from tests.fleet.load import Seen, steady
from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import Project

pytestmark = pytest.mark.fleet


@pytest.fixture(scope="module")
def balancer(standing: Any) -> Machine:
    machine: Machine
    machine, *webs = standing.all(("bookworm-balancers", "lb1"), *(("bookworm", name) for name in NAMES))
    furnish(machine, webs)
    return machine


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: Any, fleet: Fleet, standing: Any, balancer: Machine) -> Project:
    """Three hosts behind the balancer, on which a first version serves."""
    machines = standing.all(*(("bookworm", name) for name in NAMES))
    project = Project(tmp_path_factory.mktemp("app") / "tiny", fleet, machines, migrate=None)
    provide(project)
    renew(project, balancer)
    project.fab("deploy")
    return project


@pytest.fixture
def project(deployed: Project, balancer: Machine) -> Project:
    """All of them well and in balance; what they serve is new to each test."""
    renew(deployed, balancer)
    await_up(balancer)
    return deployed


def visited(balancer: Machine, port: int = 80) -> AbstractContextManager[Seen]:
    return steady(balancer, [port], clients=6)


def test_no_request_is_lost_in_a_deploy_a_failed_deploy_and_a_rollback(project: Project, balancer: Machine) -> None:
    with visited(balancer) as unaware:
        project.fab("restart")
    assert unaware.lost, "what is lost is seen: this restart is one that the balancer knows nothing of"
    with visited(balancer) as quiet:
        time.sleep(2)
    assert not quiet.lost
    found = {"nothing": quiet, "a restart that the balancer is not told of": unaware}
    former, new, broken = quiet.versions[0], change(project), ""
    for what, code in (("deploy", 0), ("failed deploy", 6), ("rollback", 0)):
        if code:
            broken = change(project, "-broken")
        with visited(balancer) as found[what]:
            said = project.fab(what.split()[-1], expect=code).output
        assert not found[what].lost, (what, found[what].lost[:5], said)
        assert "out of backend web (" in said
        assert statuses(balancer) == ["UP"] * 3
    assert set(found["deploy"].versions) == {former, new}
    assert found["deploy"].mixed(former, new), "host by host, both are in balance meanwhile"
    assert broken not in found["failed deploy"].versions, "it was never in balance"
    assert set(found["rollback"].versions) == {former, new}
    for name, load in found.items():
        print(f"{name}: {load.requests} requests, {len(load.lost)} lost, p99 {load.p99 * 1000:.0f} ms")  # noqa: T201


def test_half_by_half_no_two_releases_are_in_balance_at_once(project: Project, balancer: Machine) -> None:
    project.configure(rolling={"batch": "half"})
    with visited(balancer) as load:
        new = change(project)
        said = project.fab("deploy").output
    assert not load.lost, (load.lost[:5], said)
    assert len(set(load.versions)) == 2
    former = next(version for version in load.versions if version != new)
    assert not load.mixed(former, new), said
    first, second = project.machines[:2], project.machines[2]
    assert f"out of backend web, and {', '.join(each.address for each in first)} back in it" in said
    assert statuses(balancer) == ["UP"] * 3

    # Where the second half fails, the first goes back in its stead, too.
    refused = change(project)
    second.run(f"touch /srv/tiny/shared/refuse-{refused}")
    with visited(balancer) as load:
        said = project.fab("deploy", expect=6).output
    assert not load.lost, (load.lost[:5], said)
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
    assert "would take each batch out of backend web first, and put it back" in project.fab("--dry", "deploy").output
    project.section["stages"]["production"]["hosts"][2]["balancer_name"] = "web9"
    project.configure()
    said = project.fab("deploy", expect=5).output
    assert f"backend web has no server for {project.machines[2].address}; it has: web1, web2, web3" in said
    renew(project, balancer)
    balancer.run("systemctl stop haproxy")
    for task in ("deploy", "check"):
        said = project.fab(task, expect=5).output
        assert f"{balancer.address}: haproxy's socket {SOCKET} does not answer" in said
    balancer.run("systemctl start haproxy")
    assert project.records(project.machines[0]) == before


def test_an_interrupt_while_a_session_is_waited_for_puts_its_host_back(project: Project, balancer: Machine) -> None:
    web1 = project.machines[0]
    web1.run("touch /srv/tiny/shared/held")
    # One of three requests is web1's, and takes as long as the file is there.
    with ThreadPoolExecutor() as pool:
        held = [pool.submit(urllib.request.urlopen, f"http://{balancer.address}/held", None, 60) for _ in NAMES]
        wait(held, return_when="FIRST_COMPLETED")
        change(project)
        process = project.start("deploy")
        project.kill_when(process, lambda: statuses(balancer)[0] == "DRAIN", signal.SIGINT)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 130, said
        assert statuses(balancer) == ["UP"] * 3
        web1.run("rm /srv/tiny/shared/held")
        assert [request.result().status for request in held] == [200] * 3


def test_an_interrupt_while_a_host_is_put_back_brings_it_back_with_its_former_release(
    project: Project, balancer: Machine
) -> None:
    web1 = project.machines[0]
    before = project.serving(web1)["version"]
    new = change(project)
    process = project.start("deploy")
    try:
        while orders(balancer)[0] == "0":
            assert process.poll() is None
        # From now on it is well for us, and not for haproxy: what is put back is waited for.
        web1.run("touch /srv/tiny/shared/shy")
        project.kill_when(
            process, lambda: orders(balancer)[0] == "0" and project.serving(web1).get("version") == new, signal.SIGINT
        )
        said, _ = process.communicate(timeout=60)
    finally:
        web1.run("rm -f /srv/tiny/shared/shy")
    assert process.returncode == 130, said
    assert [project.serving(machine)["version"] for machine in project.machines] == [before] * 3
    assert orders(balancer) == ["0"] * 3
    await_up(balancer)
    project.fab("deploy")
    assert project.serving(web1)["version"] == new


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


def test_nginx_has_its_upstream_written_anew_and_no_request_is_lost(project: Project, balancer: Machine) -> None:
    addresses = [machine.address for machine in project.machines]
    hosts = [f"deploy@{address}" for address in addresses]
    nginx = {"kind": "nginx", "hosts": [f"deploy@{balancer.address}"], "upstream_file": UPSTREAM, "drain_timeout": 10}
    by_address = {"production": {"hosts": hosts}}
    project.configure(balancer=nginx, stages=by_address)
    # The administrator has taken out the second.
    before = balancer.read(UPSTREAM).replace(f"{addresses[1]}:8000;", f"{addresses[1]}:8000 down;")
    balancer.write(UPSTREAM, before, mode=0o640)
    balancer.run("systemctl reload nginx")
    former, new = ask(balancer), change(project)
    with visited(balancer, 82) as load:
        said = project.fab("deploy").output
    assert not load.lost, (load.lost[:5], said)
    assert set(load.versions) == {former, new}
    assert said.count(f"out of nginx's upstream {UPSTREAM} (") == 2
    assert f"{addresses[1]}: was taken out of nginx's upstream {UPSTREAM} by somebody else, and stays so" in said
    assert balancer.read(UPSTREAM) == before
    assert balancer.run(f"stat -c %a {UPSTREAM}").stdout == "640\n"
    said = project.fab("check").output
    assert f"{addresses[0]}: in nginx's upstream {UPSTREAM} of {balancer.address}: in" in said
    assert f"{addresses[1]}: in nginx's upstream {UPSTREAM} of {balancer.address}: down" in said

    change(project)
    broken = "/etc/nginx/conf.d/zz-broken.conf"
    for trouble, mend, problem in (
        (f"echo nonsense >{broken}", f"rm {broken}", "nginx -t refuses nginx's configuration: "),
        ("systemctl stop nginx", "systemctl start nginx", "nginx does not run, by /run/nginx.pid"),
    ):
        balancer.run(trouble)
        assert problem in project.fab("deploy", expect=5).output
        balancer.run(mend)
    assert balancer.read(UPSTREAM) == before


def test_a_health_file_takes_hosts_out_of_any_balancer_that_asks_for_it(project: Project, balancer: Machine) -> None:
    web1, *others = project.machines
    for machine in others:
        machine.write("/srv/tiny/shared/up", "up\n", owner="guestbook:guestbook")
    await_up(balancer, "by_file", 2)
    file = {"kind": "file", "file": "shared/up", "notice": 2, "port": 8000, "drain_timeout": 10}
    project.configure(balancer=file, rolling={"batch": 2})
    former, new = ask(balancer), change(project)
    with visited(balancer, 81) as load:
        said = project.fab("deploy").output
    assert not load.lost, (load.lost[:5], said)
    assert set(load.versions) == {former, new}
    assert f"{web1.address}: was taken out of balance by somebody else, and stays so" in said
    assert said.count("out of balance (") == 2
    found = [machine.run("cd /srv/tiny/shared && ls -d up*", check=False).stdout for machine in project.machines]
    assert found == ["", "up\n", "up\n"]
    assert statuses(balancer, "by_file")[0] != "UP"

    project.configure(rolling={"batch": "all"})
    change(project)
    problem = f"without {', '.join(sorted(each.address for each in project.machines))}, servers that are up: none"
    assert problem in project.fab("deploy", expect=5).output


COMMAND = """\
import os, socket, sys, time
def ask(command):
    with socket.create_connection(("{address}", 9999)) as connection:
        connection.sendall(command.encode() + b"\\n")
        return connection.makefile().read()
def row():
    rows = [line.split(",") for line in ask("show stat").splitlines()]
    return next(row for row in rows if row[:2] == ["web", os.environ["DEPLOY_BALANCER_NAME"]])
if sys.argv[1] == "status":
    print({{"UP": "up", "DRAIN": "drained", "MAINT": "maint"}}.get(row()[17].split()[0], "down"))
else:
    print("told of", os.environ["DEPLOY_HOST"])
    ask(f"set server web/{{os.environ['DEPLOY_BALANCER_NAME']}} state {{sys.argv[1]}}")
    while int(row()[4]) if sys.argv[1] == "drain" else row()[17] != "UP":
        time.sleep(0.1)
"""


def test_commands_take_hosts_out_of_any_other_balancer(project: Project, balancer: Machine) -> None:
    script = COMMAND.format(address=balancer.address)
    (project.directory / "balance.py").write_text(script)
    there = "/usr/local/bin/balance.py"
    for machine in project.machines:
        machine.write(there, script)
    told = {"kind": "command", "timeout": 60, "min_available": 0}
    hosts = project.section["stages"]["production"]["hosts"]
    project.configure(stages={"production": {"hosts": hosts[:2]}})
    here = {key: f"python3 balance.py {word}" for key, word in zip(KEYS, WORDS, strict=True)}
    project.configure(balancer={**told, **here})
    tell(balancer, "set server web/web2 state maint")
    former, new = ask(balancer), change(project)
    assert "out of the balancer first (python3 balance.py drain), and put" in project.fab("--dry", "deploy").output
    with visited(balancer) as load:
        said = project.fab("deploy").output
    assert not load.lost, (load.lost[:5], said)
    assert set(load.versions) == {former, new}
    assert f"{project.machines[1].address}: was taken out of the balancer by somebody else, and stays so" in said
    assert statuses(balancer) == ["UP", "MAINT", "UP"]
    tell(balancer, "set server web/web2 state ready")
    await_up(balancer)

    on_hosts = {key: f"python3 {there} {word}" for key, word in zip(KEYS, WORDS, strict=True)}
    project.configure(balancer={**told, **on_hosts, "where": "hosts"})
    with visited(balancer) as load:
        said = project.fab("rollback").output
    assert not load.lost, (load.lost[:5], said)
    assert statuses(balancer) == ["UP"] * 3

    change(project)
    before = [project.current(machine) for machine in project.machines]
    project.configure(balancer={**told, **here, "drain": "echo it is asleep; exit 3"})
    said = project.fab("deploy", expect=6).output
    assert "deploy.balancer.drain failed (exit 3): echo it is asleep; exit 3" in said
    assert "  | it is asleep" in said
    project.configure(balancer={**told, **here, "status": "echo asleep"})
    assert "deploy.balancer.status says 'asleep'; it must print one of up, " in project.fab("check", expect=5).output
    assert [project.current(machine) for machine in project.machines] == before
    assert statuses(balancer) == ["UP"] * 3


KEYS = ("drain", "undrain", "status")
WORDS = ("drain", "ready", "status")


def test_hosts_show_a_page_until_maintenance_is_over_whatever_is_deployed(project: Project, balancer: Machine) -> None:
    (project.directory / "page.html").write_text("back soon\n")
    project.section.pop("balancer")
    hosts = project.section["stages"]["production"]["hosts"]
    project.configure(maintenance={"page": "page.html"}, stages={"production": {"hosts": hosts[:2]}}, rolling={})
    assert project.fab("maintenance", "on").output.count(": maintenance is on (") == 2
    assert project.fab("maintenance", "on").output.count(": maintenance was on already (") == 2
    tell(balancer, "set server web/web3 state maint")
    assert ask(balancer) == "back soon\n"
    for look in ("status", "check"):
        assert "maintenance is on since 20" in project.fab(look).output

    # A third host, on which nothing was ever live.
    project.machines[2].run(
        "systemctl stop tiny.service; rm -rf /srv/tiny/.deploy /srv/tiny/current /srv/tiny/releases"
    )
    new = change(project)
    project.configure(stages={"production": {"hosts": hosts}})
    said = project.fab("deploy").output
    assert ", and stays so" in said
    assert f"{project.machines[2].address}: maintenance is on here, too, as it is on the other hosts" in said
    tell(balancer, "set server web/web3 state ready")
    await_up(balancer)
    assert {ask(balancer) for _ in range(6)} == {"back soon\n"}
    assert project.fab("maintenance", "off").output.count(": maintenance is off (") == 3
    assert project.fab("maintenance", "off").output.count(": maintenance was off already (") == 3
    assert {ask(balancer) for _ in range(6)} == {new}
    assert "maintenance is on" not in project.fab("status").output


def test_a_balancer_shows_its_page_until_maintenance_is_over_whatever_is_deployed(
    project: Project, balancer: Machine
) -> None:
    project.configure(maintenance={"by": "balancer"}, rolling={})
    tell(balancer, "set server web/web2 state drain")
    assert "would take all servers out: web1, web2, web3 of" in project.fab("--dry", "maintenance", "on").output
    assert "maintenance is on: nobody is in backend web" in project.fab("maintenance", "on").output
    assert "maintenance was on already" in project.fab("maintenance", "on").output
    assert ask(balancer) == PAGE
    assert "maintenance is on since 20" in project.fab("status").output
    new = change(project)
    said = project.fab("deploy").output
    assert ", and stays so" in said
    assert ask(balancer) == PAGE
    assert statuses(balancer) == ["MAINT"] * 3
    assert "maintenance is off: who was in backend web is so again" in project.fab("maintenance", "off").output
    assert "maintenance was off already" in project.fab("maintenance", "off").output
    await_up(balancer, "web", 2)
    assert statuses(balancer) == ["UP", "DRAIN", "UP"]
    assert {ask(balancer) for _ in range(4)} == {new}
    tell(balancer, "set server web/web2 state ready")

    addresses = [machine.address for machine in project.machines]
    nginx = {"kind": "nginx", "hosts": [f"deploy@{balancer.address}"], "upstream_file": UPSTREAM}
    project.configure(balancer=nginx, stages={"production": {"hosts": [f"deploy@{address}" for address in addresses]}})
    before = balancer.read(UPSTREAM)
    project.fab("maintenance", "on")
    assert ask(balancer, 82) == PAGE
    project.fab("maintenance", "off")
    assert ask(balancer, 82) == new
    assert balancer.read(UPSTREAM) == before
