"""A switch without a restart: what real gunicorn imports later, in a new worker too, is of the release it began in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import Project

APP = """\
import json, os
VERSION = open("version.txt").read().strip()
def application(environ, start):
    answer = {"version": VERSION, "pid": os.getpid()}
    if environ["PATH_INFO"] == "/late":
        import late
        answer["late"] = late.VERSION
    start("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]
"""

UNIT = """\
[Unit]
StartLimitIntervalSec=0
[Service]
Type=notify
User=guestbook
WorkingDirectory=/srv/tiny/current
ExecStart={command} --bind 127.0.0.1:8000 --max-requests 3 web
"""
RIGHT = "/usr/bin/env .venv/bin/gunicorn"
WRONG = "/usr/bin/env .venv/bin/gunicorn --chdir /srv/tiny/current"


def test_releases_are_not_mixed_by_the_documented_unit_and_check_warns_of_another(
    tmp_path: Path, fleet: Fleet, boot: Any
) -> None:
    web = boot("bookworm", "web1")
    project = Project(tmp_path / "tiny", fleet, [web], migrate=None)
    (project.directory / "web.py").write_text(APP)
    project.need_gunicorn()
    start_by(web, RIGHT)
    change(project, "one")
    project.fab("deploy")
    switch(project, "two")
    assert late_imports(web) == {("one", "one")}

    start_by(web, WRONG)
    project.fab("reboot-server")
    said = project.fab("check").output
    assert "tiny.service would mix releases: --chdir /srv/tiny/current" in said
    switch(project, "three")
    assert ("two", "three") in late_imports(web), "an application of one release, a module of the next"

    start_by(web, RIGHT)
    project.fab("reboot-server")
    assert "would mix" not in project.fab("check").output
    assert late_imports(web) == {("three", "three")}


def change(project: Project, version: str) -> None:
    project.version(version)
    (project.directory / "late.py").write_text(f"VERSION = {version!r}\n")


def switch(project: Project, version: str) -> None:
    """Everything but the restart."""
    change(project, version)
    project.fab("push", "update-deps", "activate")


def start_by(web: Machine, command: str) -> None:
    web.write("/etc/systemd/system/tiny.service", UNIT.format(command=command))
    web.run("systemctl daemon-reload")


def late_imports(web: Machine) -> set[tuple[str, str]]:
    """The versions of the application and of its late import, as the first worker and a later one have them."""
    seen, workers = set(), set()
    for _ in range(20):
        told = web.run("curl -s --retry 5 --retry-connrefused http://127.0.0.1:8000/late").stdout
        answer = json.loads(told)
        seen.add((answer["version"], answer["late"]))
        workers.add(answer["pid"])
        if len(workers) > 1:
            return seen
    raise AssertionError("no worker was replaced")
