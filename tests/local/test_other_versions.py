"""Commits of Mercurial and revisions of Subversion, over a real SSH server on loopback."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local.conftest import LocalProject, LoopbackHost
from tests.repositories import Hg, Svn, listing, needs_hg, needs_svn
from tests.watching import unfinished

pytestmark = pytest.mark.parametrize("host", ["openssh"], indirect=True)


@pytest.fixture
def project(tmp_path: Path, host: LoopbackHost) -> Iterator[LocalProject]:
    made = LocalProject(tmp_path, host, "hg")
    yield made
    made.stop()


def odd_names(directory: Path) -> None:
    odd = directory / "odd names"
    odd.mkdir()
    for name in ("-dash", "quote'\"", "ünïcode", "$(touch x)", "ends "):
        (odd / name).write_text(name)
    (odd / "link").symlink_to("-dash")
    (odd / "run").write_text("#!/bin/sh\n")
    (odd / "run").chmod(0o775)


def assert_same_as_a_stream(project: LocalProject, strategy: str) -> None:
    found = []
    for each in (strategy, "stream"):
        project.configure(f"{each}, exclude: [fabric.yaml]")
        project.fab("push")
        found.append(listing(project.base / "staged/."))
        shutil.rmtree(project.base / "releases")
        (project.base / "releases").mkdir()
    project.configure(f"{strategy}, exclude: [fabric.yaml]")
    assert found[0]
    assert found[0] == found[1]


@needs_hg
def test_hg_deploys_change_revision_and_roll_back(project: LocalProject) -> None:
    hg = Hg(project.directory)
    odd_names(project.directory)
    first = hg.commit()
    hg("tag", "v1")
    project.fab("deploy")
    assert project.version == "one"
    second = hg("log", "--rev=.", "--template={node}")
    release = (project.base / "current").resolve()
    assert release.name.endswith(second[:12])
    assert f'"commit": "{second}"' in (release / ".release.json").read_text()
    (project.directory / "version.txt").write_text("two\n")
    assert "1 file has changes that are not committed" in project.fab("deploy")
    hg.commit()
    project.fab("deploy")
    assert project.version == "two"
    newer = (project.base / "current").resolve()
    assert (newer / "serve.py").stat().st_ino == (release / "serve.py").stat().st_ino
    assert hg("log", "--rev=.", "--template={phase}") == "draft", "a deploy changes nothing here"
    project.fab("deploy", "--revision", "v1")
    assert project.version == "one"
    assert f"{first[:12]} (v1)" in project.fab("status")
    assert "nothing to change" in project.fab("deploy", "--revision", first)
    assert "names no commit" in project.fab("deploy", "--revision", "v9", expect=2)
    assert "names several commits" in project.fab("deploy", "--revision", "all()", expect=2)
    assert "verify: signed needs strategy: git" in signed(project)
    assert not unfinished(project.base)


def signed(project: LocalProject) -> str:
    project.configure("hg, verify: signed")
    return project.fab("push", expect=2)


@needs_hg
def test_hg_makes_the_release_that_a_stream_makes(project: LocalProject) -> None:
    hg = Hg(project.directory)
    odd_names(project.directory)
    (project.directory / "later").write_text("moves")
    hg.commit()
    assert_same_as_a_stream(project, "hg")
    (project.directory / "version.txt").write_text("two\n")
    (project.directory / "odd names/-dash").unlink()
    (project.directory / "version.txt").chmod(0o755)
    (project.directory / "later").rename(project.directory / "odd names/renamed")
    many = project.directory / "many"
    many.mkdir()
    for number in range(300):
        (many / str(number)).write_text(str(number))
    hg.commit()
    assert_same_as_a_stream(project, "hg")
    library = Hg(project.directory / "library")
    (library.directory / "code.py").write_text("one = 1\n")
    library.commit()
    (project.directory / ".hgsub").write_text("library = library\n")
    hg.commit()
    assert_same_as_a_stream(project, "hg")
    assert (project.directory / "library/.hg").exists()


BUILDS = "  build: [echo once >> ../built]\n"


def built(project: LocalProject) -> int:
    return len((project.directory.parent / "built").read_text().split())


@needs_hg
def test_hg_builds_nothing_of_another_commit_than_is_deployed(project: LocalProject) -> None:
    hg = Hg(project.directory)
    first = hg.commit()
    (project.directory / "version.txt").write_text("two\n")
    second = hg.commit()
    project.configure("hg", extra=BUILDS)
    project.fab("push", "--revision", second)
    said = project.fab("push", "--revision", first, expect=2)
    assert f"would build what is checked out here ({second[:12]}), and {first[:12]} is to be deployed" in said
    assert built(project) == 1
    hg("update", "--quiet", first)
    project.fab("push", "--revision", first)
    assert built(project) == 2
    assert (project.base / "staged/version.txt").read_text() == "one\n"


@needs_svn
def test_svn_builds_nothing_of_another_revision_than_is_deployed(project: LocalProject, tmp_path: Path) -> None:
    svn = Svn(project.directory, tmp_path / "repository")
    first = svn.commit()
    (project.directory / "version.txt").write_text("two\n")
    second = svn.commit()
    svn("copy", "--quiet", "-m", "v1", f"{svn.url}/trunk", f"{svn.url}/tags/v1")
    svn("update", "--quiet")
    project.configure("svn, exclude: [fabric.yaml]", extra=BUILDS)
    # Revisions are numbers of the whole repository: what nobody changed here since is the same under each of them.
    for revision in (second, "HEAD"):
        project.fab("push", "--revision", revision)
    assert built(project) == 2
    for revision, name in ((first, f"r{first} ({first})"), ("tags/v1", "(tags/v1)")):
        said = project.fab("push", "--revision", revision, expect=2)
        assert "would build what is checked out here" in said and f"{name} is to be deployed" in said
    assert built(project) == 2
    svn("update", "--quiet", "--revision", first)
    project.fab("push", "--revision", first)
    assert built(project) == 3


@needs_hg
def test_a_repository_of_hg_that_is_damaged_is_made_anew(project: LocalProject) -> None:
    hg = Hg(project.directory)
    hg.commit()
    project.fab("push")
    store = project.base / "repo/.hg/store"
    for path in store.rglob("*.i"):
        path.write_bytes(b"damaged")
    (project.directory / "version.txt").write_text("two\n")
    hg.commit()
    assert "made anew" in project.fab("push")
    assert (project.base / "staged/version.txt").read_text() == "two\n"
    # A push that was cut and could not take itself back.
    (store / "journal").write_text("")
    (project.directory / "version.txt").write_text("three\n")
    hg.commit()
    project.fab("push")
    assert (project.base / "staged/version.txt").read_text() == "three\n"
    hg("phase", "--force", "--secret", ".")
    assert "is secret, and hg pushes none" in project.fab("push", expect=2)


@needs_hg
def test_a_repository_of_hg_that_has_doubled_is_thrown_away_and_filled_again(project: LocalProject) -> None:
    hg = Hg(project.directory)
    hg.commit()
    project.fab("deploy")
    (project.directory / "large").write_bytes(os.urandom(20 << 20))
    hg.commit()
    project.fab("deploy")
    assert not (project.base / "repo").exists(), "it is 16 MiB and more above twice what it was"
    assert "nothing to change" in project.fab("deploy")
    (project.directory / "version.txt").write_text("two\n")
    hg.commit()
    assert "MiB sent" in project.fab("deploy")
    assert project.version == "two"
    assert (project.base / "repo/.hg").is_dir(), "it has not doubled since it was made"
    project.fab("rollback")
    assert project.version == "one"


@needs_svn
def test_svn_deploys_change_revision_and_tag(project: LocalProject, tmp_path: Path) -> None:
    project.configure("svn, exclude: [fabric.yaml]")
    svn = Svn(project.directory, tmp_path / "repository")
    odd_names(project.directory)
    first = svn.commit()
    project.fab("deploy")
    assert project.version == "one"
    assert (project.base / "current").resolve().name.endswith(f"-r{first}")
    assert not (project.base / "repo").exists()
    svn("copy", "--quiet", "-m", "v1", f"{svn.url}/trunk", f"{svn.url}/tags/v1")
    (project.directory / "version.txt").write_text("two\n")
    assert "1 file has changes that are not committed" in project.fab("deploy")
    second = svn.commit()
    project.fab("deploy")
    assert project.version == "two"
    assert f"r{second}" in project.fab("status")
    project.fab("deploy", "--revision", "tags/v1")
    assert project.version == "one"
    assert "(tags/v1)" in project.fab("status")
    project.fab("deploy", "--revision", second)
    assert project.version == "two"
    assert "names no revision" in project.fab("deploy", "--revision", "tags/v9", expect=2)
    assert "names no revision" in project.fab("deploy", "--revision", "4711", expect=2)
    assert "venv" in project.fab("push", "--revision", first, "update-deps")
    # What is checked out is deployed without asking the server.
    (tmp_path / "repository").rename(tmp_path / "gone")
    project.fab("push", "update-deps")
    assert "names no revision" in project.fab("push", "--revision", "HEAD", expect=2)


@needs_svn
def test_svn_makes_the_release_that_a_stream_makes(project: LocalProject, tmp_path: Path) -> None:
    project.configure("svn, exclude: [fabric.yaml]")
    svn = Svn(project.directory, tmp_path / "repository")
    odd_names(project.directory)
    svn.commit()
    assert_same_as_a_stream(project, "svn")
    (project.directory / "version.txt").write_text("two\n")
    (project.directory / "odd names/-dash").unlink()
    (project.directory / "version.txt").chmod(0o755)
    svn.commit()
    assert_same_as_a_stream(project, "svn")
    assert os.access(project.directory / "version.txt", os.X_OK)
    svn("propset", "--quiet", "svn:externals", f"{svn.url}/tags elsewhere", ".")
    svn.commit()
    assert "which are no part of it" in project.fab("push", expect=3)
