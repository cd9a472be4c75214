"""What `check` finds wrong in `shared/`, on a temporary directory: the same code as on a server."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.hostside import disk, dotenv, sharedpaths
from deploy.hostside.layout import Layout


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    made = tmp_path / "srv" / "shared"
    made.mkdir(parents=True)
    return made


def wrong(shared: Path, files: list[str], dirs: list[str]) -> dict[str, str]:
    return dict(sharedpaths.wrong(Layout(str(shared.parent)), files, dirs))


def test_what_is_as_it_should_be_or_not_there_yet_is_not_wrong(shared: Path) -> None:
    (shared / ".env").write_text("A=1\n")
    (shared / "media").mkdir()
    assert wrong(shared, [".env", "new"], ["media", "later/on"]) == {}
    assert sharedpaths.missing(Layout(str(shared.parent)), [".env", "new"]) == ["new"]


def test_a_directory_for_a_file_and_a_file_for_a_directory_are_named(shared: Path) -> None:
    (shared / ".env").mkdir()
    (shared / "media").write_text("")
    (shared / "gone").symlink_to("nowhere")
    found = wrong(shared, [".env", "media/key"], ["media", "gone"])
    assert "is a directory" in found[".env"]
    assert "is not a directory" in found["media"]
    assert "lies below something" in found["media/key"]
    assert "link to nothing" in found["gone"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user who may not read")
def test_an_environment_that_the_deploy_user_may_not_read_is_wrong_and_another_file_doubtful(shared: Path) -> None:
    for name in (".env", "key.pem"):
        (shared / name).write_text("A=1\n")
        (shared / name).chmod(0o600)
    os.chdir(shared)
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        layout = Layout("/proc/self/cwd/..")
        found = [name for name, _ in sharedpaths.wrong(layout, [".env", "key.pem"], [])]
        doubts = [name for name, _ in sharedpaths.doubtful(layout, [".env", "key.pem"])]
        os._exit(0 if (found, doubts) == ([".env"], ["key.pem"]) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_environment_that_is_a_pipe_is_wrong_and_nobody_waits_for_it(shared: Path) -> None:
    os.mkfifo(shared / ".env")
    assert wrong(shared, [".env"], []) == {".env": "is not a file"}
    with pytest.raises(disk.NotAFile):
        dotenv.read(str(shared / ".env"))


def test_an_environment_that_everybody_may_read_is_doubtful(shared: Path) -> None:
    (shared / ".env").write_text("A=1\n")
    (shared / ".env").chmod(0o644)
    ((name, doubt),) = sharedpaths.doubtful(Layout(str(shared.parent)), [".env"])
    assert name == ".env"
    assert "0644" in doubt
    (shared / ".env").chmod(0o640)
    assert sharedpaths.doubtful(Layout(str(shared.parent)), [".env"]) == []
