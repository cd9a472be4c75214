"""Migrations of whole deploys in this process: when they run, when not, what is recorded, and what going back means.

The database is a file, a migration is a file of the release, and the schema's head is the name of the last one.
"""

from __future__ import annotations

import fcntl
import gc
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from invoke import util

from deploy.errors import CheckFailed, DeployError, Locked, MigrationFailed, RolledBack
from deploy.flows import deploy as deploying
from deploy.flows import looking, rollback, steps
from deploy.flows.run import Options
from tests.crash.harness import EXPIRY, World, connected, outcome
from tests.crash.points import chosen, tell

_yaml: Any = util.yaml  # type: ignore[attr-defined]

DATABASE = "$DEPLOY_BASE/shared/database"
COMMAND = f"""
test ! -e $DEPLOY_BASE/shared/broken || {{ echo 'no such column'; exit 3; }}
echo "$DEPLOY_RELEASE" >> $DEPLOY_BASE/shared/log; ls package/migrations | tail -n 1 > {DATABASE}
"""
HEAD = f"echo INFO asked >&2; cat {DATABASE}"
DOWNGRADE = f'echo "$DEPLOY_HEAD" > {DATABASE}; echo "down in $DEPLOY_RELEASE" >> $DEPLOY_BASE/shared/log'


class Application:
    """The application of a world, whose database is a file."""

    def __init__(self, world: World, said: Callable[[], str]) -> None:
        self.world = world
        self.said = said
        self.number = 0
        (world.base / "shared").mkdir(parents=True)
        (world.base / "shared/.env").touch(0o600)
        (world.app / "package/migrations").mkdir()
        world.version("0", "one")
        self.add("0001_first")
        self.configure()

    def configure(self, **migrate: Any) -> None:
        path = self.world.app / "fabric.yaml"
        document = _yaml.safe_load(path.read_text())
        document["deploy"]["migrate"] = {"command": COMMAND, "head": HEAD, **migrate}
        document["deploy"]["source"]["exclude"] = ["requirements.txt", "fabric.yaml"]
        document["deploy"]["keep_releases"] = 3
        path.write_text(_yaml.safe_dump(document))

    def set(self, **section: Any) -> None:
        path = self.world.app / "fabric.yaml"
        document = _yaml.safe_load(path.read_text())
        document["deploy"].update(section)
        path.write_text(_yaml.safe_dump(document))

    def add(self, migration: str) -> None:
        (self.world.app / f"package/migrations/{migration}").write_text(migration)

    def change(self) -> None:
        """Change the code, but no migration."""
        self.number += 1
        (self.world.app / "version.txt").write_text(f"{self.number}\n")

    def run(self, task: Callable[..., None], dry: bool = False, **more: Any) -> str:
        problem = None
        with self.world.host():
            try:
                task(self.world.config(), Options(dry=dry), **more)
            except DeployError as error:
                # What tracebacks hold keeps channels open, and the host waits for their ends.
                problem, error.__context__ = error.with_traceback(None), None
                gc.collect()
        if problem is not None:
            raise problem
        return self.said()

    def deploy(self, **more: Any) -> str:
        return self.run(deploying.deploy, **{"force": False, **more})

    def deploy_twice(self) -> tuple[str, str]:
        """Deploy, and once more with a second migration; both releases."""
        self.deploy()
        first = self.live
        self.add("0002_second")
        self.deploy()
        return first, self.live

    def roll_back(self, **more: Any) -> str:
        return self.run(rollback.rollback, **more)

    def fails(self, kind: type[DeployError], task: Callable[..., Any], **more: Any) -> str:
        with pytest.raises(kind) as caught:
            task(**more)
        return f"{self.said()}\n{caught.value}"

    def assert_not_read(self, task: Callable[..., Any]) -> None:
        """It says so of the environment file, with the exit code of migrations; then the file is as it was."""
        said = self.fails(MigrationFailed, task)
        assert f"Is a directory: {self.world.base}/releases/" in said
        assert "/.env\n" in said
        assert "look at it on the host" in said
        self.shared(".env").rmdir()
        self.shared(".env").touch(0o600)

    def shared(self, name: str) -> Path:
        return self.world.base / "shared" / name

    @property
    def log(self) -> list[str]:
        """What ran at the database: in which release."""
        return self.shared("log").read_text().splitlines()

    @property
    def schema(self) -> str:
        return self.shared("database").read_text().strip()

    @property
    def live(self) -> str:
        return (self.world.base / "current").resolve().name

    def record(self, release: str) -> dict[str, Any]:
        document = json.loads((self.world.base / ".deploy/migrations.json").read_text())
        record: dict[str, Any] = document["releases"][release]
        return record


@pytest.fixture(scope="module")
def one_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("migrations"))
    world.save("nothing")
    yield world
    world.close()


