"""Several units and the instances of a template: one after another, each looked at, so that the service answers on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fleet import load
from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import Project

pytestmark = pytest.mark.fleet

PORTS = [8001, 8002, 8003]
UNITS = "/etc/systemd/system"
STARTS = "/var/tmp/starts"

UNIT = """\
[Unit]
StartLimitIntervalSec=0
[Service]
User=guestbook
Environment=PORT={port}
WorkingDirectory=/srv/tiny/current
ExecStartPre=+/bin/sh -c 'echo %n $$(cat version.txt) >>/var/tmp/starts'
ExecStart=/usr/bin/env .venv/bin/python -B serve.py
"""


@pytest.fixture
def web(standing: Any) -> Machine:
    """As if nothing had been deployed."""
    machine: Machine = standing("bookworm", "web1")
    machine.run("systemctl stop 'tiny*'", check=False)
    machine.run(f"rm -rf /srv/tiny {UNITS}/tiny* {STARTS}")
    return machine


def provide(web: Machine, name: str, port: str) -> None:
    web.write(f"{UNITS}/{name}", UNIT.format(port=port))
    web.run("systemctl daemon-reload")


def only(web: Machine, unit: str, version: str) -> None:
    """From now on the unit starts with versions alone that begin so."""
    web.write(f"{UNITS}/{unit}.d/guard.conf", f"[Service]\nExecStartPre=/bin/grep -q ^{version} version.txt\n")
    web.run("systemctl daemon-reload")


def starts(web: Machine) -> list[str]:
    """The starts since they were last asked for."""
    return web.run(f"cat {STARTS}; rm -f {STARTS}", check=False).stdout.splitlines()


def versions(web: Machine, ports: list[int]) -> list[str]:
    asked = " ".join(f"http://127.0.0.1:{port}/" for port in ports)
    answers = web.run(f"curl -s --retry 5 --retry-connrefused {asked}", check=False).stdout
    return [part.split('"')[0] for part in answers.split('"version": "')[1:]]


def test_instances_of_a_template_follow_one_another_and_no_request_is_lost(
    tmp_path: Path, fleet: Fleet, web: Machine
) -> None:
    service = {"manager": "systemd", "unit": "tiny@.service", "instances": PORTS}
    health = {"url": "http://127.0.0.1:{instance}/health", "timeout": 5}
    project = Project(tmp_path / "tiny", fleet, [web], service=service, health=health)
    provide(web, "tiny@.service", "%i")
    project.version("one")
    said = project.fab("deploy").output
    assert starts(web) == [f"tiny@{port}.service one" for port in PORTS]
    for port in PORTS:
        assert f"tiny@{port}.service: main process" in said

    shown = project.fab("--dry", "restart").output
    order = [shown.index(f"would run as root: systemctl restart tiny@{port}.service") for port in PORTS]
    assert order == sorted(order)
    assert "and ask http://127.0.0.1:8002/health" in shown
    assert "nothing stands in the way" in project.fab("check").output

    with load.steady(web, PORTS) as seen:
        project.version("two")
        project.fab("deploy")
        assert starts(web) == [f"tiny@{port}.service two" for port in PORTS]
        # The first does not come up: the others were not touched, and are not on the way back.
        project.version("crash")
        said = project.fab("deploy", expect=6).output
        assert "tiny@8001.service" in said
        assert "tiny@8002.service runs" in said
        assert {start.split()[0] for start in starts(web)} == {"tiny@8001.service"}
        # The last does not: those before it go back, one after another.
        only(web, "tiny@8003.service", "two")
        project.version("three")
        said = project.fab("deploy", expect=6).output
        assert "systemctl restart tiny@8003.service" in said
        begun = starts(web)
        assert begun[:2] == ["tiny@8001.service three", "tiny@8002.service three"]
        assert begun[-3:] == [f"tiny@{port}.service two" for port in PORTS]
    assert versions(web, PORTS) == ["two"] * 3
    assert project.states(web) == ["good", "good", "bad", "bad"]
    assert seen.lost == []
    assert seen.requests > 100
    assert {"one", "two", "three"} == set(seen.versions)


def test_units_are_restarted_in_their_order_and_none_after_one_that_fails(
    tmp_path: Path, fleet: Fleet, web: Machine
) -> None:
    service = {"manager": "systemd", "units": ["tiny.service", "tiny-worker.service"]}
    project = Project(tmp_path / "tiny", fleet, [web], service=service)
    provide(web, "tiny.service", "8000")
    provide(web, "tiny-worker.service", "8009")
    project.version("one")
    project.fab("deploy")
    assert starts(web) == ["tiny.service one", "tiny-worker.service one"]
    only(web, "tiny.service", "one")
    project.version("two")
    assert "tiny.service" in project.fab("deploy", expect=6).output
    assert "tiny-worker.service two" not in starts(web)
    assert versions(web, [8000, 8009]) == ["one", "one"]

    # The second one goes on with the former release: proof is asked of all.
    only(web, "tiny.service", "[ot]")
    web.write(f"{UNITS}/tiny-worker.service.d/reload.conf", "[Service]\nExecReload=/bin/true\n")
    web.write(f"{UNITS}/tiny.service.d/reload.conf", "[Service]\nExecReload=/bin/kill $MAINPID\nRestart=always\n")
    web.run("systemctl daemon-reload")
    project.configure(service={**service, "action": "reload"})
    project.version("three")
    said = project.fab("deploy", expect=6).output
    assert "the new release is not what runs: tiny-worker.service: process" in said
    assert versions(web, [8000, 8009]) == ["one", "one"]
