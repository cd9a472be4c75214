"""A unit that systemd starts by its socket: no connection is lost over a restart, and what runs is proven."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.fleet import load
from tests.fleet.machines import Fleet
from tests.fleet.project import Project

UNITS = "/etc/systemd/system"

APP = """\
import json
VERSION = open("version.txt").read().strip()
if "crash" in VERSION:
    raise RuntimeError("this version crashes at start")
def application(environ, start):
    start("503 Sick" if "sick" in VERSION else "200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"version": VERSION}).encode()]
"""

SERVICE = """\
[Service]
Type=notify
User=guestbook
WorkingDirectory=/srv/tiny/current
ExecStart=/usr/bin/env .venv/bin/gunicorn --workers 2 --graceful-timeout 10 web
KillMode=mixed
"""

SOCKET = """\
[Socket]
ListenStream=127.0.0.1:8000
"""


def test_a_restart_loses_no_connection_and_a_socket_that_was_given_up_is_opened_again(
    tmp_path: Path, fleet: Fleet, boot: Any
) -> None:
    web = boot("bookworm", "web1")
    project = Project(tmp_path / "tiny", fleet, [web], migrate=None)
    (project.directory / "web.py").write_text(APP)
    project.need_gunicorn()
    # Both come with the release: systemd listens before the service is started the first time.
    web.run(f"rm {UNITS}/tiny.service; systemctl daemon-reload")
    (project.directory / "tiny.service").write_text(SERVICE)
    (project.directory / "tiny.socket").write_text(SOCKET)
    service = {"manager": "systemd", "unit": "tiny.service", "unit_file": ["tiny.service", "tiny.socket"]}
    project.configure(service=service)
    project.version("one")
    assert "is what runs (main process" in project.fab("deploy").output
    assert "tiny.socket" not in project.fab("check").output

    with load.steady(web) as seen:
        project.version("two")
        project.fab("deploy")
        project.version("sick")
        assert "HTTP 503" in project.fab("deploy", expect=6).output
        project.fab("restart")
    assert [said for said in seen.lost if "HTTP 503" not in said[0]] == []
    assert seen.requests > 100
    assert seen.versions == ["one", "two"]

    # A release that crashes whenever a connection starts it makes systemd give up the socket.
    project.configure(rollback="off")
    web.write(f"{UNITS}/tiny.service.d/limit.conf", "[Unit]\nStartLimitIntervalSec=600\nStartLimitBurst=5\n")
    web.run("systemctl daemon-reload")
    project.version("crash")
    project.fab("deploy", expect=7)
    web.run("until systemctl is-failed -q tiny.socket; do curl -s -m 1 http://127.0.0.1:8000/ || sleep 0.1; done")
    assert "tiny.socket is failed, so nothing holds connections" in project.fab("check").output
    project.version("three")
    said = project.fab("deploy").output
    assert "tiny.socket had failed, and listens again" in said
    assert project.serving(web)["version"] == "three"

    web.run(f"rm -r {UNITS}/tiny.service.d")
    # What ends when it has nothing to do is started by the next connection, in the release that is live then.
    project.configure(health=None)
    web.write(f"{UNITS}/tiny.service.d/idle.conf", "[Service]\nType=exec\nExecStart=\nExecStart=/bin/true\n")
    web.run("systemctl daemon-reload")
    project.version("four")
    said = project.fab("deploy").output
    assert "tiny.service does not run now; tiny.socket starts it with the next connection" in said
    web.run(f"rm -r {UNITS}/tiny.service.d; systemctl daemon-reload")
    assert project.serving(web)["version"] == "four"

    web.write(f"{UNITS}/other.service", SERVICE)
    web.write(f"{UNITS}/tiny.socket", SOCKET + "Service=other.service\n")
    web.run("systemctl daemon-reload")
    assert "tiny.socket starts other.service and not tiny.service" in project.fab("check").output