@pytest.fixture
def app(one_world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Application]:
    """On a host that has nothing yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(one_world.directory / "cache"))
    monkeypatch.setenv("HOME", str(one_world.directory))
    monkeypatch.chdir(one_world.app)

    def said() -> str:
        both = capsys.readouterr()
        return both.out + both.err

    configuration = (one_world.app / "fabric.yaml").read_text()
    with connected(one_world):
        yield Application(one_world, said)
    one_world.restore("nothing")
    (one_world.app / "fabric.yaml").write_text(configuration)
    shutil.rmtree(one_world.app / "package/migrations")


def test_a_deploy_that_changes_no_migration_skips_it_and_says_so(app: Application) -> None:
    app.configure(only_if_changed=["package/migrations/*"])
    assert "to be migrated: no release is live" in app.deploy()
    first = app.live
    app.change()
    assert "would run in 2" in (said := app.deploy(dry=True)), said
    assert f", if anything of package/migrations/* differs from {first}: " in said
    assert f"migration skipped: nothing of package/migrations/* differs from {first}" in app.deploy()
    assert app.log == [first]
    assert {**app.record(app.live), "by": "", "ended": ""} == {
        "state": "skipped", "of": first, "heads": ["0001_first"], "by": "", "ended": ""
    }  # fmt: skip
    # By hand it always runs; and then the next deploy does, too, unless that was in what is live.
    app.run(steps.migrate_db)
    assert app.log == [first, app.live]
    app.add("0002_second")
    app.change()
    assert "to be migrated: changed: package/migrations/0002_second" in app.deploy()
    assert app.log[-1] == app.live
    assert app.schema == "0002_second"
    app.configure(only_if_changed=["package/migrations/*", "pakage/*", ".venv/**/two.py"])
    app.change()
    said = app.deploy()
    assert "deploy.migrate.only_if_changed: nothing matches pakage/*, .venv/**/two.py, so it is migrated" in said
    assert len(app.log) == 4


def test_what_the_dependencies_bring_can_be_watched_in_the_venv(app: Application) -> None:
    app.configure(only_if_changed=[".venv/lib/*/site-packages/one/*.txt", ".venv/**/t[v-z]*.py"])
    app.world.version("0", "one", "two")
    app.deploy()
    app.world.version("0", "one", "two", "three")
    assert "migration skipped" in app.deploy()
    app.world.version("0", "one")
    assert "site-packages/two.py" in app.deploy()
    assert len(app.log) == 2


def test_what_failed_or_was_done_by_another_release_is_not_skipped(app: Application) -> None:
    app.configure(only_if_changed=["package/migrations/*"])
    app.deploy()
    first = app.live
    app.shared("broken").touch()
    app.add("0002_second")
    assert "no such column" in app.fails(MigrationFailed, app.deploy)
    app.shared("broken").unlink()
    # The migrations are those of the live release again, but the other one may have got half way.
    (app.world.app / "package/migrations/0002_second").unlink()
    app.change()
    assert f"was at the database since {first} migrated" in app.deploy()
    assert len(app.log) == 2


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_environment_that_cannot_be_read_when_it_is_time_fails_the_migration(app: Application, when: str) -> None:
    """That of the application, which its commands are given; it was well when the host was probed."""
    app.configure(when=when, rollback={"command": DOWNGRADE})
    app.deploy()
    first = app.live
    app.add("0002_second")
    spoil = "rm $DEPLOY_BASE/shared/.env; mkdir $DEPLOY_BASE/shared/.env"
    app.set(hooks={"before_migrate": [spoil]})
    app.assert_not_read(app.deploy)
    assert (app.live == first) == (when == "before"), "after the switch there is no way back"
    assert app.schema == "0001_first"
    app.set(hooks={})
    app.deploy()
    assert app.schema == "0002_second"
    app.set(hooks={"before_rollback": [spoil]})
    second = app.live
    app.assert_not_read(app.roll_back)
    assert (app.live, app.schema) == (second, "0002_second")


def test_a_retry_migrates_again(app: Application) -> None:
    app.deploy()
    app.add("0002_second")
    app.set(hooks={"before_activate": ["exit 1"]})
    app.fails(DeployError, app.deploy)
    assert app.schema == "0002_second"
    staged = app.log[-1]
    app.set(hooks={})
    app.deploy(retry=True)
    assert app.live == staged
    assert app.log[-2:] == [staged, staged]


def test_what_comes_after_the_switch_fails_without_a_way_back_and_is_caught_up(app: Application) -> None:
    app.configure(when="after")
    seen = 'echo "$DEPLOY_HOOK $(readlink $DEPLOY_BASE/current)" >> $DEPLOY_BASE/shared/hooks'
    app.set(hooks={"before_migrate": [seen], "after_migrate": [seen], "after_deploy": [seen]})
    said = app.deploy(dry=True)
    assert said.index("would switch current") < said.index("would run in ") < said.index("at after_deploy")
    app.deploy()
    first = app.live
    points = ("before_migrate", "after_migrate", "after_deploy")
    assert app.shared("hooks").read_text().splitlines() == [f"{each} releases/{first}" for each in points]
    app.add("0002_second")
    app.shared("broken").touch()
    said = app.fails(MigrationFailed, app.deploy)
    second = app.live
    assert second != first
    assert f"the migration failed (exit 3); {second} serves and stays" in said
    assert "fab production migrate-db runs it again, and so does fab production deploy" in said
    assert app.record(second)["state"] == "failed"
    assert f"the migration of {second} failed (exit 3), 2" in app.run(looking.status)
    assert "whose migration failed" in app.deploy(dry=True)
    # Nothing else is to change, and it is run again all the same.
    app.fails(MigrationFailed, app.deploy)
    app.shared("broken").unlink()
    said = app.deploy()
    assert f"the migration of {second}, which is live, failed: it is run now" in said
    assert "nothing to change" in said
    assert app.log == [first, second]
    assert "it is run now" not in app.deploy()
    journal = [json.loads(line) for line in (app.world.base / ".deploy/journal.jsonl").read_text().splitlines()]
    told = [(line["event"], line["release"], line["outcome"]) for line in journal]
    assert told == [
        ("deploy", first, "good"), ("migrate", first, "good"), ("deploy", second, "good"),
        ("migrate", second, "failed"), ("deploy", second, "MigrationFailed"), ("migrate", second, "failed"),
        ("migrate", second, "good"),
    ]  # fmt: skip


def test_in_a_row_of_tasks_each_says_when_it_is_time_to_migrate(app: Application) -> None:
    def row() -> list[str]:
        said = app.run(steps.push) + app.run(steps.update_deps) + app.run(steps.activate)
        said += app.run(steps.reboot_server, by_batch=False)
        return [line.partition("next: ")[2] for line in said.splitlines() if "next: " in line]

    assert row() == [
        "fab production update-deps", "fab production migrate-db, then fab production activate",
        "fab production reboot-server", "fab production cleanup",
    ]  # fmt: skip
    app.configure(when="after")
    app.change()
    assert row()[1::2] == ["fab production activate", "fab production migrate-db"]
    assert "nothing is staged; migrating in the live release" in app.run(steps.migrate_db)
    assert app.log == [app.live]


def test_killed_at_each_step_of_a_migration_after_the_switch(
    app: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    app.configure(when="after", only_if_changed=["package/migrations/*"])
    app.set(lock={"expiry": EXPIRY})
    app.deploy()
    app.world.save("before")
    app.add("0002_second")
    app.world.deploy(at=0)
    every = app.world.steps()
    its = [any("migration" in Path(path).name for path in step.paths) for step in every]
    points = [(number, how) for number, how in chosen(every, app.world) if its[number - 1]]
    assert len(points) > 8
    for number, how in points:
        app.world.restore("before")
        outcome(app.world.deploy, at=number, how=how)
        assert outcome(app.world.deploy, later=EXPIRY + 1) is None, (number, how)
        assert app.schema == "0002_second", (number, how)
        assert app.record(app.live)["state"] == "done", (number, how)
        assert app.record(app.live)["heads"] == ["0002_second"]
        assert len(app.log) in (2, 3), (number, how, app.log)
        assert not list(app.world.base.glob(".deploy/.partial-*"))
    tell(capsys, "killed while it is migrated after the switch", every, points)


def test_status_shows_the_head_and_a_rollback_to_an_older_schema_warns(app: Application) -> None:
    app.deploy()
    first = app.live
    app.add("0002_second")
    assert "the schema is at 0002_second" in app.deploy()
    second = app.live
    assert f"the schema is at 0002_second (release {second}, 2" in app.run(looking.status)
    said = app.roll_back()
    assert f"the schema is at 0002_second, made by {second}; {first} was recorded with 0001_first" in said
    assert app.live == first
    assert app.schema == "0002_second"


def test_a_rollback_to_the_same_schema_and_one_whose_heads_are_not_known_go_on(app: Application) -> None:
    app.configure(head="")
    app.deploy()
    first = app.live
    app.configure(rollback="refuse")
    app.change()
    app.deploy()
    second = app.live
    app.change()
    app.deploy()
    assert "schema" not in app.roll_back()
    assert app.live == second
    assert f"what {first} was migrated to is not recorded" in app.roll_back()
    assert app.live == first


def test_a_rollback_to_an_older_schema_is_refused_with_both_heads(app: Application) -> None:
    app.configure(rollback="refuse")
    first, second = app.deploy_twice()
    app.set(hooks={"before_rollback": ["touch $DEPLOY_BASE/shared/touched"]})
    said = app.fails(CheckFailed, app.roll_back)
    assert f"the schema is at 0002_second, made by {second}; {first} was recorded with 0001_first" in said
    assert "nothing was touched" in said
    assert "--force leaves the schema as it is" in said
    app.fails(CheckFailed, app.roll_back, dry=True)
    assert app.live == second
    assert not app.shared("touched").exists()
    # Asked now, not only remembered: somebody has taken it back by hand.
    app.shared("database").write_text("0001_first\n")
    assert "schema" not in app.roll_back()
    assert app.live == first
    (app.world.app / "package/migrations/0002_second").unlink()
    app.change()
    app.deploy()
    app.shared("database").unlink()
    said = app.roll_back()
    assert "cannot be asked: migrate.head failed (exit 1)" in said
    assert app.live == first, "what was recorded last counts"


def test_force_goes_back_and_leaves_the_schema(app: Application) -> None:
    app.configure(rollback="refuse")
    first, _ = app.deploy_twice()
    assert "the schema does not" in app.roll_back(force=True)
    assert (app.live, app.schema) == (first, "0002_second")


def test_a_command_takes_the_schema_back_before_the_switch(app: Application) -> None:
    look = "; readlink $DEPLOY_BASE/current > $DEPLOY_BASE/shared/was"
    app.configure(rollback={"command": DOWNGRADE + look})
    first, second = app.deploy_twice()
    said = app.roll_back(dry=True)
    assert f"would run in {second}, with DEPLOY_HEAD 0001_first: " in said
    assert app.schema == "0002_second"
    said = app.roll_back()
    assert "the schema is back at 0001_first" in said
    assert (app.live, app.schema) == (first, "0001_first")
    assert app.log[-1] == f"down in {second}"
    assert app.shared("was").read_text() == f"releases/{second}\n"
    assert app.record(second)["state"] == "undone"
    (app.world.app / "package/migrations/0002_second").unlink()
    app.configure(rollback={"command": DOWNGRADE}, only_if_changed=["package/migrations/*"])
    app.change()
    assert "migration skipped" in app.deploy(), "the schema is what the live release made it"


def test_a_downgrade_that_fails_switches_nothing(app: Application) -> None:
    app.configure(rollback={"command": "echo irreversible; exit 4"})
    _, second = app.deploy_twice()
    said = app.fails(MigrationFailed, app.roll_back)
    assert "the downgrade failed (exit 4); nothing was switched" in said
    assert "| irreversible" in said
    assert "--set DEPLOY_HEAD=0001_first" in said
    assert app.live == second
    # Nobody knows how far it went: the next deploy brings the schema to the live release's again.
    assert "it is run now" in app.deploy()
    assert app.record(second)["state"] == "done"


def test_hosts_that_go_back_by_themselves_leave_the_schema_and_say_how_to_take_it_back(app: Application) -> None:
    app.configure(rollback={"command": DOWNGRADE})
    app.deploy()
    first = app.live
    app.add("0002_second")
    app.set(hooks={"after_activate": ["exit 1"]})
    said = app.fails(RolledBack, app.deploy)
    second = app.log[-1]
    assert f"the schema is at 0002_second, made by {second}, and stays so; {first} was recorded with 0001_first" in said
    assert f"run --set DEPLOY_HEAD=0001_first {app.world.base} {second} " in said
    assert (app.live, app.schema) == (first, "0002_second")


def test_a_head_that_fails_or_says_too_much_is_a_warning(app: Application) -> None:
    app.configure(head="echo nowhere >&2; exit 2")
    said = app.deploy()
    assert "what the schema is at is not recorded: migrate.head failed (exit 2): nowhere" in said
    app.configure(head="seq 21")
    app.change()
    assert "said more than 20 lines" in app.deploy()
    app.configure(head="printf '  b\\n\\na \\nb\\n'")
    app.change()
    assert "the schema is at a, b" in app.deploy()
    assert app.record(app.live)["heads"] == ["a", "b"]


def test_a_migration_that_nobody_waits_for_keeps_deploys_away(app: Application) -> None:
    app.deploy()
    first = app.live
    with (app.world.base / ".deploy/migration.guard").open("r+") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        guard.truncate()
        guard.write(json.dumps({"what": "the migration of release x", "by": "kay@host", "since": 0, "group": 77}))
        guard.flush()
        app.change()
        for task in (app.deploy, app.roll_back, lambda: app.run(steps.migrate_db)):
            said = app.fails(Locked, task)
            assert "the migration of release x, begun by kay@host, has been running for" in said
            assert "kill -- -77" in said
        assert "the migration of release x, begun by kay@host" in app.run(looking.status)
    app.deploy()
    assert app.live != first
