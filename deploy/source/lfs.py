"""Files of Git LFS: a commit holds a pointer in their place; the content is taken from this disk, or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path

from ..hostside import tree
from . import command

# https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md: keys in order, "version" first; at most 1024 bytes.
_POINTER = re.compile(
    rb"version https://(?:git-lfs\.github\.com|hawser\.github\.com)/spec/v1\n"
    rb"(?:[a-z0-9.-]+ [^\n]*\n)*?oid sha256:([0-9a-f]{64})\nsize (\d+)\n(?:[a-z0-9.-]+ [^\n]*\n)*"
)
_LARGEST = 1024


def pointer(path: Path) -> tuple[str, int] | None:
    """The SHA-256 and the size that *path* points at, None where it is no pointer."""
    try:
        if path.is_symlink() or path.stat().st_size > _LARGEST:
            return None
        match = _POINTER.fullmatch(path.read_bytes())
    except OSError:
        return None
    return (match[1].decode(), int(match[2])) if match else None


def resolve(path: Path, repository: Path, original: Path | None) -> str:
    """Put the content in the place of the pointer at *path*.

    :param repository: the git directory.
    :param original: the same file in the working tree, which may have the content too.
    :returns: what is the matter, '' where it is done.
    """
    told = pointer(path)
    if told is None:
        return ""
    oid, size = told
    if size == 0:
        path.write_bytes(b"")
        return ""
    store = _store(repository) / oid[:2] / oid[2:4] / oid
    for content in filter(None, (store, original)):
        if _is(content, oid, size):
            mode = path.stat().st_mode
            # Written anew: the store's own file must not become a file of the release.
            path.unlink()
            shutil.copyfile(content, path)
            path.chmod(mode)
            return ""
    return "is a pointer of Git LFS, and its content is not on this machine: git lfs fetch"


def _is(path: Path, oid: str, size: int) -> bool:
    with contextlib.suppress(OSError):
        return not path.is_symlink() and path.stat().st_size == size and tree.file_digest(str(path)) == oid
    return False


def _store(repository: Path) -> Path:
    line = ["git", f"--git-dir={repository}", "config", "--type=path", "lfs.storage"]
    told = command.attempt(line, directory=repository).stdout
    shared = command.run(["git", f"--git-dir={repository}", "rev-parse", "--git-common-dir"], directory=repository)
    common = repository / os.fsdecode(shared).rstrip("\n")
    return common / (os.fsdecode(told).rstrip("\n") or "lfs") / "objects"
