"""Alembic's migrations go forward and back with the releases, by the commands that the documentation gives."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.local.conftest import LocalProject

PACKAGES = "alembic==1.17.2\nmako==1.3.10\nsqlalchemy==2.0.44\ngreenlet==3.2.4\ntyping-extensions==4.15.0\n"

ENVIRONMENT = """\
from alembic import context
from sqlalchemy import create_engine
with create_engine("sqlite:///data/book.sqlite3").connect() as connection:
    context.configure(connection)
    with context.begin_transaction():
        context.run_migrations()
"""

REVISION = """\
from alembic import op
revision, down_revision = {name!r}, {former!r}
def upgrade():
    op.execute({forward!r})
def downgrade():
    op.execute({back!r})
"""

MIGRATE = {
    "command": "alembic upgrade head",
    "head": """out=$(alembic current) && echo "$out" | cut -d ' ' -f 1""",
    "rollback": {"command": 'alembic downgrade "${DEPLOY_HEAD:-base}"'},
}


class Book:
    """An application without a revision at first."""

    def __init__(self, project: LocalProject) -> None:
        self.project, self._versions = project, project.directory / "migrations/versions"
        self._versions.mkdir(parents=True)
        (self._versions / "README").write_text("One file for each revision.\n")
        (project.directory / "alembic.ini").write_text("[alembic]\nscript_location = migrations\n")
        (project.directory / "migrations/env.py").write_text(ENVIRONMENT)
        with (project.directory / "requirements.txt").open("a") as lock:
            lock.write(PACKAGES)
        project.configure(migrate=json.dumps(MIGRATE)[1:-1], extra="  hashes: warn\n")

    def revision(self, name: str, former: str | None, forward: str, back: str) -> Path:
        path = self._versions / f"{name}.py"
        path.write_text(REVISION.format(name=name, former=former, forward=forward, back=back))
        return path

    def version(self, text: str) -> None:
        (self.project.directory / "version.txt").write_text(text + "\n")

    def columns(self) -> list[str]:
        with sqlite3.connect(self.project.base / "shared/data/book.sqlite3") as connection:
            return [row[1] for row in connection.execute("pragma table_info(entry)")]


@pytest.mark.parametrize("host", ["openssh"], indirect=True)
def test_alembics_migrations_go_forward_and_back_with_the_releases(project: LocalProject) -> None:
    book = Book(project)
    project.fab("deploy")
    book.revision("aaa1", None, "create table entry (name text)", "drop table entry")
    book.version("two")
    assert "; the schema is at aaa1" in project.fab("deploy")
    colour = book.revision(
        "bbb2", "aaa1", "alter table entry add column colour text", "alter table entry drop column colour"
    )
    book.version("three")
    assert "; the schema is at bbb2" in project.fab("deploy")
    assert book.columns() == ["name", "colour"]

    assert "the schema is back at aaa1" in project.fab("rollback")
    assert (project.version, book.columns()) == ("two", ["name"])
    project.fab("rollback")
    assert (project.version, book.columns()) == ("one", [])

    book.version("four")
    assert "; the schema is at bbb2" in project.fab("deploy")
    project.fab("rollback", "--force")
    assert (project.version, book.columns()) == ("one", ["name", "colour"])
    text = colour.read_text()
    colour.unlink()
    book.version("five")
    assert "Can't locate revision identified by 'bbb2'" in project.fab("deploy", expect=10)
    assert project.version == "one"
    colour.write_text(text)
    assert "; the schema is at bbb2" in project.fab("deploy")
    assert project.version == "five"
