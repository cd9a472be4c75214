"""Files and directories that are written whole or not at all, and survive a power cut once they are there."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
import sys
from collections.abc import Callable
from typing import Any

from . import looking, shapes
from .failure import Failure

PARTIAL = ".partial-"
GONE = ".gone"
"""What was whole and is out of use begins with the one and ends with the other; see :mod:`removal`."""
_KEPT = 200
"""As many bytes of a name are kept when more is put to it; a name has 255 at most."""


def sync_directory(path: str) -> None:
    """Make names in *path* durable: a rename is only on disk once its directory is."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(path: str) -> None:
    """Make everything below *path* durable, in one go: syncfs(2) where there is one, else sync(2)."""
    import ctypes

    try:
        syncfs = ctypes.CDLL(None, use_errno=True).syncfs
    except (AttributeError, OSError):
        os.sync()
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if syncfs(descriptor):
            os.sync()
    finally:
        os.close(descriptor)


def write_atomically(
    path: str,
    text: str,
    mode: int = 0o644,
    owner: tuple[int, int] | None = None,
    then: Callable[[], None] = lambda: None,
) -> None:
    """Replace *path* by *text*: another process sees the old content or the new, never a part.

    :param owner: user and group that it is given, with the exact *mode*; else it is made as every file is.
    :param then: called when all is written and takes its place next: what it does is not done on a full disk.
    :raises Failure: *text* is none: it has a surrogate.
    """
    try:
        content = text.encode()
    except UnicodeEncodeError:
        raise Failure(f"what is to be in {path} is no text", kind="refused") from None
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f"{PARTIAL}{name}.{os.getpid()}")
    remove(temporary)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with open(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            if owner:
                os.fchown(stream.fileno(), *owner)
                os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        then()
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    sync_directory(directory)


def write_json(path: str, value: Any, mode: int = 0o644, then: Callable[[], None] = lambda: None) -> None:
    write_atomically(path, json.dumps(value, indent=1, sort_keys=True) + "\n", mode, then=then)


def read_json(path: str, shape: str, schema: int | None = None) -> Any:
    """The JSON document at *path*, or None where there is no such file.

    :param shape: see :mod:`deploy.hostside.shapes`.
    :param schema: the highest number of its ``schema`` that is understood; None where it has none.
    :raises Failure: the file is there and is not JSON, or of another shape, or of a newer tool, or it is a link.
    """
    try:
        with open(open_own(path, os.O_RDONLY), encoding="utf-8") as stream:
            document = json.load(stream)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        wrong = str(error)
    else:
        if schema is not None and (written := _schema(document)) > schema:
            raise Failure(
                f"{path} was written by a newer fabric-wheelhouse (schema {written})",
                "upgrade fabric-wheelhouse on the machine you deploy from",
            )
        wrong = shapes.misfit(document, shape).strip()
    if wrong:
        raise Failure(f"{path} is damaged: {wrong}", "restore it from a backup, or remove it")
    return document


def _schema(document: Any) -> int:
    """Of a document of any shape; 0 where it says none."""
    number = document.get("schema") if isinstance(document, dict) else None
    return number if isinstance(number, int) else 0


def open_own(path: str, flags: int, mode: int = 0o644) -> int:
    """Open a file that is this program's alone, and say so where something else has its name: a link to another file,
    a pipe that would keep us waiting.

    :raises Failure: it is no file, or has a second name.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, mode)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise not_a_file(path) from None
        raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(descriptor)
        raise not_a_file(path)
    return descriptor


class NotAFile(OSError):
    """What is to be read is a pipe, a socket or a device, and not a file."""


def open_file(path: str) -> int:
    """Open a file to read it, wherever links lead; a pipe in its place would keep us waiting for ever.

    :raises NotAFile, IsADirectoryError: something else is there.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    raise NotAFile(errno.EINVAL, "this is not a file", path)


def not_a_file(path: str) -> Failure:
    return Failure(f"{path} is not a file of its own", "move it out of the way", "refused")


def make_way(path: str) -> None:
    """Make the directory *path* and those above it, as far as they are not there.

    :raises OSError: one cannot be made, or looked at: that is "File exists" with :func:`os.makedirs`.
    """
    try:
        os.makedirs(path, 0o755, exist_ok=True)
    except FileExistsError as error:
        with contextlib.suppress(FileNotFoundError):  # a link that leads nowhere
            os.stat(error.filename)
        raise


def make_directories(root: str, path: str) -> None:
    """Make the directory *path* below *root*, and those on the way to it.

    :raises Failure: a link is on the way, and where it leads to there is no such directory.
    """
    made = root
    for part in path.split("/"):
        made = os.path.join(made, part)
        found = looking.kind(made)
        if found == stat.S_IFLNK:
            if os.path.isdir(os.path.join(root, path)):
                return
            raise Failure(
                f"{made} is a link, and there is no directory {os.path.join(root, path)}",
                "make it by hand, where the link leads to",
                "refused",
            )
        if not found:
            with contextlib.suppress(FileExistsError):
                os.mkdir(made, 0o755)


def link_atomically(target: str, link: str) -> None:
    """Point the symbolic link *link* at *target* by rename(2), so that it never is missing."""
    directory, name = os.path.split(link)
    temporary = os.path.join(directory, f"{PARTIAL}{name}.{os.getpid()}")
    remove(temporary)
    os.symlink(target, temporary)
    os.rename(temporary, link)
    sync_directory(directory)


def remove(path: str) -> None:
    """Remove a file, a link or a whole tree; what is not there is fine, also where another process removes the same.

    Links are never followed.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(mode):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return
    try:
        _remove_tree(path)
    except PermissionError:
        _make_writable(path)
        _remove_tree(path)


def _remove_tree(path: str) -> None:
    """
    :raises OSError: the first thing that cannot be removed, after all else is.
    """
    problems: list[BaseException] = []

    def note(error: BaseException) -> None:
        if not isinstance(error, FileNotFoundError):
            problems.append(error)

    if sys.version_info >= (3, 12):
        shutil.rmtree(path, onexc=lambda _function, _path, error: note(error))
    else:
        shutil.rmtree(path, onerror=lambda _function, _path, caught: note(caught[1]))
    if problems:
        raise problems[0]


def _make_writable(path: str) -> None:
    # An application may leave directories without the write bit (or without x) in its release.
    _open_up(path)
    for directory, names, _files, descriptor in os.fwalk(path):
        for name in names:
            _open_up(os.path.join(directory, name), name, descriptor)


def _open_up(path: str, name: str = "", directory: int | None = None) -> None:
    """Let the owner do all with a directory. A link in its place is not followed, not even one that came just now."""
    flags = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        descriptor = os.open(name or path, flags, dir_fd=directory)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        # What is open by its place alone cannot be changed by fchmod(2).
        os.chmod(f"/proc/self/fd/{descriptor}" if hasattr(os, "O_PATH") else descriptor, 0o700)
    except PermissionError as error:
        raise PermissionError(error.errno, error.strerror, path) from None
    finally:
        os.close(descriptor)


def set_aside(directory: str, name: str) -> None:
    """Take ``directory/name`` out of use at once, under a name that is recognised as unfinished.

    Nobody makes anything of that name, so it may be removed at any time, and by several at once.
    """
    kept = os.fsdecode(os.fsencode(name)[:_KEPT])
    aside = f"{PARTIAL}{kept}.{os.urandom(4).hex()}{GONE}"
    os.rename(os.path.join(directory, name), os.path.join(directory, aside))


def is_set_aside(name: str) -> bool:
    return name.startswith(PARTIAL) and name.endswith(GONE)


def discard(directory: str, name: str) -> None:
    """Remove ``directory/name`` so that a kill half-way leaves something that is recognised as unfinished.

    Where others own something in it that cannot be removed, it is set aside: the name is free in any case.
    """
    path = os.path.join(directory, name)
    partial = os.path.join(directory, PARTIAL + name)
    if os.path.lexists(path):
        _put_away(partial)
        os.rename(path, partial)
        sync_directory(directory)  # or a power cut could bring back the name with half of what it had
    _put_away(partial)


def _put_away(path: str) -> None:
    try:
        remove(path)
    except PermissionError:
        set_aside(*os.path.split(path))


def replace_directory(made: str, path: str) -> None:
    """Give the directory *made* the name *path*; what has that name goes first, by a rename, and is removed after."""
    directory, name = os.path.split(path)
    former = os.path.join(directory, f"{PARTIAL}{name}.former")
    remove(former)
    if os.path.lexists(path):
        os.rename(path, former)
    os.rename(made, path)
    remove(former)


def finished(directory: str) -> list[str]:
    """The names in *directory*, but for what is unfinished."""
    return [name for name in os.listdir(directory) if not name.startswith(PARTIAL)]


def sweep(directory: str) -> list[str]:
    """Put away what an earlier run left unfinished in *directory*, but for what was set aside; the names that went."""
    swept = []
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    for name in names:
        if name.startswith(PARTIAL) and not is_set_aside(name):
            _put_away(os.path.join(directory, name))
            swept.append(name)
    return swept


def sweep_orphans(directory: str) -> None:
    """Remove the unfinished files in *directory* whose names end in the number of a process that is no more.

    For a directory in which others may be writing just now.
    """
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return
    for name in names:
        _, _, pid = name.rpartition(".")
        if name.startswith(PARTIAL) and pid.isdigit() and not _lives(int(pid)):
            remove(os.path.join(directory, name))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
