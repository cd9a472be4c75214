"""A host in small: runs the real host program on a directory of this machine, and dies, or fails, at a step it is told.

Started once with the interpreter and the flags that a host program has (``-I -S``), it has imported the program before
the first deploy, so that a deploy costs a fork and no start. One process group is one host: a kill takes all of it.
Standard library only.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import importlib
import json
import os
import pkgutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import failing
import steps

GRACE_S = 30.0


def main() -> None:
    """``machine.py SOCKET PROGRAM``: fork a host for each order that comes with a socket of its own."""
    orders = socket.socket(fileno=int(sys.argv[1]))
    sys.path.insert(0, sys.argv[2])
    import hostside

    for module in pkgutil.iter_modules(hostside.__path__):
        if module.name != "__main__":
            importlib.import_module("hostside." + module.name)
    for name in ("venv", "zipfile", "tempfile", "subprocess", "getpass", "traceback", "platform", "_strptime"):
        importlib.import_module(name)
    # What a host that was killed leaves behind is this process's to reap, at once.
    _adopt_orphans()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    former = 0
    while received := _receive(orders):
        order, (channel,) = received
        _await_end(former)
        if (former := os.fork()) == 0:
            orders.close()
            _host(order, socket.socket(fileno=channel))
            os._exit(0)
        os.close(channel)


def _await_end(host: int) -> None:
    """A host that was killed holds no lock when the next one starts: what is killed may have a call to finish."""
    deadline = time.monotonic() + GRACE_S
    while host and time.monotonic() < deadline:
        try:
            os.killpg(host, 0)
        except ProcessLookupError:
            return
        time.sleep(0.002)


def _adopt_orphans() -> None:
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def _receive(from_: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """A message and the descriptors that came with it."""
    descriptors = array.array("i")
    message, ancillary, _, _ = from_.recvmsg(1 << 16, socket.CMSG_SPACE(8 * descriptors.itemsize))
    if not message:
        return None
    for _level, _kind, data in ancillary:
        descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return json.loads(message), list(descriptors)


def _host(order: dict[str, Any], channels: socket.socket) -> None:
    """Start what is asked for on each channel, until there is nobody who could ask."""
    os.setsid()
    os.setsid = lambda: None  # type: ignore[assignment]  # who leaves a session is still on this host, and dies with it
    _adopt_orphans()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(order["environment"])
    _pass_time(order.get("later", 0), order.get("boot_later", order.get("later", 0)))
    if "clock" in order:
        _set_clock(order["clock"])
    if "started" in order:
        _start_again(order["started"], order["boot_id"])
    if "patience" in order:
        _wait_no_longer(order["patience"])
    # The disk of this host is the harness's to lose: nothing has to reach a real one.
    synced = _arm(order) if "log" in order and "trouble" not in order else lambda *words: None
    _watch_syncs(synced)
    if "trouble" in order:
        failing.arm(order)
    while received := _receive(channels):
        request, (both, errors) = received
        if (program := os.fork()) == 0:
            channels.close()
            os.dup2(both, 0)
            os.dup2(both, 1)
            os.dup2(errors, 2)
            os.close(both)
            os.close(errors)
            _perform(request["command"])
        with contextlib.suppress(OSError):
            channels.send(b"%d" % program)
        os.close(both)
        os.close(errors)
        while _reaped():
            pass
    # A channel's end is not the end of what was started on it: that may end what it does, but not outlive the test.
    deadline = time.monotonic() + GRACE_S
    while _some_run() and time.monotonic() < deadline:
        time.sleep(0.002)
    os.killpg(0, signal.SIGKILL)


def _some_run() -> bool:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def _reaped() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] > 0
    except ChildProcessError:
        return False


def _pass_time(seconds: float, since_boot: float) -> None:
    """Let the clocks of this host be that much later: the one that people set, and those that count from its start."""
    wall, clock = time.time, time.clock_gettime
    time.time = lambda: wall() + seconds  # type: ignore[assignment]
    shift = {time.CLOCK_REALTIME: seconds}
    time.clock_gettime = lambda which: clock(which) + shift.get(which, since_boot)  # type: ignore[assignment]


def _set_clock(file: str) -> None:
    """Let the clock that people set be wrong by as many seconds as *file* says at that moment."""
    wall, gmtime = time.time, time.gmtime

    def now() -> float:
        with open(file, encoding="ascii") as stream:
            return wall() + float(stream.read())

    time.time = now  # type: ignore[assignment]
    time.gmtime = lambda seconds=None: gmtime(now() if seconds is None else seconds)  # type: ignore[assignment]


def _start_again(seconds: float, boot_id: str) -> None:
    """Let this host have been started that many seconds ago, by a start of the name that the file *boot_id* tells."""
    from hostside import clock

    clock.BOOT_ID = boot_id
    before, already = time.clock_gettime, time.clock_gettime(time.CLOCK_BOOTTIME)
    shift = {time.CLOCK_BOOTTIME: seconds - already}
    time.clock_gettime = lambda which: before(which) + shift.get(which, 0)  # type: ignore[assignment]


def _wait_no_longer(seconds: float) -> None:
    """Let nobody wait longer than that for what is still at work on this host."""
    from hostside import turns

    turns.WAIT_S = seconds


def _perform(command: list[str]) -> None:
    """Be what the login shell would have started."""
    if "-c" not in command:
        os.execvp(command[0], command)
    at = command.index("-c")
    sys.argv[:] = ["-c", *command[at + 2 :]]
    status = 1
    try:
        exec(compile(command[at + 1], "<string>", "exec"), {"__name__": "__main__"})
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        os._exit(status)


# --- what goes wrong ---


def _arm(order: dict[str, Any]) -> Callable[..., None]:
    """Write down each step, and let the one go wrong that is ordered; what writes down that something was synced.

    ``at``: its number, from 1 on; 0 for none. ``how``: ``kill``, ``torn`` (the file that is opened is there, and what
    should be in it is not), ``stop`` (that process alone, until it is continued), or ``error`` with ``errno``, once or,
    with ``lasting``, from then on. ``keep``: a directory for what steps destroy, see :func:`_kept`.
    """
    log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    # As many bytes as there are steps before that one: who finds none left is there, whichever process it is.
    taken, given = os.pipe()
    os.set_blocking(taken, False)
    left = order["at"] - 1 if order["at"] else 1 << 16
    os.set_blocking(given, False)
    while left > 0:
        try:
            left -= os.write(given, b"." * min(left, 4096))
        except BlockingIOError:
            break
    skipped = set(order.get("not_for", ()))
    only = set(order.get("only_for", ()))

    def told(*words: str) -> None:
        os.write(log, json.dumps(words).encode() + b"\n")

    def reached(step: Any) -> None:
        if step.verb in skipped or (only and step.verb not in only):
            return
        if "keep" in order:
            for path, name in _kept(step, order["keep"]):
                told("keep", path, name)
        told(step.verb, *step.paths, step.detail)
        try:
            os.read(taken, 1)
            return
        except BlockingIOError:
            pass
        if order["how"] == "error":
            if not order.get("lasting"):
                os.write(given, b"." * 4096)
            number = order["errno"]
            raise OSError(number, os.strerror(number), step.paths[-1])
        if order["how"] == "stop":
            os.write(given, b"." * 4096)
            os.kill(os.getpid(), signal.SIGSTOP)
            return
        if order["how"] == "torn" and step.verb == "write":
            os.close(os.open(step.paths[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        os.killpg(0, signal.SIGKILL)

    steps.watch(order["base"], reached)
    return told if "keep" in order else lambda *words: None


def _kept(step: Any, directory: str) -> Iterator[tuple[str, str]]:
    """Files that *step* is about to destroy, each with the name under which *directory* has it from now on."""
    path = step.paths[-1]
    if step.verb not in ("remove", "write", "truncate", "rename") or not os.path.isfile(path) or os.path.islink(path):
        return
    name = f"{os.getpid()}-{time.monotonic_ns()}"
    if step.verb in ("write", "truncate"):
        with open(path, "rb") as former, open(os.path.join(directory, name), "wb") as copy:
            copy.write(former.read())
    else:
        os.link(path, os.path.join(directory, name))
    yield path, name


def _watch_syncs(tell: Callable[..., None]) -> None:
    """No audit event tells what is made durable."""
    from hostside import disk

    def synced(descriptor: Any) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        tell("fsync", os.readlink(f"/proc/self/fd/{number}"), "")

    os.fsync = synced  # type: ignore[assignment]
    disk.sync_file_system = lambda path: tell("syncfs", path, "")


if __name__ == "__main__":
    main()
