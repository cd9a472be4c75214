"""What a disk may hold after a power cut, of what a host program did: computed from its steps and its syncs.

The model is stricter than any one file system, and near to what the literature found in several (Pillai et al., "All
File Systems Are Not Created Equal", OSDI 2014; Mohan et al., "CrashMonkey", OSDI 2018):

* What is in a file survives from fsync(2) of the file on, or syncfs(2). Before, there may be all of it, a first part,
  none, or zeros; of a file that was written again or added to, also what was in it before.
* A name in a directory survives from fsync(2) of the directory on, or syncfs(2): that of a file does not come with the
  file's own fsync(2). Before, changes of one directory are lost from some moment on, and keep their order; those of
  different directories are lost independently, and independently of what is in the files (so a name may be there, of a
  file whose content is not: ext4's empty file after a rename).
* One rename(2) within a directory happens, or does not. Owners, modes and times are not modelled.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.steps import Step

VARIANTS = ("nothing", "names", "some")
"""What survives of all that was not synced: nothing; every name, and nothing of any file; anything, by chance."""


@dataclass(eq=False)
class File:
    """:ivar contents: what was written to it, in order; each a place in :attr:`Disk.written`.
    :ivar synced: how many of them are durable.
    :ivar added: whether what is written comes behind what is there.
    """

    contents: list[int]
    synced: int = 0
    added: bool = False


@dataclass(eq=False)
class Link:
    target: str


@dataclass(eq=False)
class Directory:
    """:ivar durable: the names that survive.
    :ivar changes: what was done since, in order: names, and what they are now (None for nothing), all at once.
    """

    durable: dict[str, Node] = field(default_factory=dict)
    changes: list[dict[str, Node | None]] = field(default_factory=list)

    def names(self, kept: int | None = None) -> dict[str, Node]:
        """What it holds with the first *kept* of the changes; with all by default."""
        found: dict[str, Node | None] = dict(self.durable)
        for change in self.changes[:kept]:
            found.update(change)
        return {name: node for name, node in found.items() if node is not None}

    def sync(self) -> None:
        self.durable, self.changes = self.names(), []


Node = File | Link | Directory


class Disk:
    """A directory as it was when the work began, all of it durable, and what was done to it since.

    :param base: the path that it had.
    :param saved: where it is kept as it was.
    :param kept: the directory with what steps destroyed.
    :ivar written: every content that a file has had, the file that holds it now; None until it is known: when it is
        destroyed, or in the end.
    """

    def __init__(self, base: Path, saved: Path, kept: Path) -> None:
        self._above = base.parent
        self._kept = kept
        self.written: list[Path | None] = []
        self._root = Directory({base.name: self._loaded(saved, {})} if saved.exists() else {})

    def _loaded(self, path: Path, known: dict[int, File]) -> Node:
        if path.is_symlink():
            return Link(os.readlink(path))
        if path.is_dir():
            return Directory({child.name: self._loaded(child, known) for child in sorted(path.iterdir())})
        number = path.stat().st_ino
        if number not in known:
            known[number] = File([self._new(path)], synced=1)
        return known[number]

    def _new(self, content: Path | None = None) -> int:
        self.written.append(content)
        return len(self.written) - 1

    def apply(self, event: Step) -> None:
        """Do one more of the things that :meth:`World.events` tells of, as far as it can be done: the program may have
        tried what it was ready to see fail."""
        verb, paths, detail = event
        if verb == "keep":
            self._keep(paths[0], self._kept / detail)
            return
        if verb == "syncfs":
            self._sync_all(self._root)
            return
        if verb == "fsync":
            self._sync(self._node(paths[0]))
            return
        try:
            directory, name = self._place(paths[-1])
        except KeyError:
            return
        there = directory.names().get(name)
        if verb == "mkdir":
            if there is None:
                directory.changes.append({name: Directory()})
        elif verb == "symlink":
            if there is None:
                directory.changes.append({name: Link(detail)})
        elif verb == "remove":
            if isinstance(there, File | Link):
                directory.changes.append({name: None})
        elif verb == "rmdir":
            if isinstance(there, Directory) and not there.names():
                directory.changes.append({name: None})
        elif verb == "link":
            if there is None:
                directory.changes.append({name: self._node(paths[0])})
        elif verb == "rename":
            source, former = self._place(paths[0])
            moved = source.names().get(former)
            if source is directory:
                directory.changes.append({name: moved, former: None})
            else:
                directory.changes.append({name: moved})
                source.changes.append({former: None})
        elif verb in ("write", "truncate"):
            self._write(directory, name, there, detail == "append")
        else:
            assert verb in ("chmod", "chown", "utime"), event

    def _place(self, path: str) -> tuple[Directory, str]:
        """The directory that *path* is in, and its name there."""
        above = self._node(os.path.dirname(path))
        assert isinstance(above, Directory), path
        return above, os.path.basename(path)

    def _node(self, path: str) -> Node:
        found: Node = self._root
        parts = os.path.relpath(path, self._above).split("/")
        for part in parts if parts != ["."] else []:
            assert isinstance(found, Directory), path
            found = found.names()[part]
        return found

    def _write(self, directory: Directory, name: str, there: Node | None, added: bool) -> None:
        if there is None:
            directory.changes.append({name: File([self._new()])})
            return
        assert isinstance(there, File), name
        there.contents.append(self._new())
        there.added = added

    def _keep(self, path: str, content: Path) -> None:
        directory, name = self._place(path)
        there = directory.names().get(name)
        assert isinstance(there, File), path
        self._tell(there, content)

    def _tell(self, file: File, content: Path) -> None:
        self.written[file.contents[-1]] = self.written[file.contents[-1]] or content

    @staticmethod
    def _sync(node: Node) -> None:
        if isinstance(node, Directory):
            node.sync()
        elif isinstance(node, File):
            node.synced = len(node.contents)

    def _sync_all(self, node: Node) -> None:
        self._sync(node)
        if isinstance(node, Directory):
            for below in node.durable.values():
                self._sync_all(below)

    def make(self, written: Sequence[Path | None], survives: str, seed: str) -> None:
        """Make at the old path what is there after a power cut at this moment.

        :param written: of a disk to which all was done.
        """
        chance = random.Random(seed)
        made: dict[File, Path] = {}

        def build(node: Node, path: Path) -> None:
            if isinstance(node, Link):
                path.symlink_to(node.target)
            elif isinstance(node, File):
                if node in made:
                    os.link(made[node], path)
                else:
                    made[node] = path
                    _fill(path, node, written, survives, chance)
            else:
                if path != self._above:
                    path.mkdir()
                count = len(node.changes)
                kept = {"nothing": 0, "names": count, "some": chance.randint(0, count)}[survives]
                for name, below in sorted(node.names(kept).items()):
                    build(below, path / name)

        build(self._root, self._above)

    def learn_contents(self, there: Path) -> None:
        """What was never destroyed is told by *there*, the directory as it is when all is done."""
        self._learn(self._root, there.parent)

    def _learn(self, node: Node, path: Path) -> None:
        if isinstance(node, Directory):
            for name, below in node.names().items():
                self._learn(below, path / name)
        elif isinstance(node, File):
            self._tell(node, path)


def _fill(path: Path, file: File, written: Sequence[Path | None], survives: str, chance: random.Random) -> None:
    latest = written[file.contents[-1]]
    before = written[file.contents[file.synced - 1]] if file.synced else None
    assert latest is not None, path
    if file.synced == len(file.contents):
        shutil.copy2(latest, path)
        return
    shutil.copymode(latest, _touched(path))
    former, now = before.read_bytes() if before else b"", latest.read_bytes()
    start = former if file.added else b""
    half = now[: len(start) + (len(now) - len(start)) // 2]
    zeros = start + bytes(len(now) - len(start))
    if survives == "nothing":
        content = former
    elif survives == "names":
        content = start
    else:
        content = chance.choice([former, start, half, zeros, now])
    path.write_bytes(content)


def _touched(path: Path) -> Path:
    path.touch()
    return path
