"""`fab` as the tests run it a thousand times: forked from a process that has imported Fabric and the other libraries.

Their import is most of what a short run costs. The program itself is imported anew in each run, as is all that the
application brings. Where the environment has something to say to the interpreter itself, a new one is started. Tests
that send signals, or look at the process from outside, start :data:`FAB`.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

FAB = Path(sys.executable).with_name("fab")
LIBRARIES = (
    "fabric.main", "paramiko", "pydantic", "pydantic.types", "pydantic.functional_validators", "rich.console",
    "rich.progress", "packaging.pylock", "pathspec",
)  # fmt: skip
OF_THE_INTERPRETER = ("PYTHON", "LC_", "LANG", "LD_", "OPENSSL_")
"""How the names of the variables begin that count when a process starts."""
MESSAGE = 1 << 18
"""Bytes of an order, at most."""


class Outcome(NamedTuple):
    """How it ended, and what it said on both streams."""

    code: int
    said: str


def fab(
    words: Sequence[str | Path], directory: Path, environment: Mapping[str, str] | None = None, at_most_s: float = 120
) -> Outcome:
    """Run `fab WORDS` in *directory*, with standard input closed as cron does.

    :raises subprocess.TimeoutExpired: it took longer, and was killed.
    """
    command = [str(FAB), *map(str, words)]
    variables = {**(os.environ if environment is None else environment)}
    if _of_the_interpreter(variables) == _of_the_interpreter(os.environ):
        return _forks(os.getpid()).run(command, directory, variables, at_most_s)
    done = subprocess.run(
        command, cwd=directory, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=at_most_s, check=False,
    )  # fmt: skip
    return Outcome(done.returncode, done.stdout)


def _of_the_interpreter(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(OF_THE_INTERPRETER)}


class _Forks:
    """A process to fork from; it ends with the one that has it."""

    def __init__(self) -> None:
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._orders.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MESSAGE)
        with theirs:
            command = [sys.executable, __file__, str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        atexit.register(self._orders.close)

    def run(self, command: list[str], directory: Path, environment: dict[str, str], at_most_s: float) -> Outcome:
        order = json.dumps({"command": command, "directory": str(directory), "environment": environment}).encode()
        assert len(order) <= MESSAGE
        answers, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reading, writing = os.pipe()
        with answers, open(reading, "rb", buffering=0) as said:
            with theirs, open(writing, "wb"):
                socket.send_fds(self._orders, [order], [writing, theirs.fileno()])
            process = int(answers.recv(64))
            try:
                text = _read(said, time.monotonic() + at_most_s)
            except TimeoutError:
                os.kill(process, signal.SIGKILL)
                raise subprocess.TimeoutExpired(command, at_most_s) from None
            return Outcome(int(answers.recv(64)), text.decode())


@functools.cache
def _forks(process: int) -> _Forks:
    """Those of this *process*: a test may have forked, too."""
    return _Forks()


def _read(stream: BinaryIO | Any, deadline: float) -> bytes:
    """All that is said, by what is left running in the background as well.

    :raises TimeoutError: somebody still has the other end.
    """
    read = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            if not (chunk := stream.read(1 << 16)):
                return bytes(read)
            read += chunk
    raise TimeoutError


# --- the process to fork from ---


def _serve(orders: socket.socket) -> dict[str, Any] | None:
    """What a process that was forked has to do; None in the one they come from, when nobody asks any more."""
    for name in LIBRARIES:
        importlib.import_module(name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, descriptors, _, _ = socket.recv_fds(orders, MESSAGE, 2)
        if not message:
            return None
        if not os.fork():
            orders.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            if not (child := os.fork()):
                signal.signal(signal.SIGINT, signal.default_int_handler)
                return {**json.loads(message), "output": descriptors[0], "answers": descriptors[1]}
            os.close(descriptors[0])
            with socket.socket(fileno=descriptors[1]) as answers:
                answers.send(b"%d" % child)
                answers.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def _become(command: list[str], directory: str, environment: dict[str, str], output: int, answers: int) -> None:
    """Run `fab` as a process would that was started for it; its standard input is closed already."""
    os.close(answers)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    sys.argv[:] = command
    runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    # As where `fab` lies, and nothing of the tests.
    sys.path[0] = str(FAB.parent)
    if asked := _serve(socket.socket(fileno=int(sys.argv[1]))):
        _become(**asked)
