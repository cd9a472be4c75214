"""One file of `shared/` is replaced as a whole, and is at no moment open to others."""

from __future__ import annotations

import base64
import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.hostside import leftovers, releases, sharedfiles
from deploy.hostside.failure import Failure
from deploy.hostside.layout import Layout

SALT = "salt"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "shared").mkdir()
    return Layout(str(tmp_path))


def put(layout: Layout, name: str, content: bytes, **more: Any) -> bool:
    told = base64.b64encode(content).decode()
    changed: bool = sharedfiles.put(layout, name, told, SALT, **more)["changed"]
    return changed


def mode(layout: Layout, name: str) -> int:
    return stat.S_IMODE(os.stat(layout.path("shared", name)).st_mode)


def test_who_reads_it_meanwhile_gets_one_of_both_and_never_a_part(layout: Layout) -> None:
    contents = {letter * 300_000 for letter in (b"a", b"b")}
    path = Path(layout.path("shared/.env"))
    put(layout, ".env", b"a" * 300_000)
    seen: set[bytes] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(20):
        for content in sorted(contents):
            put(layout, ".env", content)
    done.set()
    reader.join()
    assert seen <= contents
    assert os.listdir(layout.path("shared")) == [".env"]


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
def test_it_is_open_to_nobody_else_at_any_moment(layout: Layout, mocker: Any) -> None:
    modes = []
    fsync = os.fsync

    def look(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            modes.extend(entry.stat().st_mode & 0o777 for entry in os.scandir(layout.path("shared")))
        fsync(descriptor)

    opened = mocker.spy(os, "open")
    mocker.patch("deploy.hostside.sharedfiles.os.fsync", look)
    assert put(layout, ".env", b"x")
    assert modes == [0o600]
    made = [call for call in opened.call_args_list if len(call.args) > 1 and call.args[1] & os.O_CREAT]
    assert [call.args[2] for call in made] == [0o600], "it is made so, not changed to it"


def test_the_mode_of_the_former_file_stays_unless_another_is_asked_for(layout: Layout) -> None:
    assert put(layout, "conf/key", b"1")
    assert mode(layout, "conf/key") == 0o600
    os.chmod(layout.path("shared/conf/key"), 0o440)
    assert put(layout, "conf/key", b"2")
    assert mode(layout, "conf/key") == 0o440
    assert not put(layout, "conf/key", b"2")
    assert put(layout, "conf/key", b"2", mode=0o640)
    assert mode(layout, "conf/key") == 0o640


def test_what_somebody_else_changed_is_left_as_it_is(layout: Layout) -> None:
    before = sharedfiles.look(layout, [".env"], SALT)["files"][".env"]
    assert before == sharedfiles.MISSING
    Path(layout.path("shared/.env")).write_text("theirs")
    with pytest.raises(Failure, match="changed by somebody else"):
        put(layout, ".env", b"mine", expect=before)
    assert Path(layout.path("shared/.env")).read_text() == "theirs"


def test_a_link_a_directory_and_what_lies_outside_are_refused(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("x")
    Path(layout.path("shared/link")).symlink_to(tmp_path / "outside")
    for name in ("link", ".", "../outside", "", "/etc/passwd"):
        with pytest.raises(Failure):
            put(layout, name, b"y")
    assert (tmp_path / "outside").read_text() == "x"


def test_a_disk_that_is_full_leaves_the_former_file_and_nothing_beside_it(layout: Layout, mocker: Any) -> None:
    put(layout, ".env", b"former")
    mocker.patch("deploy.hostside.sharedfiles.os.fsync", side_effect=OSError(errno.ENOSPC, "full"))
    with pytest.raises(OSError, match="full"):
        put(layout, ".env", b"new")
    assert os.listdir(layout.path("shared")) == [".env"]
    assert Path(layout.path("shared/.env")).read_bytes() == b"former"


def test_what_one_that_died_left_goes_with_the_next_and_nothing_else(layout: Layout) -> None:
    for name in ("releases", "venvs", "wheels", ".deploy"):
        os.mkdir(layout.path(name))
    left = Path(layout.path("shared", leftovers.PREFIX + "0123abcd"))
    theirs = Path(layout.path("shared/.partial-upload"))
    theirs.write_text("of the application")
    left.write_text("secret")
    assert releases.unfinished(layout)
    releases.sweep(layout)
    assert not left.exists()
    left.write_text("secret")
    put(layout, "certificates/key.pem", b"key")
    assert not left.exists()
    assert not releases.unfinished(layout)
    assert theirs.exists()


def test_what_is_being_put_just_now_is_left_alone(layout: Layout) -> None:
    (Path(layout.base) / ".deploy").mkdir()
    at_work = Path(layout.path("shared", leftovers.PREFIX + "0123abcd"))
    at_work.write_text("secret")
    with leftovers.alone(layout):
        leftovers.sweep(layout)
        assert at_work.exists()
    leftovers.sweep(layout)
    assert not at_work.exists()


def test_a_new_file_has_the_group_that_its_directory_gives(layout: Layout) -> None:
    directory = Path(layout.path("shared/private"))
    directory.mkdir()
    group = next((each for each in os.getgroups() if each != os.getegid()), 7 if os.geteuid() == 0 else None)
    if group is None:
        pytest.skip("the user is in one group only")
    os.chown(directory, -1, group)
    directory.chmod(0o2755)
    put(layout, "private/key", b"key")
    assert (directory / "key").stat().st_gid == group
