"""Real gunicorn and uWSGI told by a signal, a file or a command: what brings a new release, and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fleet import load
from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import Project

pytestmark = pytest.mark.fleet

APP = """\
import importlib, json
import markupsafe
VERSION = open("version.txt").read().strip()
if "crash" in VERSION:
    raise RuntimeError("this version crashes at start")
if "jinja" in VERSION:
    importlib.import_module("jinja2")
def application(environ, start):
    start("503 Sick" if "sick" in VERSION else "200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"version": VERSION}).encode()]
"""

# What gunicorn reads by itself where it starts.
GUNICORN = """\
import os
bind = "127.0.0.1:8000"
workers = 2
pidfile = "/srv/tiny/shared/tiny.pid"
daemon = True
def pre_exec(server):
    release = os.path.realpath("/srv/tiny/current")
    python = f"{release}/.venv/bin/python"
    server.START_CTX.update({0: python, "cwd": release})
    server.START_CTX["args"][:2] = [python, f"{release}/.venv/bin/gunicorn"]
"""

UWSGI = """\
[uwsgi]
plugin = python3
master = true
processes = 2
lazy-apps = true
http-socket = 127.0.0.1:8000
chdir = /srv/tiny/current
virtualenv = .venv
module = web
pidfile = /srv/tiny/shared/tiny.pid
touch-reload = /srv/tiny/shared/reload
touch-chain-reload = /srv/tiny/shared/chain
master-fifo = /srv/tiny/shared/fifo
daemonize = /srv/tiny/shared/uwsgi.log
"""


@pytest.fixture
def web(boot: Any) -> Machine:
    machine: Machine = boot("bookworm-uwsgi", "web1")
    return machine


@pytest.fixture
def project(tmp_path: Path, fleet: Fleet, web: Machine) -> Project:
    """Version one is activated, and not started yet."""
    made = Project(tmp_path / "tiny", fleet, [web], migrate=None)
    (made.directory / "web.py").write_text(APP)
    (made.directory / "gunicorn.conf.py").write_text(GUNICORN)
    made.need_gunicorn()
    made.version("one")
    return made


def begin(project: Project, command: str, **service: Any) -> None:
    """Start the server by hand in version one, and let a deploy know how it is told."""
    project.configure(service={"pidfile": "shared/tiny.pid", **service})
    project.fab("push", "update-deps", "activate")
    # The server is to know no way but the release's own.
    project.machines[0].run(f"cd -P /srv/tiny/current && env -u PWD {command}", user="guestbook")
    assert "is what runs (main process" in project.fab("reboot-server").output


def number(web: Machine) -> str:
    return web.read("/srv/tiny/shared/tiny.pid").strip()


def deploy(project: Project, version: str) -> None:
    project.version(version)
    assert "is what runs (main process" in project.fab("deploy").output
    assert project.serving(project.machines[0])["version"] == version


def test_gunicorn_starts_its_successor_and_is_ended_only_when_that_one_is_well(project: Project, web: Machine) -> None:
    begin(project, ".venv/bin/gunicorn web", manager="signal", signal="USR2", retire="TERM")
    project.need_gunicorn("requirements-more.txt")
    with load.steady(web) as seen:
        deploy(project, "two with jinja")
        former = number(web)
        project.version("crash")
        assert "it ended soon after its start" in project.fab("deploy", expect=6).output
        assert number(web) == former
    assert seen.lost == []
    assert seen.requests > 100
    assert seen.versions == ["one", "two with jinja"]

    project.version("sick")
    said = project.fab("deploy", expect=6).output
    assert "says HTTP 503" in said
    assert "the main process runs" in said
    assert number(web) == former
    assert not web.exists("/srv/tiny/shared/tiny.pid.2")
    assert project.serving(web)["version"] == "two with jinja"

    # A run that was cut off between the two left a successor.
    web.run(f"kill -USR2 {former}; until test -e /srv/tiny/shared/tiny.pid.2; do sleep 0.1; done")
    deploy(project, "three with jinja")
    assert web.run(f"kill -0 {former}", check=False).returncode

    project.configure(service={"manager": "signal", "pidfile": "shared/tiny.pid", "signal": "HUP"})
    project.version("four")
    assert "the new release is not what runs: process" in project.fab("deploy", expect=6).output


def test_a_successor_of_a_third_user_is_ended_and_retired_by_sudo(project: Project, web: Machine) -> None:
    web.add_user("runner")
    web.run("install -d -m 0700 -o runner /run/tiny")
    (project.directory / "gunicorn.conf.py").write_text(GUNICORN.replace("/srv/tiny/shared", "/run/tiny"))
    project.configure(
        service={"manager": "signal", "pidfile": "/run/tiny/tiny.pid", "signal": "USR2", "retire": "TERM", "sudo": True}
    )
    project.fab("push", "update-deps", "activate")
    web.run("cd -P /srv/tiny/current && env -u PWD .venv/bin/gunicorn web", user="runner")
    project.need_gunicorn("requirements-more.txt")
    with load.steady(web) as seen:
        deploy(project, "two with jinja")
        former = web.read("/run/tiny/tiny.pid")
        assert web.run(f"stat -c %U /proc/{former.strip()}").stdout == "runner\n"
        project.version("crash")
        assert "it ended soon after its start" in project.fab("deploy", expect=6).output
    assert seen.lost == []
    project.version("sick")
    assert "says HTTP 503" in project.fab("deploy", expect=6).output
    assert web.read("/run/tiny/tiny.pid") == former
    assert not web.exists("/run/tiny/tiny.pid.2")
    assert project.serving(web)["version"] == "two with jinja"


def test_uwsgi_reloads_whole_and_its_chain_of_workers_does_not_bring_a_release(project: Project, web: Machine) -> None:
    web.write("/etc/uwsgi-tiny.ini", UWSGI)
    project.configure(health={"url": "http://127.0.0.1:8000/health", "timeout": 10})
    begin(project, "uwsgi --ini /etc/uwsgi-tiny.ini", manager="touch", file="shared/reload")
    project.need_gunicorn("requirements-more.txt")
    with load.steady(web) as seen:
        deploy(project, "two with jinja")
        project.configure(service={"manager": "signal", "pidfile": "shared/tiny.pid", "signal": "HUP"})
        deploy(project, "three with jinja")
        told = "echo r > $DEPLOY_BASE/shared/fifo"
        project.configure(service={"manager": "command", "pidfile": "shared/tiny.pid", "command": told})
        deploy(project, "four with jinja")
    assert seen.lost == []
    assert seen.versions == ["one", "two with jinja", "three with jinja", "four with jinja"]

    project.configure(service={"manager": "touch", "pidfile": "shared/tiny.pid", "file": "shared/chain"})
    project.version("five")
    assert "the new release is not what runs: process" in project.fab("deploy", expect=6).output
    assert project.serving(web)["version"] == "four with jinja"
