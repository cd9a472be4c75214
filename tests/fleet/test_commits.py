"""Code by every strategy to real Debian hosts: what arrives, what it costs, what interrupted pushes leave behind."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import Project
from tests.fleet.relay import fewest_round_trips
from tests.repositories import Git, Hg, needs_git, needs_hg

pytestmark = [pytest.mark.fleet, needs_git]

HG_ROUND_TRIPS = 26  # after the handshake; more than half are of hg itself, which asks for much before it pushes


@pytest.fixture
def web(boot: Any) -> Machine:
    machine: Machine = boot("bookworm", "web1")
    return machine


@pytest.fixture
def project(tmp_path: Path, fleet: Fleet, web: Machine) -> Project:
    made = Project(tmp_path / "tiny", fleet, [web], source={"strategy": "git"})
    (made.directory / ".gitignore").write_text("fabric.yaml\n")
    return made


@pytest.fixture
def git(project: Project) -> Git:
    return Git(project.directory)


def test_sudo_with_a_password_carries_a_commit(project: Project, git: Git, web: Machine) -> None:
    git.commit()
    web.sudoers("deploy ALL=(ALL) ALL\n")
    web.set_password("deploy", "hunter2 'quoted'")
    secrets = project.directory / "secrets.yaml"
    secrets.write_text("sudo: {password: \"hunter2 'quoted'\"}\n")
    project.fab("-f", "secrets.yaml", "deploy")
    assert project.serving(web)["version"] == "one"
    project.assert_tidy(web)


def test_a_commit_far_away_costs_few_round_trips_and_few_bytes(project: Project, git: Git, web: Machine) -> None:
    """Fourteen after the handshake, which takes four: two more than without git, which are its own."""
    (project.directory / "ballast").write_bytes(os.urandom(5 << 20))
    with project.fleet.relay(web, latency_s=0.05) as relay:
        # To extend the lock meanwhile would be two more.
        project.configure(stages={"production": {"hosts": [f"deploy@127.0.0.1:{relay.port}"]}}, lock={"expiry": 600})
        git.commit()
        project.fab("deploy")

        def deploy(number: int) -> None:
            project.version(f"number {number}")
            git.commit()
            project.fab("deploy")
            assert relay.connections == 1
            assert relay.bytes_up < 64 << 10
            assert project.serving(web)["version"] == f"number {number}"

        assert fewest_round_trips(relay, deploy, 4 + 14) <= 4 + 14


def test_a_host_without_git_gets_the_files_of_the_commit(project: Project, git: Git, web: Machine) -> None:
    web.run("rm /usr/bin/git")
    git.commit()
    project.version("two")
    assert f"no git on {web.address}" in project.fab("check").output
    said = project.fab("deploy").output
    assert f"no git on {web.address}: the files of the commit go there as they are" in said
    assert project.serving(web)["version"] == "one"
    assert not web.exists("/srv/tiny/repo")
    project.assert_tidy(web)


def large(project: Project, git: Git) -> None:
    project.version("two")
    (project.directory / "big").write_bytes(os.urandom(150 << 20))
    git.commit()


PUSHING = "ls -d /srv/tiny/repo/objects/*incoming-*"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, None])
def test_a_push_that_is_interrupted_leaves_nothing(project: Project, git: Git, web: Machine, end: int | None) -> None:
    git.commit()
    project.fab("deploy")
    large(project, git)
    web.run("sync")
    before = int(web.run("du -sm /srv/tiny").stdout.split()[0])
    with project.fleet.relay(web) as relay:
        hosts = project.section["stages"]
        project.configure(stages={"production": {"hosts": [f"deploy@127.0.0.1:{relay.port}"]}})
        process = project.start("deploy")
        while web.run(PUSHING, check=False).returncode:
            assert process.poll() is None, process.communicate()[0]
        if end is None:
            relay.cut()
        else:
            process.send_signal(end)
        output, _ = process.communicate(timeout=120)
        assert "Traceback" not in output, output
        assert process.returncode in (4, 130, -signal.SIGKILL), output
        project.configure(stages=hosts)
    assert project.serving(web)["version"] == "one"
    (project.directory / "big").unlink()
    project.version("mended")
    git("checkout", "--quiet", "HEAD~1", "--", ".")
    git("reset", "--quiet", "HEAD~1")
    project.version("mended")
    git.commit()
    project.fab("deploy", "--lock-wait", "30")
    assert project.serving(web)["version"] == "mended"
    project.assert_tidy(web)
    assert int(web.run("du -sm /srv/tiny").stdout.split()[0]) <= before + 2
    releases = web.run("ls /srv/tiny/releases").stdout.split()
    assert web.run("find /srv/tiny/repo/refs -type f -printf '%f\\n' | sort").stdout.split() == releases


def test_a_disk_that_fills_up_while_a_commit_is_pushed(project: Project, git: Git, web: Machine) -> None:
    web.mount_small_disk("/srv/tiny", 300 << 20)
    project.provision(web)
    web.run("chown -R guestbook:guestbook /srv/tiny")
    project.configure(min_free_mb=1)
    git.commit()
    project.fab("deploy")
    large(project, git)
    web.fill_disk("/srv/tiny", 50 << 20)
    said = project.fab("deploy", expect=9).output
    assert "space" in said
    assert project.serving(web)["version"] == "one"
    web.free_disk("/srv/tiny")
    git("reset", "--quiet", "--hard", "HEAD~1")
    project.version("mended")
    git.commit()
    project.fab("deploy")
    assert project.serving(web)["version"] == "mended"
    project.assert_tidy(web)


def test_a_dry_run_shows_the_commit_and_touches_nothing(project: Project, git: Git, web: Machine) -> None:
    commit = git.commit()
    git("tag", "v1")
    before = web.run("find /srv | sort").stdout
    said = project.fab("--dry", "deploy", "--revision", "v1").output
    assert f"would push commit {commit[:7]} (v1) into /srv/tiny/repo" in said
    assert web.run("find /srv | sort").stdout == before
    assert "names no commit" in project.fab("deploy", "--revision", "v2", expect=2).output
    assert web.run("find /srv | sort").stdout == before


def test_releases_that_go_take_their_commits_with_them(project: Project, git: Git, web: Machine) -> None:
    project.configure(keep_releases=1)
    git.commit()
    project.fab("deploy")
    large(project, git)
    project.fab("deploy")
    git("reset", "--quiet", "--hard", "HEAD~1")
    for number in range(2):
        project.version(f"number {number}")
        git.commit()
        project.fab("deploy")
    assert "MiB of the repository" in project.fab("cleanup").output
    assert int(web.run("du -sm /srv/tiny/repo").stdout.split()[0]) <= 2
    project.fab("rollback")
    assert project.serving(web)["version"] == "number 0"
    shutil.rmtree(project.directory / ".git")
    assert "is in no git repository" in project.fab("deploy", expect=2).output


@needs_hg
def test_a_deploy_of_mercurial_far_away_and_cut(tmp_path: Path, fleet: Fleet, boot: Any) -> None:
    web = boot("bookworm-vcs", "web1")
    project = Project(tmp_path / "tiny", fleet, [web], source={"strategy": "hg"})
    (project.directory / ".hgignore").write_text("^fabric.yaml$\n")
    hg = Hg(project.directory)
    with project.fleet.relay(web, latency_s=0.05) as relay:
        # To extend the lock meanwhile would be two more.
        project.configure(stages={"production": {"hosts": [f"deploy@127.0.0.1:{relay.port}"]}}, lock={"expiry": 600})
        hg.commit()
        project.fab("deploy")

        def deploy(number: int) -> None:
            project.version(f"number {number}")
            hg.commit()
            project.fab("deploy")
            assert relay.bytes_up < 64 << 10

        assert fewest_round_trips(relay, deploy, 4 + HG_ROUND_TRIPS) <= 4 + HG_ROUND_TRIPS
        before = project.serving(web)
        (project.directory / "big").write_bytes(os.urandom(50 << 20))
        hg.commit()
        project.configure(lock={"expiry": 4})
        process = project.start("deploy")
        while web.run("ls -d /srv/tiny/repo/.hg/store/journal", check=False).returncode:
            assert process.poll() is None, process.communicate()[0]
        relay.cut()
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 4, output
        assert "Traceback" not in output
    assert project.serving(web) == before
    hg("rm", "--force", "big")
    project.version("mended")
    hg("commit", "--quiet", "-m", "mended")
    project.configure(stages={"production": {"hosts": [f"deploy@{web.address}"]}})
    project.fab("deploy", "--lock-wait", "30")
    assert project.serving(web)["version"] == "mended"
    project.assert_tidy(web)


@needs_hg
def test_a_host_without_mercurial_gets_the_files_of_the_commit(tmp_path: Path, fleet: Fleet, web: Machine) -> None:
    project = Project(tmp_path / "tiny", fleet, [web], source={"strategy": "hg"})
    Hg(project.directory).commit()
    assert f"no hg on {web.address}: the files of the commit go there as they are" in project.fab("deploy").output
    assert project.serving(web)["version"] == "one"
    assert not web.exists("/srv/tiny/repo")
