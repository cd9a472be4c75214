"""A tree is removed as far as it can be, and what is in the way is named."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.hostside import erasing

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may make what belongs to others")


@pytest.fixture
def top() -> Iterator[Path]:
    """A directory that other users may reach."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def by(uid: int, work: Callable[[], list[erasing.Left]]) -> list[erasing.Left]:
    """What *work* says when another user does it."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.setuid(uid)
        os.write(writing, json.dumps(work()).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as stream:
        said = stream.read()
    os.waitpid(child, 0)
    return [erasing.Left(*each) for each in json.loads(said)]


def tree(path: Path, uid: int = -1) -> Path:
    path.mkdir(parents=True)
    (path / "file").write_text("x")
    for each in (path, path / "file"):
        os.chown(each, uid, -1)
    return path


def test_what_a_link_leads_to_stays(top: Path) -> None:
    kept = tree(top / "kept")
    gone = tree(top / "gone")
    (gone / "link").symlink_to(kept)
    (gone / "broken").symlink_to("nothing")
    assert erasing.erase(str(gone)) == []
    assert os.listdir(top) == ["kept"]
    assert (kept / "file").exists()
    (top / "link").symlink_to(kept)
    assert erasing.erase(str(top / "link")) == erasing.erase(str(top / "link")) == []
    assert (kept / "file").exists()
    assert erasing.erase(str(top / "none/at/all")) == []


def test_a_tree_that_is_deeper_than_descriptors_and_paths_go_is_removed(top: Path) -> None:
    (top / "gone").mkdir()
    here = os.open(top / "gone", os.O_RDONLY)
    for _ in range(1_200):
        os.mkdir("directory", dir_fd=here)
        inner = os.open("directory", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    assert erasing.erase(str(top / "gone")) == []
    assert os.listdir(top) == []


@as_root
def test_directories_that_took_rights_from_their_owner_are_removed(top: Path) -> None:
    os.chown(top, NOBODY, -1)
    for mode in (0o000, 0o400, 0o500, 0o600):
        tree(top / f"gone/{mode:o}", NOBODY).chmod(mode)
    os.chown(top / "gone", NOBODY, -1)
    assert by(NOBODY, lambda: erasing.erase(str(top / "gone"))) == []
    assert os.listdir(top) == []


@as_root
def test_what_others_own_goes_where_it_can_and_is_named_where_not(top: Path) -> None:
    os.chown(top, NOBODY, -1)
    gone = tree(top / "gone", NOBODY)
    (gone / "file of root").touch()
    (gone / "empty of root").mkdir(0o700)
    tree(gone / "own", NOBODY)
    tree(gone / "closed", 0).chmod(0o700)
    tree(gone / "a/open", 0)
    os.chown(gone / "a", NOBODY, -1)
    tree(gone / "a/open/inner", NOBODY)
    assert sorted(by(NOBODY, lambda: erasing.erase(str(gone)))) == [
        erasing.Left(f"{gone}/a/open", "root", errno.EACCES),
        erasing.Left(f"{gone}/closed", "root", errno.EACCES),
    ]
    left = {str(path.relative_to(gone)) for path in gone.rglob("*")}
    assert left == {"a", "a/open", "a/open/file", "a/open/inner", "closed", "closed/file"}
    assert erasing.erase(str(gone)) == []


@as_root
def test_what_is_mounted_inside_of_a_tree_stays_of_whatever_file_system(top: Path) -> None:
    kept = tree(top / "kept media")
    for name in ("bound to", "other"):
        tree(top / f"gone/{name}")
    subprocess.run(["mount", "--bind", kept, top / "gone/bound to"], check=True)
    try:
        subprocess.run(["mount", "-t", "tmpfs", "none", top / "gone/other"], check=True)
        try:
            (top / "gone/other/file").touch()
            left = erasing.erase(str(top / "gone"))
            assert sorted(left) == [
                erasing.Left(f"{top}/gone/{name}", "root", errno.EBUSY) for name in ("bound to", "other")
            ]
            assert (top / "gone/other/file").exists()
        finally:
            subprocess.run(["umount", top / "gone/other"], check=True)
    finally:
        subprocess.run(["umount", top / "gone/bound to"], check=True)
    assert (kept / "file").exists()
    assert erasing.erase(str(top / "gone")) == []
