"""`fab shared.edit` and `fab shared.put`: the copy of a secret here is destroyed, however the editing ends."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fab import FAB
from tests.local.conftest import LocalProject

pytestmark = pytest.mark.parametrize("host", ["openssh"], indirect=True)

# An editor that keeps files beside the copy and replaces it, as editors do; what it has in hand is kept by a link
# elsewhere, so that it can be seen what became of it.
EDITOR = """#!/bin/sh
set -e
test "$1 $2" = "-n one word"; shift 2
here=$(dirname "$1")
stat -c '%a %U' "$here" "$1" > KEPT/modes
echo "$here" > KEPT/place
ln "$1" KEPT/original
cp "$1" "$here/.swap.swp"; ln "$here/.swap.swp" KEPT/swap
mkdir -p "$here/backup/deeper"; cp "$1" "$here/backup/deeper/copy~"; ln "$here/backup/deeper/copy~" KEPT/backup
ln -s KEPT/../app/version.txt "$here/link"; mkfifo "$here/pipe"
echo "OTHER=WORD" > "$here/new"; ln "$here/new" KEPT/new; mv "$here/new" "$1"
touch KEPT/begun
ENDS
"""


class Editing:
    """What an editor is to do, and what it leaves.

    :ivar word: the secret.
    """

    def __init__(self, project: LocalProject, place: Path) -> None:
        self.project = project
        self.kept = place / "kept"
        self.word = "sentinel" + secrets.token_hex(8)
        self.file = project.base / "shared/.env"
        self.place = place / "runtime"  # where nobody else has anything
        self.place.mkdir(mode=0o700)

    def start(self, ends: str, visual: str = "EDITOR -n 'one word'") -> subprocess.Popen[str]:
        self.file.write_text(f"SECRET={self.word}\n")
        shutil.rmtree(self.kept, ignore_errors=True)
        self.kept.mkdir()
        editor = self.kept / "an-editor"
        editor.write_text(EDITOR.replace("ENDS", ends).replace("KEPT", str(self.kept)).replace("WORD", self.word))
        editor.chmod(0o755)
        return subprocess.Popen(
            [FAB, "shared.edit", ".env"],
            cwd=self.project.directory,
            env={**os.environ, "VISUAL": visual.replace("EDITOR", str(editor)), "XDG_RUNTIME_DIR": str(self.place)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def begun(self, process: subprocess.Popen[str]) -> None:
        while not (self.kept / "begun").exists():
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.02)

    def ended(self, process: subprocess.Popen[str], code: int) -> str:
        """What was said; and nothing of the secret is left here, in no file that the editor ever made."""
        said, _ = process.communicate(timeout=60)
        assert process.returncode == code, said
        assert "Traceback" not in said
        assert self.word not in said
        user = getpass.getuser()
        assert (self.kept / "modes").read_text().split() == ["700", user, "600", user]
        assert (self.kept / "place").read_text().startswith(f"{self.place}/")
        assert not list(self.place.iterdir())
        copies = [self.kept / name for name in ("original", "swap", "backup", "new")]
        for copy in copies:
            if copy.exists():  # or the editor removed it itself
                content = copy.read_bytes()
                assert content.strip(b"\0") == b"" and len(content) > 10, copy
        assert (self.project.directory / "version.txt").read_text() == "one\n", "what a link leads to is not ours"
        return said

    @property
    def unchanged(self) -> bool:
        return self.file.read_text() == f"SECRET={self.word}\n"


@pytest.fixture
def editing(project: LocalProject, tmp_path: Path) -> Iterator[Editing]:
    assert project.fab("setup")
    yield Editing(project, tmp_path)


def test_what_an_editor_changed_is_uploaded_and_its_copies_are_destroyed(editing: Editing) -> None:
    for visual in ("EDITOR -n 'one word'", "A=b EDITOR -n \"$(echo 'one word')\""):
        said = editing.ended(editing.start("exit 0", visual), 0)
        assert "reboot-server" in said
        assert editing.file.read_text() == f"OTHER={editing.word}\n"


def test_an_editor_that_fails_or_changes_nothing_leaves_all_as_it_was(editing: Editing) -> None:
    for ends, code, told in [
        ("exit 3", 2, "the editor failed (exit 3); nothing was uploaded"),
        ("kill -KILL $$", 2, "the editor was ended by SIGKILL; nothing was uploaded"),
        ("kill -INT $$", 130, "interrupted; nothing was uploaded"),
        ('cat KEPT/original > "$1"', 0, "nothing was changed"),
        ('rm "$1" KEPT/new', 2, "the editor left no file (No such file or directory); nothing was uploaded"),
        ('rm "$1" KEPT/new; mkdir "$1"', 2, "the editor left no file (Is a directory); nothing was uploaded"),
    ]:
        assert told in editing.ended(editing.start(ends), code)
        assert editing.unchanged


def test_an_upload_that_fails_leaves_no_copy_here(editing: Editing) -> None:
    former = f"{editing.file}.former"
    said = editing.ended(editing.start(f"mv {editing.file} {former}; mkdir {editing.file}"), 5)
    assert f"{editing.file} is not a file" in said
    editing.file.rmdir()
    os.rename(former, editing.file)
    assert editing.unchanged


def test_a_signal_while_the_editor_is_open(editing: Editing) -> None:
    for number, to_all, ends, code in [
        # Ctrl-C in a terminal goes to all; an editor may take it for something else.
        (signal.SIGINT, True, "exec sleep 60", 130),
        (signal.SIGINT, True, "trap 'exit 0' INT; sleep 60 >/dev/null 2>&1 & wait", 0),
        (signal.SIGTERM, False, "exec sleep 60", 130),
        (signal.SIGTERM, False, "trap '' TERM; sleep 60 >/dev/null 2>&1 & wait", 130),
        (signal.SIGHUP, True, "exec sleep 60", 130),
    ]:
        process = editing.start(ends)
        editing.begun(process)
        (os.killpg if to_all else os.kill)(process.pid, number)
        editing.ended(process, code)
        assert editing.unchanged == bool(code)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what an editor began is its own


def test_standard_input_is_put_with_the_mode_that_is_asked_for(editing: Editing) -> None:
    def put(content: bytes, *words: str) -> tuple[int, str]:
        done = subprocess.run(
            [FAB, "shared.put", "-", *words],
            cwd=editing.project.directory,
            input=content,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
        )
        return done.returncode, done.stdout.decode()

    content = b"\0binary\xff\n" * 100_000
    code, said = put(content, "--as", ".env")
    assert code == 0, said
    assert editing.file.read_bytes() == content
    assert editing.file.stat().st_mode & 0o777 == 0o600
    code, said = put(b"", "--as", "conf/new", "--mode", "0640")
    assert code == 0, said
    made = editing.file.parent / "conf/new"
    assert (made.read_bytes(), made.stat().st_mode & 0o777) == (b"", 0o640)
    assert "deploy.shared.files does not name conf/new" in said
    code, said = put(b"", "--as", "conf/new", "--mode", "440")
    assert (code, made.stat().st_mode & 0o777) == (0, 0o440)
    for words, told in {
        (): "say what it is to be called",
        ("--as", "../x"): "--as: '../x'",
        ("--as", "x", "--mode", "0666"): "not writable for group and others",
        ("--as", "x", "--mode", "u=rw"): "must be an octal mode",
        ("--as", "x", "--mode", "0"): "must be an octal mode",
    }.items():
        code, said = put(b"x", *words)
        assert (code, told in said) == (2, True), said
    assert not (editing.file.parent / "x").exists()
