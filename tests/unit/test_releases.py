"""The life of releases on a host, on a temporary directory: the same code as on a server."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from deploy.hostside import deploylock, disk, releases, setup, tree
from deploy.hostside.failure import Failure
from deploy.hostside.layout import Layout, Records, summary

SHARED: dict[str, list[str]] = {"files": [".env"], "dirs": ["media/pictures"]}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    import getpass

    made = Layout(str(tmp_path / "srv" / "app"))
    setup.make(made, getpass.getuser())
    (tmp_path / "srv/app/shared/.env").write_text("SECRET=1\n")
    return made


def push(layout: Layout, identifier: str, **files: str) -> None:
    begun = releases.begin(layout, identifier)
    root = Path(begun["partial"])
    for name, content in (files or {"app": identifier}).items():
        (root / name).write_text(content)
    digest = tree.digest(tree.walk(str(root)))
    result = releases.finish_push(layout, identifier, digest, SHARED, {"revision": "abc1234"})
    assert result == {"verified": True}


def complete(layout: Layout, identifier: str) -> None:
    venv = Path(layout.path("venvs", "v1", "bin"))
    venv.mkdir(parents=True, exist_ok=True)
    (venv / "python").touch()
    releases.complete(layout, identifier, "v1", {"bundle": "b1", "tool": "test"})


def deploy(layout: Layout, identifier: str, verdict: str = "good") -> None:
    push(layout, identifier)
    complete(layout, identifier)
    releases.activate(layout, identifier)
    if verdict:
        releases.judge(layout, identifier, verdict)


def test_a_deployed_release_is_complete_linked_and_recorded(layout: Layout) -> None:
    deploy(layout, "r1")
    current = Path(layout.path("current"))
    assert os.readlink(current) == "releases/r1"
    assert (current / "app").read_text() == "r1"
    assert (current / ".env").read_text() == "SECRET=1\n"
    assert (current / "media/pictures").is_dir()
    assert (current / ".venv/bin/python").exists()
    manifest = json.loads((current / ".release.json").read_text())
    assert (manifest["id"], manifest["bundle"], manifest["revision"]) == ("r1", "b1", "abc1234")
    assert summary(layout)["releases"]["r1"]["state"] == "good"
    assert not os.path.lexists(layout.path("staged"))


def test_code_that_differs_from_what_was_sent_gets_no_name(layout: Layout) -> None:
    begun = releases.begin(layout, "r1")
    Path(begun["partial"], "app").write_text("altered on the way")
    assert releases.finish_push(layout, "r1", "0" * 64, SHARED, {}) == {"verified": False}
    assert not os.path.exists(layout.release("r1"))


def test_what_a_link_of_the_code_points_at_is_not_removed_for_a_shared_directory(layout: Layout) -> None:
    kept = Path(layout.path("shared", "media/pictures/one.jpg"))
    kept.parent.mkdir(parents=True)
    kept.touch()
    partial = Path(releases.begin(layout, "r1")["partial"])
    (partial / "media").symlink_to("../../shared/media")
    digest = tree.digest(tree.walk(str(partial)))
    with pytest.raises(Failure, match="the code has a link on the way"):
        releases.finish_push(layout, "r1", digest, SHARED, {})
    assert kept.exists()


def test_a_release_without_a_venv_cannot_be_activated(layout: Layout) -> None:
    push(layout, "r1")
    with pytest.raises(Failure, match="not complete"):
        releases.activate(layout, "r1")
    assert summary(layout)["live"] == ""


def test_the_manifest_of_a_release_never_changes_after_activation(layout: Layout) -> None:
    deploy(layout, "r1")
    with pytest.raises(Failure, match="not pushed"):
        releases.complete(layout, "r1", "v1", {"bundle": "b2"})


def test_rollback_goes_to_the_last_good_release_not_to_a_bad_or_an_older_name(layout: Layout) -> None:
    deploy(layout, "z-first")
    deploy(layout, "a-second")
    deploy(layout, "m-bad", verdict="bad")
    releases.activate(layout, "a-second")
    releases.judge(layout, "a-second", "good")
    deploy(layout, "b-third")
    assert summary(layout)["rollback"] == "a-second"


def test_a_bad_release_is_never_activated_again(layout: Layout) -> None:
    deploy(layout, "r1")
    deploy(layout, "r2", verdict="bad")
    releases.activate(layout, "r1")
    with pytest.raises(Failure, match="was bad before"):
        releases.activate(layout, "r2")


def test_a_release_that_was_left_before_it_was_known_is_staged_again(layout: Layout) -> None:
    deploy(layout, "r1")
    deploy(layout, "r2", verdict="")
    releases.activate(layout, "r1")
    releases.judge(layout, "r2", "staged", "interrupted")
    found = summary(layout)
    assert (found["live"], found["staged"], found["rollback"]) == ("r1", "r2", "")
    assert releases.expendable(Records(layout), keep=1) == []
    releases.activate(layout, "r2")
    assert summary(layout)["staged"] == ""


def test_a_run_that_died_between_switch_and_record_is_reconciled(layout: Layout) -> None:
    deploy(layout, "r1")
    push(layout, "r2")
    complete(layout, "r2")
    disk.link_atomically("releases/r2", layout.path("current"))
    records = Records(layout)
    assert (records.live, records.state("r2")) == ("r2", "live")
    assert records.rollback_target() == "r1"


def test_cleanup_keeps_the_live_the_target_and_counts_only_good_ones(layout: Layout) -> None:
    for number in range(1, 6):
        deploy(layout, f"good{number}")
        deploy(layout, f"bad{number}", verdict="bad")
        releases.activate(layout, f"good{number}")
        releases.judge(layout, f"good{number}", "good")
    push(layout, "pushed")
    gone = {"good1", "good2", "good3", "bad1", "bad2", "bad3", "bad4"}
    assert set(releases.expendable(Records(layout), keep=2)) == gone


def test_times_of_files_do_not_decide_what_goes(layout: Layout) -> None:
    for name in ("r1", "r2", "r3"):
        deploy(layout, name)
    os.utime(layout.release("r3"), (0, 0))
    os.utime(layout.release("r1"), (2e9, 2e9))
    assert releases.expendable(Records(layout), keep=1) == ["r1"]


def test_what_a_killed_push_left_is_swept_by_the_next(layout: Layout) -> None:
    left = Path(releases.begin(layout, "r1")["partial"])
    (left / "half").write_text("x")
    releases.begin(layout, "r2")
    assert sorted(os.listdir(layout.path("releases"))) == [".partial-r2"]


def test_a_failed_release_can_be_discarded_and_the_live_one_cannot(layout: Layout) -> None:
    deploy(layout, "r1")
    push(layout, "r2")
    releases.discard(layout, "r2")
    assert not os.path.lexists(layout.release("r2"))
    assert not os.path.lexists(layout.path("staged"))
    with pytest.raises(Failure):
        releases.discard(layout, "r1")
    assert os.path.exists(layout.path("current", "app"))


def test_the_stream_strategy_links_what_the_live_release_has(layout: Layout) -> None:
    deploy(layout, "r1")
    same = tree.entry(layout.release("r1"), "app")
    result = releases.link_known(
        layout, "r2", tree.pack([same, tree.Entry("new", "f", "0" * 64), tree.Entry("empty", "d", "")])
    )
    assert result["missing"] == ["new"]
    assert os.stat(layout.partial("r2") + "/app").st_ino == os.stat(layout.release("r1") + "/app").st_ino


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "a/../../b", ""])
def test_a_path_that_leaves_the_release_is_refused(layout: Layout, path: str) -> None:
    with pytest.raises(Failure, match="leaves the release"):
        releases.link_known(layout, "r1", tree.pack([tree.Entry(path, "f", "0" * 64)]))


OWNER = {"user": "ann", "host": "laptop", "pid": 1, "message": "deploy"}


def test_the_lock_is_held_by_one_until_it_is_released(layout: Layout) -> None:
    deploylock.acquire(layout, "one", OWNER, 60)
    with pytest.raises(Failure, match="held by ann@laptop pid 1"):
        deploylock.acquire(layout, "two", OWNER, 60)
    assert deploylock.release(layout, "two") == {"released": False}
    assert deploylock.release(layout, "one") == {"released": True}
    deploylock.acquire(layout, "two", OWNER, 60)


class Clocks:
    """The clocks of a host, each to be set: the one that people set, and the one that counts from its start."""

    def __init__(self, mocker: Any, boot: str) -> None:
        self.boot = boot
        self.wall = 1_000_000.0
        self.since_boot = 1000.0
        mocker.patch("deploy.hostside.deploylock.time.time", lambda: self.wall)
        mocker.patch("deploy.hostside.clock.boot", lambda: self.boot)
        mocker.patch("deploy.hostside.clock.since_boot", lambda: self.since_boot)

    def pass_time(self, seconds: float) -> None:
        self.wall += seconds
        self.since_boot += seconds


YEAR = 365 * 86400.0


@pytest.mark.parametrize("boot", ["a", ""])
def test_a_lock_is_taken_over_after_its_expiry_and_never_before(layout: Layout, mocker: Any, boot: str) -> None:
    """Also on a host that does not count from its start."""
    clocks = Clocks(mocker, boot)
    deploylock.acquire(layout, "one", OWNER, 60)
    clocks.pass_time(59)
    with pytest.raises(Failure, match="expires in 1 s"):
        deploylock.acquire(layout, "two", OWNER, 60)
    deploylock.extend(layout, "one", 60)
    clocks.pass_time(59)
    with pytest.raises(Failure, match="for 1 min 58 s"):
        deploylock.acquire(layout, "two", OWNER, 60)
    clocks.pass_time(2)
    assert deploylock.acquire(layout, "two", OWNER, 60)["taken_over"]["user"] == "ann"
    with pytest.raises(Failure, match="was lost"):
        deploylock.extend(layout, "one", 60)


@pytest.mark.parametrize("jump", [YEAR, -YEAR])
def test_a_clock_that_is_set_by_a_year_changes_nothing_for_a_lock(layout: Layout, mocker: Any, jump: float) -> None:
    clocks = Clocks(mocker, "a")
    deploylock.acquire(layout, "one", OWNER, 60)
    clocks.wall += jump
    clocks.pass_time(59)
    with pytest.raises(Failure, match="for 0 min 59 s, expires in 1 s"):
        deploylock.acquire(layout, "two", OWNER, 60)
    clocks.pass_time(2)
    assert deploylock.acquire(layout, "two", OWNER, 60)["taken_over"]["user"] == "ann"


def test_after_a_start_of_the_host_an_owner_has_as_long_as_ever_to_return(layout: Layout, mocker: Any) -> None:
    clocks = Clocks(mocker, "a")
    deploylock.acquire(layout, "one", OWNER, 60)
    clocks.boot, clocks.since_boot = "b", 5.0
    clocks.wall -= YEAR
    with pytest.raises(Failure, match="expires in 55 s"):
        deploylock.acquire(layout, "two", OWNER, 60)
    deploylock.extend(layout, "one", 60)
    clocks.pass_time(59)
    with pytest.raises(Failure, match="expires in 1 s"):
        deploylock.acquire(layout, "two", OWNER, 60)
    clocks.boot, clocks.since_boot = "c", 61.0
    assert deploylock.acquire(layout, "two", OWNER, 60)["taken_over"]["user"] == "ann"


def test_a_lock_that_another_version_wrote_down_is_understood(layout: Layout, mocker: Any) -> None:
    clocks = Clocks(mocker, "a")
    older = {**OWNER, "token": "one", "started": clocks.wall, "expires": clocks.wall + 60}
    disk.write_json(layout.path(".deploy", "lock.json"), older)
    clocks.pass_time(59)
    with pytest.raises(Failure, match="for 0 min 59 s, expires in 1 s"):
        deploylock.acquire(layout, "two", OWNER, 60)
    clocks.pass_time(2)
    deploylock.acquire(layout, "two", OWNER, 60)
    newer = disk.read_json(layout.path(".deploy", "lock.json"), "Held")
    assert newer["expires"] == clocks.wall + 60, "by which older ones go"


def test_unlock_takes_only_ones_own_without_force(layout: Layout) -> None:
    deploylock.acquire(layout, "one", OWNER, 0)
    with pytest.raises(Failure, match="held by ann"):
        deploylock.break_lock(layout, "bob", "laptop", force=False)
    assert "ann@laptop" in deploylock.break_lock(layout, "bob", "laptop", force=True)["held"]
    deploylock.acquire(layout, "two", OWNER, 60)
    with pytest.raises(Failure):
        deploylock.break_lock(layout, "ann", "laptop", force=False)


def test_setup_refuses_a_link_in_the_place_of_a_directory(tmp_path: Path) -> None:
    import getpass

    layout = Layout(str(tmp_path / "app"))
    setup.make(layout, getpass.getuser())
    os.rmdir(layout.path("shared"))
    os.symlink("/etc", layout.path("shared"))
    with pytest.raises(Failure, match="is not a directory"):
        setup.make(layout, getpass.getuser())
