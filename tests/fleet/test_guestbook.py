"""The example, a real Django and gunicorn application, on three Debians: compiled dependencies do their work there."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from invoke import util

from tests.fleet.machines import Fleet
from tests.fleet.project import FAB, Project

pytestmark = pytest.mark.fleet

GUESTBOOK = Path(__file__).resolve().parents[2] / "examples/guestbook"

POST = """
set -e
page=$(curl -s -c /tmp/cookies http://127.0.0.1:8000/)
token=$(echo "$page" | grep -o 'csrfmiddlewaretoken" value="[^"]*' | cut -d'"' -f3)
python=/srv/guestbook/current/.venv/bin/python
$python -c 'from PIL import Image; Image.new("RGB", (900, 900)).save("/tmp/picture.png")'
curl -s -b /tmp/cookies -F csrfmiddlewaretoken=$token -F name=Ada --form-string 'message=<b>Hello</b> there' \
    -F picture=@/tmp/picture.png -o /dev/null -w '%{http_code}' http://127.0.0.1:8000/
curl -s http://127.0.0.1:8000/
curl -s http://127.0.0.1:8000/picture/1 | head -c 3 | od -An -tx1
"""


def test_the_guestbook_stores_an_entry_with_a_picture_on_every_debian(tmp_path: Path, fleet: Fleet, boot: Any) -> None:
    machines = boot.all(("bullseye", "old"), ("bookworm", "mid"), ("trixie", "new"))
    app = tmp_path / "guestbook"
    shutil.copytree(GUESTBOOK, app)
    configuration: Any = util.yaml.safe_load((app / "fabric.yaml").read_text())  # type: ignore[attr-defined]
    # Each host has a database of its own here, so each is a stage of its own, with its own primary.
    configuration["deploy"]["stages"] = {one.name: {"hosts": [f"deploy@{one.address}"]} for one in machines}
    (app / "fabric.yaml").write_text(json.dumps(configuration))
    for machine in machines:
        machine.write("/etc/systemd/system/guestbook.service", (GUESTBOOK / "guestbook.service").read_text())
        machine.run(
            "systemctl daemon-reload; install -d -o guestbook -g guestbook /srv/guestbook /srv/guestbook/shared"
        )
        env = f"SECRET_KEY=x\nDATABASE_PATH=/srv/guestbook/shared/{machine.name}.sqlite3\n"
        machine.write("/srv/guestbook/shared/.env", env, mode=0o600, owner="guestbook:guestbook")
    environment = Project.environment_of(fleet)
    command = [FAB, "old", "deploy", "mid", "deploy", "new", "deploy"]
    done = subprocess.run(command, cwd=app, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    health = machines[0].run("curl -s http://127.0.0.1:8000/health").stdout
    assert json.loads(health)["status"] == "ok"
    said = machines[0].run(POST).stdout
    assert "302" in said
    assert "Hello there" in said
    assert "ff d8 ff" in said, "a JPEG, made by Pillow on the host"
    for machine in machines:
        release = json.loads(machine.run("cat /srv/guestbook/current/.release.json").stdout)["id"]
        assert release in done.stdout
        assert machine.run("/srv/guestbook/current/.venv/bin/python -c 'import lxml.etree, psycopg, PIL._imaging'")
