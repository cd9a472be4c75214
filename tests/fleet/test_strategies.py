"""Every strategy carries the tree as it is: what is released is compared with the source itself, on real hosts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.fleet import trees
from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import Project
from tests.repositories import Git, Hg, Svn, needs_git, needs_hg, needs_svn

pytestmark = [pytest.mark.fleet, needs_git]

logins = pytest.mark.parametrize("user", ["deploy", "guestbook"], ids=["sudo", "direct"])

# What belongs to this machine and not to the code.
LEFT = ("fabric.yaml", ".git", ".hg", ".svn")

NAMES = (
    "-dash", "quote'\"", "ünïcode", "$(touch x)", "ends ", "re:x", "[*]?", "back\\slash", "a@1", "@", "#x", "%41", "~x",
)  # fmt: skip
# Mercurial holds no line ends in names, Subversion no control characters and nothing but UTF-8.
BYTES = ("tab\tbed", "\x01\x7f", os.fsdecode(b"latin-\xe9"))
LINES = ("new\nline", "carriage\rreturn")


class Everywhere:
    """One source, pushed by each strategy to a place of its own on one host.

    :param user: who logs in: ``deploy``, who becomes the deploy user by sudo, or the deploy user itself.
    """

    def __init__(self, project: Project, machine: Machine, user: str, strategies: Sequence[str]) -> None:
        self.project = project
        self.machine = machine
        self.user = user
        self.strategies = strategies
        if user == "guestbook":
            machine.authorize("guestbook")
            machine.sudoers("")
        for strategy in strategies:
            machine.run(f"install -d -o guestbook -g guestbook /srv/{strategy} /srv/{strategy}/shared")
            machine.write(f"/srv/{strategy}/shared/.env", "", mode=0o600, owner="guestbook:guestbook")
        (project.directory / ".gitignore").write_text("/fabric.yaml\n/.hg\n/.svn\n")
        (project.directory / ".hgignore").write_text("^fabric.yaml$\n^.git/\n^.svn/\n")

    def push(self, strategy: str) -> str:
        self.project.configure(
            base_path=f"/srv/{strategy}",
            source={"strategy": strategy, "exclude": ["fabric.yaml"]},
            stages={"production": {"hosts": [f"{self.user}@{self.machine.address}"]}},
        )
        return self.project.fab("push").output

    def assert_carried(self, change: str) -> None:
        wanted = trees.of_source(self.project.directory, LEFT)
        assert "serve.py" in wanted
        for strategy in self.strategies:
            assert "not committed" not in self.push(strategy), (change, strategy)
            different = trees.differences(wanted, trees.of_release(self.machine, f"/srv/{strategy}/staged"))
            assert not different, (change, strategy, different)

    def assert_known(self) -> None:
        """A push of what is there already sends nothing."""
        for strategy in self.strategies:
            assert "holds this code already" in self.push(strategy), strategy
        loose = self.machine.run("find /srv ! -type l -perm /022; find /srv -mindepth 2 ! -user guestbook").stdout
        assert not loose, loose


def make_odd(directory: Path, names: Sequence[str]) -> Path:
    odd = directory / "odd names"
    odd.mkdir()
    for name in names:
        (odd / name).write_text(name, errors="surrogateescape")
    (odd / "link").symlink_to("-dash")
    (odd / "run").write_text("#!/bin/sh\n")
    (odd / "run").chmod(0o775)
    return odd


def change_step_by_step(project: Project, odd: Path, look: Any) -> None:
    look("first")
    project.version("two")
    look("changed")
    (odd / "-dash").unlink()
    look("removed")
    (project.directory / "version.txt").chmod(0o755)
    look("mode")
    (odd / "run").rename(odd / "renamed")
    look("renamed")


@pytest.mark.parametrize(
    ("suite", "user"),
    [("bullseye", "deploy"), ("bookworm", "guestbook"), ("trixie", "deploy")],
)
def test_a_tree_and_a_commit_are_carried_as_they_are_at_every_change(
    tmp_path: Path, fleet: Fleet, boot: Any, suite: str, user: str
) -> None:
    machine = boot(suite, "web1")
    project = Project(tmp_path / "tiny", fleet, [machine])
    everywhere = Everywhere(project, machine, user, ("stream", "rsync", "git"))
    git = Git(project.directory)

    def look(change: str) -> None:
        git.commit(change)
        everywhere.assert_carried(change)

    change_step_by_step(project, make_odd(project.directory, NAMES + BYTES + LINES), look)
    everywhere.assert_known()


@needs_hg
@logins
def test_mercurial_carries_a_commit_as_it_is_at_every_change(
    tmp_path: Path, fleet: Fleet, boot: Any, user: str
) -> None:
    machine = boot("bookworm-vcs", "web1")
    project = Project(tmp_path / "tiny", fleet, [machine])
    everywhere = Everywhere(project, machine, user, ("hg",))
    hg = Hg(project.directory)

    def look(change: str) -> None:
        hg.commit(change)
        everywhere.assert_carried(change)

    change_step_by_step(project, make_odd(project.directory, NAMES + BYTES), look)
    everywhere.assert_known()
    assert machine.run("hg -R /srv/hg/repo log -r tip -T {phase}").stdout == "draft"
    (project.directory / LINES[0]).write_text("a name that hg cannot hold")
    assert "1 file has changes that are not committed" in everywhere.push("hg")


@needs_svn
@logins
def test_subversion_carries_a_revision_as_it_is_at_every_change(
    tmp_path: Path, fleet: Fleet, boot: Any, monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    monkeypatch.setenv("LC_ALL", "C")  # as cron has it; names are UTF-8 all the same
    machine = boot("bookworm", "web1")
    project = Project(tmp_path / "tiny", fleet, [machine])
    everywhere = Everywhere(project, machine, user, ("svn",))
    svn = Svn(project.directory, tmp_path / "repository")
    svn("propset", "--quiet", "svn:global-ignores", "fabric.yaml", ".")

    def look(change: str) -> None:
        if change == "mode":
            svn("propset", "--quiet", "svn:executable", "*", "version.txt")  # svn does not see chmod
        svn.commit(change)
        everywhere.assert_carried(change)

    change_step_by_step(project, make_odd(project.directory, NAMES), look)
    everywhere.assert_known()
    (project.directory / BYTES[2]).write_text("a name that svn cannot hold")
    said = project.fab("push", expect=3).output
    assert f"Subversion cannot hold the name {os.fsencode(BYTES[2])!r}" in said


@needs_hg
@needs_svn
def test_five_thousand_files_and_a_large_one_are_carried_by_every_strategy(
    tmp_path: Path, fleet: Fleet, boot: Any
) -> None:
    machine = boot("bookworm-vcs", "web1")
    project = Project(tmp_path / "tiny", fleet, [machine])
    strategies = ("rsync", "stream", "git", "hg", "svn")
    everywhere = Everywhere(project, machine, "deploy", strategies)
    for number in range(5000):
        path = project.directory / f"many/{number % 50}/{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number}\n")
    with (project.directory / "large").open("wb") as stream:
        for _ in range(300):
            stream.write(os.urandom(1 << 12) * (1 << 8))  # no part is like another, and all of it is quick to compress
    Git(project.directory).commit()
    Hg(project.directory).commit()
    svn = Svn(project.directory, tmp_path / "repository")
    svn("propset", "--quiet", "svn:global-ignores", ".git\n.hg\nfabric.yaml", ".")
    svn.commit()
    wanted = trees.of_source(project.directory, LEFT)
    assert len(wanted) > 5000
    for strategy in strategies:
        everywhere.push(strategy)
        different = trees.differences(wanted, trees.of_release(machine, f"/srv/{strategy}/staged"))
        assert not different, (strategy, different[:5])
        machine.run(f"rm -r /srv/{strategy}")
