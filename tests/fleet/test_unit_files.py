"""Unit files that come with the release: looked at before anything is touched, installed, and put back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import Project

pytestmark = pytest.mark.fleet

INSTALLED = "/etc/systemd/system/tiny.service"

UNIT = """\
[Unit]
StartLimitIntervalSec=0
Description={{ app }} of {{ stage }}, %n

[Service]
User={{ deploy_user }}
Environment=PORT={{ port }}
EnvironmentFile={{ shared }}/.env
WorkingDirectory={{ current }}
ExecStart=/usr/bin/env .venv/bin/python -B serve.py

[Install]
WantedBy=multi-user.target
"""

SUDOERS = """\
deploy ALL=(guestbook) NOPASSWD: ALL
deploy ALL=(root) NOPASSWD: \\
    /usr/bin/install -m 0644 -T /srv/tiny/.deploy/units/tiny.service /etc/systemd/system/.tiny.service.new, \\
    /usr/bin/mv -T /etc/systemd/system/.tiny.service.new /etc/systemd/system/tiny.service, \\
    /usr/bin/systemctl daemon-reload, /usr/bin/systemctl enable tiny.service, /usr/bin/systemctl restart tiny.service
"""


def unit(project: Project, text: str) -> None:
    (project.directory / "units").mkdir(exist_ok=True)
    (project.directory / "units/tiny.service").write_text(text)


def reloads(web: Machine) -> int:
    """How often systemd read its unit files since it was last asked."""
    said = web.run("cat /var/tmp/reloads; rm -f /var/tmp/reloads", check=False).stdout
    return len(said.splitlines())


def test_unit_files_of_the_release_are_installed_where_they_differ_and_go_back_with_it(
    tmp_path: Path, fleet: Fleet, boot: Any
) -> None:
    web = boot("bookworm", "web1")
    service = {"manager": "systemd", "unit": "tiny.service", "unit_file": "units/tiny.service"}
    project = Project(tmp_path / "tiny", fleet, [web], service={**service, "unit_values": {"port": 8000}})
    web.run(f"rm {INSTALLED}; systemctl daemon-reload")
    # A generator is run each time systemd reads its unit files.
    web.write("/etc/systemd/system-generators/count", "#!/bin/sh\necho >>/var/tmp/reloads\n", 0o755)
    web.sudoers(SUDOERS.replace("daemon-reload", "daemon-reexec"))
    unit(project, UNIT)
    denied = "may not run without a password: sudo systemctl daemon-reload"
    assert denied in project.fab("check", expect=5).output
    web.sudoers(SUDOERS)
    shown = project.fab("--dry", "deploy").output
    assert "would install tiny.service if it differs: install -m 0644" in shown
    assert not web.exists(INSTALLED)

    project.version("one")
    assert "tiny.service installed, systemd reloaded" in project.fab("deploy").output
    assert "Description=tiny of production, %n\n" in web.read(INSTALLED)
    assert web.run("systemctl is-enabled tiny.service").stdout.strip() == "enabled"
    assert project.serving(web)["version"] == "one"
    assert reloads(web) >= 1
    first = web.read(INSTALLED)

    project.version("two")
    assert "installed" not in project.fab("deploy").output
    assert reloads(web) == 0

    for bad, expected in (
        (UNIT.replace("{{ port }}", "{{ prot }}"), "units/tiny.service:7: there is no value for {{ prot }}"),
        (UNIT.replace("ExecStart=", "ExecStrat="), "systemd would refuse a unit file of the release"),
    ):
        unit(project, bad)
        assert expected in project.fab("deploy", expect=9).output
        assert web.read(INSTALLED) == first
        assert project.serving(web)["version"] == "two"
    assert reloads(web) == 0

    unit(project, UNIT + "# changed\n")
    project.version("sick")
    said = project.fab("deploy", expect=6).output
    assert "tiny.service installed" in said
    assert "tiny.service put back" in said
    assert web.read(INSTALLED) == first
    assert reloads(web) == 2
    assert project.serving(web)["version"] == "two"

    project.version("three")
    project.fab("deploy")
    assert web.read(INSTALLED) == first + "# changed\n"
    project.fab("rollback")
    assert web.read(INSTALLED) == first
    assert project.serving(web)["version"] == "two"

    # What only the configuration says is a change, too, also where it is no part of the code.
    unit(project, UNIT)
    project.version("two")
    project.configure(service={**service, "unit_values": {"port": 8001}})
    project.configure(health={"url": "http://127.0.0.1:8001/health", "timeout": 5})
    project.fab("deploy")
    assert "Environment=PORT=8001" in web.read(INSTALLED)
    assert "nothing to change" in project.fab("deploy").output
