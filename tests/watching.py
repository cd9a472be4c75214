"""What can be seen on a machine from outside: command lines and environments, as `/proc` shows them, and files."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Shown:
    """An environment with words in it: the command line of its process, and the users that may read it.

    :ivar owner: who may read it besides root.
    :ivar mode: of the file; the kernel's is 0400.
    """

    command: bytes
    owner: int
    mode: int
    words: frozenset[str]


class Processes:
    """Every process that is seen while it is open: of the laptop, and of hosts that share its kernel.

    :param words: what is looked for in environments.
    :param told: a directory where a file `<owner>.<number of the word>` tells who was seen to have which, for processes
        that would otherwise be gone before anybody looks.
    :ivar seen: command lines.
    :ivar shown: environments that hold one of the words.
    """

    def __init__(self, *words: str, told: Path | None = None) -> None:
        self.seen: set[bytes] = set()
        self.shown: set[Shown] = set()
        self._words = [word.encode() for word in words]
        self._told = told
        self._known: set[tuple[str, bytes]] = set()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Processes:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    self._look(process)

    def _look(self, process: Path) -> None:
        command = (process / "cmdline").read_bytes()
        self.seen.add(command)
        # A process that becomes another has another command line, and a number is seldom used twice.
        if self._words and command and (process.name, command) not in self._known:
            self._known.add((process.name, command))
            place = process / "environ"
            environment, status = place.read_bytes(), place.stat()
            if words := frozenset(word.decode() for word in self._words if word in environment):
                self.shown.add(Shown(command, status.st_uid, status.st_mode & 0o777, words))
                for number, word in enumerate(self._words):
                    if self._told and word.decode() in words:
                        (self._told / f"{status.st_uid}.{number}").touch()

    def with_any(self, *words: str) -> list[bytes]:
        """The command lines that hold one of *words*."""
        return [line for line in self.seen if any(word.encode() in line for word in words)]


def files_with(directory: Path, *words: str) -> list[Path]:
    """The files below *directory* that hold one of *words*, whatever they are."""
    found = []
    for path in directory.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            if any(word.encode() in content for word in words):
                found.append(path)
    return found


def unfinished(base: Path) -> list[Path]:
    """What a deploy left unfinished below *base*; what is out of use is given the time to be removed."""
    deadline = time.monotonic() + 30
    while list(base.glob("*/.partial-*.gone")) and time.monotonic() < deadline:
        time.sleep(0.05)
    return list(base.rglob(".partial-*"))
