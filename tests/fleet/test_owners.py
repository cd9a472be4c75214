"""An application that runs as another user than the one who deploys, and writes where it should not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import Project

pytestmark = pytest.mark.fleet

SERVICE = "[Service]\nUser=www-data\n"
# The application's own directory, closed to others, with a link out of it; its files beside the code; a file of root's.
WRITES = """
set -e; cd /srv/tiny/current/
install -d -m 0750 -o www-data -g www-data cache cache/deep; install -d -o www-data empty
echo x > cache/deep/file; ln -s /srv/outside cache/link; touch cache.log by-root; chown www-data cache.log
"""


@pytest.fixture
def web(boot: Any) -> Machine:
    machine: Machine = boot("bookworm", "web1")
    machine.write("/etc/systemd/system/tiny.service.d/user.conf", SERVICE)
    machine.write("/srv/outside/kept", "x")
    return machine


@pytest.fixture
def project(tmp_path: Path, fleet: Fleet, web: Machine) -> Project:
    """The last good release and the one before it stay."""
    return Project(tmp_path / "tiny", fleet, [web], keep_releases=1)


def deploy(project: Project, web: Machine, version: str) -> str:
    """A deploy of a version, which then writes; what was said."""
    project.version(version)
    said = project.fab("deploy").output
    assert project.serving(web)["version"] == version
    web.run(WRITES)
    return said


def out_of_use(web: Machine) -> list[str]:
    return web.run("ls -d /srv/tiny/*/.partial-*", check=False).stdout.split()


def releases(web: Machine) -> int:
    return len(web.run("ls -A /srv/tiny/releases").stdout.split())


def await_remover(web: Machine) -> None:
    """Wait until the process is done that removes what the deploy user can."""
    web.run("flock --shared --timeout 60 /srv/tiny/venvs true")


def test_what_others_own_in_an_old_release_is_removed_by_root_and_what_is_mounted_there_stays(
    project: Project, web: Machine
) -> None:
    deploy(project, web, "one")
    web.run("chown -R www-data: /srv/tiny/current/; chmod 0700 /srv/tiny/current/cache")
    web.run("mkdir /srv/tiny/current/cache/mounted; mount --bind /srv/outside /srv/tiny/current/cache/mounted")
    project.configure(source={"strategy": "rsync"})  # it compares with a release that it may not read
    deploy(project, web, "two")
    assert "nothing stands in the way" in project.fab("check").output
    deploy(project, web, "three")
    await_remover(web)
    said = deploy(project, web, "four")
    assert f"{web.address}: warning: out of use, and cannot be removed: /srv/tiny/releases/.partial-" in said
    assert "/cache/mounted: something is mounted there" in said
    web.run("umount /srv/tiny/releases/.partial-*/cache/mounted")
    await_remover(web)
    said = project.fab("cleanup").output
    assert "removed what others had made in it, as root" in said
    assert not out_of_use(web)
    assert releases(web) == 2
    assert web.read("/srv/outside/kept") == "x"

    # A release that fails before it serves is no different.
    project.configure(
        hooks={"after_push": [{"command": "install -d -o www-data cache && touch cache/x", "sudo": True}]},
        migrate={"command": "false"},
    )
    project.version("five")
    project.fab("deploy", expect=10)
    assert len(out_of_use(web)) == 1
    project.fab("deploy", expect=10)
    assert len(out_of_use(web)) == 2
    project.configure(hooks={}, migrate={"command": "true"})
    assert "what others had made in it, as root" in deploy(project, web, "six")
    assert not out_of_use(web)
    assert releases(web) == 2


def test_what_others_own_is_in_no_deploys_way_where_nobody_may_become_root(project: Project, web: Machine) -> None:
    web.sudoers(
        "deploy ALL=(guestbook) NOPASSWD: ALL\ndeploy ALL=(root) NOPASSWD: /usr/bin/systemctl restart tiny.service\n"
    )
    deploy(project, web, "one")
    told = f"{web.address}: warning: only root will be able to remove /srv/tiny/releases/{project.current(web)}/cache"
    said = project.fab("check").output
    assert f"{told}: it belongs to www-data; what the application writes belongs into shared/" in said
    deploy(project, web, "two")
    deploy(project, web, "three")
    await_remover(web)
    said = deploy(project, web, "four")
    assert said.count("out of use, and cannot be removed (") == 1
    assert (
        f"/cache: it belongs to www-data; as root: rm -rf --one-file-system -- {project.base}/*/.partial-*.gone" in said
    )
    await_remover(web)
    said = project.fab("cleanup").output
    assert "it belongs to www-data; " in said
    assert [web.run(f"find {path} -type f").stdout.count("\n") for path in out_of_use(web)] == [1, 1], "cache/deep/file"
    assert releases(web) == 2 + 2
    web.run(said.split("as root: ")[1].splitlines()[0])
    assert not out_of_use(web)
    assert "cannot be removed" not in project.fab("cleanup").output


def test_check_says_what_of_others_is_in_a_deploys_way(project: Project, web: Machine) -> None:
    project.fab("deploy")
    web.run(
        "cd /srv/tiny/shared; chown www-data: data; install -d -o www-data uploads; "
        "install -d -m 0700 -o www-data data/closed; touch data/closed/x y"
    )
    deploy(project, web, "two")
    project.configure(shared={"files": [".env"], "dirs": ["data", "uploads/pictures"]})
    web.run("chown root: /srv/tiny/.deploy/journal.jsonl; chmod 0600 /srv/tiny/.deploy/journal.jsonl")
    said = project.fab("check", expect=5).output
    assert "/srv/tiny/.deploy/journal.jsonl belongs to root, and guestbook has to write to it" in said
    cannot = "/srv/tiny/shared/uploads/pictures cannot be made: /srv/tiny/shared/uploads belongs to www-data"
    assert cannot in said
    project.version("three")
    assert cannot in project.fab("deploy", expect=5).output
    assert project.serving(web)["version"] == "two"
    web.run("install -d -o www-data /srv/tiny/shared/uploads/pictures; chown guestbook: /srv/tiny/.deploy/*.jsonl")
    assert web.exists("/srv/tiny/shared/data/closed/x")
    project.fab("check")
    project.fab("deploy")
    assert project.serving(web)["version"] == "three"
