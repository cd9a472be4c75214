"""Remove a tree in which others may own something: what can go goes, and of the rest it is said whose it is.

Every step is taken from an open directory and no link is followed (openat(2), O_NOFOLLOW), so that root, too, can do it
where others may write meanwhile. What is mounted inside of the tree is not part of it, and stays.
"""

from __future__ import annotations

import errno
import os
import pwd
import re
import stat
from typing import NamedTuple

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_DEEP = 100
"""Directories that are open at once; what lies deeper is moved to the top before it is removed."""
_TRIES = 3
"""How often a directory is emptied while something writes into it."""


class Left(NamedTuple):
    """What is in the way: *path*, who owns it, and the number of the operating system's error."""

    path: str
    owner: str
    number: int

    @property
    def foreign(self) -> bool:
        """Whether root could remove it: nothing but its owner is in the way."""
        return self.number in (errno.EACCES, errno.EPERM)

    @property
    def why(self) -> str:
        if self.number == errno.EBUSY:
            return "something is mounted there"
        return f"it belongs to {self.owner}" if self.foreign else os.strerror(self.number)

    def error(self) -> OSError:
        return OSError(self.number, os.strerror(self.number), self.path)


def erase(path: str) -> list[Left]:
    """Remove a file, a link or a whole tree; what is not there is fine.

    :returns: what is in the way; nothing where all is gone.
    """
    parent, name = os.path.split(path)
    try:
        directory = os.open(parent, _DIRECTORY)
    except FileNotFoundError:
        return []
    try:
        return erase_in(directory, name, parent)
    finally:
        os.close(directory)


def erase_in(directory: int, name: str, parent: str) -> list[Left]:
    """The same, of *name* in an open *directory*, which is called *parent* in the answer."""
    erasure = _Erasure(directory)
    erasure.remove(directory, name, os.path.join(parent, name))
    return list(erasure.left.values())


def owner(uid: int) -> str:
    """A user's name, or the number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


class _Erasure:
    """
    :ivar left: by path; of a directory that nothing can be taken from, that is told, and not what lies in it.
    """

    def __init__(self, directory: int) -> None:
        self.left: dict[str, Left] = {}
        self._failures = 0
        self._device = os.fstat(directory).st_dev
        self._mounts = _mounts_below(directory)
        self._opened: list[int] = []
        self._lifted = 0

    def remove(self, directory: int, name: str, path: str) -> None:
        try:
            found = os.lstat(name, dir_fd=directory)
            if stat.S_ISDIR(found.st_mode):
                self._remove_directory(directory, name, path, found)
            else:
                os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            pass  # somebody else removes the same tree
        except OSError as error:
            self._failures += 1
            self._note(directory, name, path, error)

    def _remove_directory(self, directory: int, name: str, path: str, found: os.stat_result) -> None:
        if len(self._opened) == _DEEP:
            self._lift(directory, name)
            return
        if found.st_uid == os.geteuid() != 0 and found.st_mode & 0o700 != 0o700:
            _unlock(directory, name)  # an application may take its own rights to a directory
        failures = self._failures
        try:
            opened = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
        except PermissionError as denied:
            try:
                os.rmdir(name, dir_fd=directory)  # whosever it is, an empty one can go
            except OSError:
                raise denied from None
            return
        self._opened.append(opened)
        try:
            self._assert_not_mounted(opened)
            self._empty(opened, path)
        finally:
            os.close(self._opened.pop())
        if self._failures == failures:
            os.rmdir(name, dir_fd=directory)

    def _empty(self, opened: int, path: str) -> None:
        failures, tries = self._failures, 0
        while tries < _TRIES and self._failures == failures and (names := os.listdir(opened)):
            lifted = self._lifted
            for name in names:
                self.remove(opened, name, f"{path}/{name}")
            tries += lifted == self._lifted

    def _lift(self, directory: int, name: str) -> None:
        self._lifted += 1
        os.rename(name, f"lifted-{os.urandom(8).hex()}", src_dir_fd=directory, dst_dir_fd=self._opened[0])

    def _assert_not_mounted(self, opened: int) -> None:
        # Of the same file system, too: a directory may be bound to another place.
        if os.fstat(opened).st_dev != self._device or (self._mounts and _place(opened) in self._mounts):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    def _note(self, directory: int, name: str, path: str, error: OSError) -> None:
        try:
            above, found = os.fstat(directory), os.lstat(name, dir_fd=directory)
        except OSError:
            return
        uid = found.st_uid
        if error.errno == errno.EACCES and above.st_uid != os.geteuid():
            path, uid = os.path.dirname(path), above.st_uid
        self.left.setdefault(path, Left(path, owner(uid), error.errno or errno.EIO))


def _unlock(directory: int, name: str) -> None:
    """Give the owner of a directory its rights back; if it cannot be done, opening it will tell."""
    try:
        handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except (AttributeError, OSError):  # only Linux has O_PATH
        return
    try:
        os.chmod(f"/proc/self/fd/{handle}", 0o700)
    except OSError:
        pass
    finally:
        os.close(handle)


def _mounts_below(directory: int) -> set[str]:
    """What is mounted below an open directory (proc(5), mountinfo); nothing where nobody says."""
    try:
        place = _place(directory)
        with open("/proc/self/mountinfo", "rb") as stream:
            points = [line.split()[4] for line in stream]
    except (OSError, IndexError):
        return set()
    decoded = {os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda code: bytes([int(code[1], 8)]), point)) for point in points}
    return {point for point in decoded if point.startswith(place.rstrip("/") + "/")}


def _place(opened: int) -> str:
    return os.readlink(f"/proc/self/fd/{opened}")
