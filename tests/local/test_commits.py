"""Commits over real SSH servers on loopback: what arrives, what travels, what is refused."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.local.conftest import LocalProject, LoopbackHost
from tests.repositories import Git, listing, needs_git
from tests.watching import unfinished

pytestmark = needs_git


@pytest.fixture
def project(tmp_path: Path, host: LoopbackHost) -> Iterator[LocalProject]:
    made = LocalProject(tmp_path, host, "git")
    yield made
    made.stop()


@pytest.fixture
def git(project: LocalProject) -> Git:
    return Git(project.directory)


def odd_names(directory: Path) -> None:
    odd = directory / "odd names"
    odd.mkdir()
    for name in ("-dash", "new\nline", "quote'\"", "ünïcode", "$(touch x)", os.fsdecode(b"latin-\xe9"), "ends "):
        (odd / name).write_text(name, errors="surrogateescape")
    (odd / "link").symlink_to("-dash")
    (odd / "run").write_text("#!/bin/sh\n")
    (odd / "run").chmod(0o775)


def current(project: LocalProject) -> Path:
    return (project.base / "current").resolve()


def test_deploy_change_and_roll_back(project: LocalProject, git: Git) -> None:
    odd_names(project.directory)
    (project.directory / ".env").write_text("never travels")
    first = git.commit()
    said = project.fab("deploy")
    assert project.version == "one"
    release = current(project)
    assert release.name.endswith(first[:7])
    assert first[:7] in project.fab("status")
    assert f'"commit": "{first}"' in (release / ".release.json").read_text()
    assert git("rev-parse", "HEAD") == first
    assert f"refs/deploy/{release.name}" in said or (project.base / "repo/refs/deploy" / release.name).exists()

    (project.directory / "version.txt").write_text("two\n")
    assert "1 file has changes that are not committed" in project.fab("deploy")
    assert project.version == "one", "what is not committed does not travel"
    git.commit()
    project.fab("deploy")
    assert project.version == "two"
    newer = current(project)
    assert (newer / "serve.py").stat().st_ino == (release / "serve.py").stat().st_ino
    assert "nothing to change" in project.fab("deploy")
    project.fab("rollback")
    assert project.version == "one"
    assert not unfinished(project.base)


@pytest.mark.parametrize("host", ["openssh"], indirect=True)
def test_every_strategy_makes_the_same_release(project: LocalProject, git: Git) -> None:
    odd_names(project.directory)
    (project.directory / "later").write_text("moves")

    def look(change: str) -> None:
        git.commit(change)
        found = {}
        for strategy in ("git", "stream", *(["rsync"] if shutil.which("rsync") else [])):
            project.configure(f"{strategy}, exclude: [fabric.yaml]")
            project.fab("push")
            found[strategy] = listing(project.base / "staged/.")
            shutil.rmtree(project.base / "releases")
            (project.base / "releases").mkdir()
        assert found["git"]
        for strategy, files in found.items():
            assert files == found["git"], (change, strategy)

    look("first")
    (project.directory / "version.txt").write_text("two\n")
    (project.directory / "odd names/-dash").unlink()
    (project.directory / "version.txt").chmod(0o755)
    (project.directory / "later").rename(project.directory / "odd names/renamed")
    look("changed, removed, mode, renamed")
    (project.directory / ".gitattributes").write_text("*.crlf text eol=crlf\n*.id ident\nhidden export-ignore\n")
    (project.directory / "dos.crlf").write_bytes(b"one\r\ntwo\r\n")
    (project.directory / "what.id").write_text("$Id$\n")
    (project.directory / "hidden").write_text("travels: attributes for archives are not looked at")
    git.commit()
    (project.directory / "what.id").unlink()
    git("checkout", "what.id")
    look("attributes")


@pytest.mark.parametrize("host", ["openssh"], indirect=True)
def test_tags_branches_and_commits_are_deployed_by_name(project: LocalProject, git: Git) -> None:
    first = git.commit()
    git("tag", "-a", "v1", "-m", "one")
    (project.directory / "version.txt").write_text("two\n")
    second = git.commit()
    git("branch", "other")
    (project.directory / "version.txt").write_text("three\n")
    git.commit()
    (project.directory / "requirements.txt").write_text("this is no lock file")

    def deployed(revision: str) -> str:
        project.fab("deploy", "--revision", revision)
        return project.version

    assert deployed("v1") == "one", "with the lock file of the commit, whatever lies here"
    assert f"{first[:7]} (v1)" in project.fab("status")
    assert deployed("other") == "two"
    assert deployed(first) == "one"
    assert deployed(second[:9]) == "two"
    git("checkout", "--quiet", "--force", "main")
    before = sorted(os.listdir(project.base / "releases"))
    said = project.fab("deploy", "--revision", "v9", expect=2)
    assert "'v9' names no commit of" in said
    assert "git fetch --tags" in said
    assert "is no revision" in project.fab("deploy", "--revision=--all", expect=2)
    assert "names no commit" in project.fab("deploy", "--revision=", expect=2)
    assert sorted(os.listdir(project.base / "releases")) == before
    project.configure("stream")
    assert "only what lies here can be deployed" in project.fab("deploy", "--revision", "v1", expect=2)


@pytest.mark.parametrize("host", ["openssh"], indirect=True)
def test_a_signature_that_does_not_verify_stops_the_deploy(project: LocalProject, git: Git, tmp_path: Path) -> None:
    client = tmp_path / "client"
    allowed = tmp_path / "allowed"
    allowed.write_text(f"test@example.com {(client / 'id_ed25519.pub').read_text()}")
    project.configure("git, verify: signed")
    git.commit()
    git.sign_with(client / "id_ed25519", allowed)
    said = project.fab("push", expect=5)
    assert "has no signature" in said
    assert not (project.base / "releases").exists()

    git.commit("signed", "-S")
    assert 'Good "git" signature' in project.fab("push")
    signed = git("rev-parse", "HEAD")
    git.commit("unsigned")
    git("tag", "-s", "v1", "-m", "one")
    project.fab("push", "--revision", "v1")
    assert "has no signature" in project.fab("push", expect=5)

    # Somebody else's signature, and one of another commit.
    allowed.write_text(f"test@example.com {(project.host.directory / 'host_key.pub').read_text()}")
    assert "no signature that verifies" in project.fab("push", "--revision", signed, expect=5)
    allowed.write_text(f"test@example.com {(client / 'id_ed25519.pub').read_text()}")
    forged = git("cat-file", "commit", signed).replace("signed", "forged")
    done = subprocess.run(
        ["git", "hash-object", "-t", "commit", "-w", "--stdin"],
        cwd=project.directory,
        input=forged + "\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert "no signature that verifies" in project.fab("push", "--revision", done.stdout.strip(), expect=5)
    project.configure("stream, verify: signed")
    assert "verify: signed needs strategy: git" in project.fab("push", expect=2)


@pytest.mark.parametrize("host", ["openssh"], indirect=True)
def test_submodules_are_part_of_the_release(project: LocalProject, git: Git, tmp_path: Path) -> None:
    inner = Git(tmp_path / "inner")
    (inner.directory / "deep.txt").write_text("deep\n")
    inner.commit()
    library = Git(tmp_path / "library")
    (library.directory / "code.py").write_text("one = 1\n")
    (library.directory / "run").write_text("#!/bin/sh\n")
    (library.directory / "run").chmod(0o755)
    library("submodule", "--quiet", "add", str(inner.directory), "inner")
    library.commit()
    git("submodule", "--quiet", "add", "--name", "lib", str(library.directory), "vendor/library")
    git.commit()
    said = project.fab("push", expect=3)
    assert "vendor/library/inner is a submodule that is not initialised" in said
    assert "git submodule update --init --recursive" in said
    git("submodule", "--quiet", "update", "--init", "--recursive")
    (project.directory / "vendor/library/code.py").write_text("changed and not committed\n")
    project.fab("push")
    staged = project.base / "staged/vendor/library"
    assert (staged / "code.py").read_text() == "one = 1\n"
    assert (staged / "inner/deep.txt").read_text() == "deep\n"
    assert os.access(staged / "run", os.X_OK)
    assert not list(staged.rglob(".git"))

    (library.directory / "code.py").write_text("two = 2\n")
    newer = library.commit()
    git("update-index", "--cacheinfo", f"160000,{newer},vendor/library")
    git("commit", "--quiet", "-m", "ahead")
    assert "vendor/library is a submodule that has not got its commit" in project.fab("push", expect=3)
    project.configure("git, exclude: [vendor]")
    project.fab("push")
    assert not (project.base / "staged/vendor").exists()


@pytest.mark.parametrize("host", ["openssh"], indirect=True)
def test_pointers_of_git_lfs_are_resolved_from_this_disk_or_refused(project: LocalProject, git: Git) -> None:
    content = os.urandom(200_000)
    oid = hashlib.sha256(content).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n"
    (project.directory / ".gitattributes").write_text("*.bin filter=lfs -text\n")
    (project.directory / "large.bin").write_text(pointer)
    (project.directory / "example.txt").write_text(pointer)
    git("config", "filter.lfs.clean", "cat")
    git("config", "filter.lfs.required", "true")
    git("config", "filter.lfs.smudge", "git-lfs-that-is-not-there smudge -- %f")
    git.commit()
    said = project.fab("push", expect=3)
    assert "large.bin is a pointer of Git LFS, and its content is not on this machine: git lfs fetch" in said
    store = project.directory / ".git/lfs/objects" / oid[:2] / oid[2:4]
    store.mkdir(parents=True)
    (store / oid).write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert "is a pointer of Git LFS" in project.fab("push", expect=3), "a damaged store is no store"
    (store / oid).write_bytes(content)
    project.fab("push")
    assert (project.base / "staged/large.bin").read_bytes() == content
    assert (project.base / "staged/example.txt").read_text() == pointer, "a file that only looks like one"


@pytest.mark.parametrize("host", ["openssh"], indirect=True)
def test_a_clone_of_depth_one_is_enough(project: LocalProject, git: Git, tmp_path: Path) -> None:
    for number in range(3):
        (project.directory / "version.txt").write_text(f"{number}\n")
        git.commit()
    origin = tmp_path / "origin"
    project.directory.rename(origin)

    def clone() -> None:
        shutil.rmtree(project.directory, ignore_errors=True)
        line = ["git", "clone", "--quiet", "--depth=1", f"file://{origin}", str(project.directory)]
        subprocess.run(line, check=True, capture_output=True)

    clone()
    project.fab("push")
    assert (project.base / "staged/version.txt").read_text() == "2\n"
    (origin / "version.txt").write_text("4\n")
    Git(origin).commit()
    clone()
    project.fab("push")
    assert (project.base / "staged/version.txt").read_text() == "4\n"
    shutil.rmtree(project.directory)
    origin.rename(project.directory)
    (project.directory / "version.txt").write_text("5\n")
    git.commit()
    project.fab("push")
    assert (project.base / "staged/version.txt").read_text() == "5\n"


@pytest.mark.parametrize("host", ["openssh"], indirect=True)
def test_a_part_of_a_repository_and_what_was_built(project: LocalProject, git: Git, tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    project.directory.rename(top / "app")
    project.directory = top / "app"
    shutil.rmtree(project.directory / ".git")
    (top / "elsewhere").write_text("not part of it")
    (project.directory / ".gitignore").write_text("static\n")
    project.configure("git", extra="  build: [{command: mkdir -p static && date > static/app.js, outputs: [static]}]\n")
    text = (project.directory / "fabric.yaml").read_text()
    (project.directory / "fabric.yaml").write_text(text.replace("../client", "../../client"))
    Git(top).commit()
    project.fab("push")
    staged = project.base / "staged"
    assert (staged / "version.txt").read_text() == "one\n"
    assert (staged / "static/app.js").read_text() == (project.directory / "static/app.js").read_text()
    assert not (staged / "elsewhere").exists()


@pytest.mark.parametrize("host", ["openssh"], indirect=True)
def test_a_repository_that_is_damaged_is_made_anew(project: LocalProject, git: Git) -> None:
    git.commit()
    project.fab("push")
    shutil.rmtree(project.base / "repo/objects")
    (project.directory / "version.txt").write_text("two\n")
    git.commit()
    assert "made anew" in project.fab("push")
    assert (project.base / "staged/version.txt").read_text() == "two\n"
    shutil.rmtree(project.base / "repo")
    (project.base / "repo").mkdir()
    (project.base / "repo/precious").touch()
    (project.directory / "version.txt").write_text("three\n")
    git.commit()
    assert "was not made by fabric-wheelhouse" in project.fab("push", expect=9)
    assert (project.base / "repo/precious").exists()


@pytest.mark.parametrize("host", ["openssh"], indirect=True)
def test_only_what_is_missing_travels_and_what_no_release_needs_goes(project: LocalProject, git: Git) -> None:
    project.configure("git", extra="  keep_releases: 1\n")
    git.commit("base")
    project.fab("deploy")
    size = tree_size(project.base / "repo")
    (project.directory / "large").write_bytes(os.urandom(30 << 20))
    git.commit("much")
    assert sent(project.fab("deploy")) > 29 << 20
    (project.directory / "version.txt").write_text("two\n")
    git.commit("little")
    assert sent(project.fab("deploy")) < 8 << 10
    git("reset", "--quiet", "--hard", "HEAD~2")
    for number in range(3):
        (project.directory / "version.txt").write_text(f"{number} more\n")
        git.commit()
        project.fab("deploy")
    assert "MiB of the repository" in project.fab("cleanup")
    assert tree_size(project.base / "repo") < size + (1 << 20)
    kept = sorted(os.listdir(project.base / "releases"))
    refs = subprocess.run(
        ["git", f"--git-dir={project.base}/repo", "for-each-ref", "--format=%(refname)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert refs.stdout.split() == [f"refs/deploy/{name}" for name in kept]


def tree_size(directory: Path) -> int:
    return sum(path.lstat().st_size for path in directory.rglob("*") if path.is_file())


def sent(said: str) -> int:
    """The bytes that a push says it sent."""
    match = re.search(r"([\d.]+) (B|KiB|MiB) sent of", said)
    assert match, said
    return int(float(match[1]) * {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20}[match[2]])
