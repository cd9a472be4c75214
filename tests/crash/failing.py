"""Calls that fail on the host in small: a full disk, no inodes, no permission..., at one step or from it on.

Besides what changes something (:mod:`steps`), calls that only read are steps here: files opened for reading and
directories listed tell of themselves by audit events, the rest (stat, readlink) is wrapped. Standard library only.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import stat
import sys
from collections.abc import Callable
from typing import Any

import steps

_FULL = "/dev/full"


def arm(order: dict[str, Any]) -> None:
    """Write down each step, and let what is ordered fail.

    ``log``: where to. ``at``: the number of the step among those that can fail so, from 1 on; 0 for none. ``trouble``:
    ``errno``; ``verbs``, which calls can fail so; ``creating`` where only those that make something new do; ``lasting``
    where it fails from then on; ``within`` where files can be opened still and fail when they are written to. Written
    down is in place of a detail whether a step makes something :data:`NEW`.
    """
    trouble = order["trouble"]
    log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    # As many bytes as there are steps before that one: who finds none left is there, whichever process it is.
    taken, given = os.pipe()
    os.set_blocking(taken, False)
    os.set_blocking(given, False)
    _fill(given, order["at"] - 1 if order["at"] else 1 << 16)
    verbs, failing = set(trouble["verbs"]), _Failing(trouble)

    def reached(step: steps.Step) -> None:
        detail = steps.NEW if _creates(step) else ""
        if step.verb not in verbs or (trouble["creating"] and not detail):
            return
        os.write(log, json.dumps([step.verb, *step.paths, detail]).encode() + b"\n")
        try:
            os.read(taken, 1)
        except BlockingIOError:
            if not trouble["lasting"]:
                _fill(given, 1 << 16)
            failing.fail(step)

    steps.watch(order["base"], reached)
    if verbs & set(steps.READING):
        _watch_reading(order["base"], reached)
    failing.arm()


def _fill(pipe: int, count: int) -> None:
    while count > 0:
        try:
            count -= os.write(pipe, b"." * min(count, 4096))
        except BlockingIOError:
            return


def _creates(step: steps.Step) -> bool:
    return step.verb in ("mkdir", "symlink") or (step.verb == "write" and not os.path.lexists(step.paths[-1]))


class _Failing:
    """Makes calls fail as the kernel would."""

    def __init__(self, trouble: dict[str, Any]) -> None:
        self._number = trouble["errno"]
        self._within = trouble["within"]
        self._no_inodes = trouble["creating"]
        self._next_is_full = False
        self._happened = mmap.mmap(-1, 1)  # in any process of this host

    def fail(self, step: steps.Step) -> None:
        self._happened[0] = 1
        if self._within and step.verb == "write":
            self._next_is_full = True
            return
        raise OSError(self._number, os.strerror(self._number), step.paths[-1])

    def arm(self) -> None:
        if self._within:
            self._open_full_files()
        if self._no_inodes:
            self._count_no_inodes()

    def _open_full_files(self) -> None:
        opened, synced, looked = os.open, os.fsync, os.fstat
        meant: dict[int, os.stat_result] = {}

        def open_(path: Any, flags: int, *rest: Any, **named: Any) -> int:
            descriptor = opened(path, flags, *rest, **named)
            if self._next_is_full:
                self._next_is_full = False
                meant[descriptor] = looked(descriptor)
                full = opened(_FULL, os.O_WRONLY)
                os.dup2(full, descriptor)
                os.close(full)
            return descriptor

        def fsync(descriptor: Any) -> None:
            if _is_device(descriptor):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            synced(descriptor)

        def fstat(descriptor: Any) -> os.stat_result:
            look = looked(descriptor)
            return meant[descriptor] if stat.S_ISCHR(look.st_mode) and descriptor in meant else look

        os.open, os.fsync, os.fstat = open_, fsync, fstat  # type: ignore[assignment]
        # What is meant for the file would change the device that stands for it.
        for name in ("fchmod", "fchown", "ftruncate", "utime"):
            setattr(os, name, _not_of_devices(getattr(os, name)))

    def _count_no_inodes(self) -> None:
        asked = os.statvfs

        def statvfs(path: Any) -> os.statvfs_result:
            found = list(asked(path))
            if self._happened[0]:
                found[6] = found[7] = 0
            return os.statvfs_result(found)

        os.statvfs = statvfs  # type: ignore[assignment]


def _is_device(descriptor: Any) -> bool:
    return isinstance(descriptor, int) and os.readlink(f"/proc/self/fd/{descriptor}") == _FULL


def _not_of_devices(call: Callable[..., None]) -> Callable[..., None]:
    def careful(target: Any, *arguments: Any, **named: Any) -> None:
        if not _is_device(target):
            call(target, *arguments, **named)

    return careful


def _watch_reading(base: str, reached: Callable[[steps.Step], None]) -> None:
    inside = base.rstrip("/") + "/"
    busy = False

    def look(verb: str, value: Any, folder: Any) -> None:
        nonlocal busy
        if busy:
            return
        busy = True
        try:
            path = steps._path(value, -1 if folder is None else folder)
            if path == base or path.startswith(inside):
                reached(steps.Step(verb, (path,)))
        finally:
            busy = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and not isinstance(arguments[0], int) and not arguments[2] & steps.WRITING:
            look("read", arguments[0], None)
        elif event in ("os.listdir", "os.scandir") and arguments[0] is not None:
            look("list", arguments[0], None)

    def wrap(name: str, verb: str) -> None:
        call = getattr(os, name)

        def looking(path: Any, *arguments: Any, **named: Any) -> Any:
            if not isinstance(path, int):
                look(verb, path, named.get("dir_fd"))
            return call(path, *arguments, **named)

        setattr(os, name, looking)

    def access(path: Any, *arguments: Any, **named: Any) -> bool:
        try:
            look("stat", path, named.get("dir_fd"))
        except OSError:
            return False
        return may(path, *arguments, **named)

    sys.addaudithook(hook)
    for name, verb in (("stat", "stat"), ("lstat", "stat"), ("readlink", "readlink")):
        wrap(name, verb)
    may = os.access
    os.access = access  # type: ignore[assignment]
