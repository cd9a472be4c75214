"""The example, a real Django and gunicorn application, on three Debians: compiled dependencies and migrations work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from invoke import util

from tests.fab import fab
from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import Project

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


COLUMN = """\
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("guestbook", "0001_initial")]
    operations = [migrations.AddField("entry", "colour", models.CharField(max_length=20, default="red"))]
"""
FAILING = """\
from django.db import migrations


def work(apps, editor):
    for entry in apps.get_model("guestbook", "Entry").objects.all():
        raise RuntimeError(f"what is {entry.name}")


class Migration(migrations.Migration):
    dependencies = [("guestbook", "0002_colour")]
    operations = [migrations.RunPython(work)]
"""
COLUMNS = "sqlite3.connect('/srv/guestbook/shared/book.sqlite3').execute('pragma table_info(guestbook_entry)')"


class Guestbook:
    """The example on three Debians; each host has a database of its own, so each is a stage with its own primary."""

    def __init__(self, directory: Path, fleet: Fleet, machines: list[Machine]) -> None:
        self.directory, self.machines, self.said = directory, machines, ""
        self.environment = Project.environment_of(fleet)
        shutil.copytree(GUESTBOOK, directory)
        self.configuration: Any = util.yaml.safe_load((directory / "fabric.yaml").read_text())  # type: ignore[attr-defined]
        self.configuration["deploy"]["stages"] = {one.name: {"hosts": [f"deploy@{one.address}"]} for one in machines}
        self.configure()
        for machine in machines:
            machine.write("/etc/systemd/system/guestbook.service", (GUESTBOOK / "guestbook.service").read_text())
            machine.run(
                "systemctl daemon-reload; install -d -o guestbook -g guestbook /srv/guestbook /srv/guestbook/shared"
            )
            env = "SECRET_KEY=x\nDATABASE_PATH=/srv/guestbook/shared/book.sqlite3\n"
            machine.write("/srv/guestbook/shared/.env", env, mode=0o600, owner="guestbook:guestbook")

    def configure(self, **migrate: Any) -> None:
        self.configuration["deploy"]["migrate"].update(migrate)
        (self.directory / "fabric.yaml").write_text(json.dumps(self.configuration))

    def migration(self, name: str, text: str) -> None:
        (self.directory / f"guestbook/migrations/{name}.py").write_text(text)

    def fab(self, *words: str, expect: int = 0) -> str:
        code, said = fab(words, self.directory, self.environment)
        assert code == expect, said
        return said


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory, fleet: Fleet, standing: Any) -> Guestbook:
    """Deployed once, to all three."""
    machines = standing.all(("bullseye", "old"), ("bookworm", "mid"), ("trixie", "new"))
    made = Guestbook(tmp_path_factory.mktemp("book") / "guestbook", fleet, machines)
    made.said = made.fab("old", "deploy", "mid", "deploy", "new", "deploy")
    return made


def test_the_guestbook_stores_an_entry_with_a_picture_on_every_debian(book: Guestbook) -> None:
    machines = book.machines
    health = machines[0].run("curl -s http://127.0.0.1:8000/health").stdout
    assert json.loads(health)["status"] == "ok"
    said = machines[0].run(POST).stdout
    assert "302" in said
    assert "Hello there" in said
    assert "ff d8 ff" in said, "a JPEG, made by Pillow on the host"
    for machine in machines:
        release = json.loads(machine.run("cat /srv/guestbook/current/.release.json").stdout)["id"]
        assert release in book.said
        assert machine.run("/srv/guestbook/current/.venv/bin/python -c 'import lxml.etree, psycopg, PIL._imaging'")


def test_djangos_migrations_go_forward_and_back_with_the_releases(book: Guestbook) -> None:
    machine = book.machines[1]

    def fab(task: str, expect: int = 0) -> str:
        return book.fab("mid", task, expect=expect)

    def serving() -> str:
        health = json.loads(machine.run("curl -s http://127.0.0.1:8000/health").stdout)
        assert health["status"] == "ok"
        return str(health["release"])

    def has_colour() -> bool:
        script = f"import sqlite3; print('colour' in [row[1] for row in {COLUMNS}])"
        return machine.run(f'/srv/guestbook/current/.venv/bin/python -c "{script}"').stdout.strip() == "True"

    assert book.said.count("; the schema is at 0001_initial") == 3
    first = serving()
    assert "302" in machine.run(POST).stdout

    models = book.directory / "guestbook/models.py"
    colour = '    colour = models.CharField(max_length=20, default="red")\n    written'
    models.write_text(models.read_text().replace("    written", colour))
    book.migration("0002_colour", COLUMN)
    book.configure(only_if_changed=["**/migrations/*.py", "requirements.txt"])
    assert "; the schema is at 0002_colour" in fab("deploy")
    second = serving()
    assert has_colour()
    assert f"the schema is at 0002_colour (release {second}" in fab("status")

    said = fab("rollback", expect=5)
    assert f"the schema is at 0002_colour, made by {second}; {first} was recorded with 0001_initial" in said
    assert serving() == second
    book.configure(rollback={"command": 'python manage.py migrate --noinput guestbook "${DEPLOY_HEAD:-zero}"'})
    assert "the schema is back at 0001_initial" in fab("rollback")
    assert serving() == first
    assert not has_colour()
    assert "Hello there" in machine.run("curl -s http://127.0.0.1:8000/").stdout

    (book.directory / "note").write_text("again")
    assert "to be migrated: changed: guestbook/migrations/0002_colour.py" in fab("deploy")
    (book.directory / "templates/new.html").write_text("new")
    assert "migration skipped: nothing of **/migrations/*.py, requirements.txt differs" in fab("deploy")

    book.configure(when="after")
    book.migration("0003_failing", FAILING)
    said = fab("deploy", expect=10)
    assert "RuntimeError: what is Ada" in said
    third = serving()
    assert f"{third} serves and stays" in said
    book.migration("0003_failing", FAILING.replace("raise RuntimeError", "print"))
    assert "; the schema is at 0003_failing" in fab("deploy")
    assert serving() != third
