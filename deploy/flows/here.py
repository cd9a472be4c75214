"""Commands of the user's on this machine: output as it comes, a time limit, and an end for all they started."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import SHOWN_LINES
from ..host.hearing import Say
from ..host.limits import end_group
from ..hostside.secrecy import Mask, secrets_of
from ..masking import masked

_CONTROLS = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|.)|[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended.

    :ivar problem: what went wrong, in words; '' where it exited with 0.
    :ivar output: the last lines that it said.
    """

    problem: str
    output: str


def run(
    command: str,
    directory: Path,
    variables: Mapping[str, str],
    timeout_s: float | None,
    say: Say,
) -> Ended:
    """Run *command* with ``/bin/sh -c`` on this machine, without standard input.

    Whatever ends it (time, an interrupt, its own exit), nothing that writes to its output goes on.

    :param variables: what its environment has besides our own.
    :param say: called with each line as it comes, from another thread; secrets of our environment are taken out.
    """
    running = _Running(command, directory, variables, say)
    problem = ""
    try:
        running.start()
        status = running.child.wait(timeout_s)
        # What it left behind may hold its output open for ever.
        running.reader.join(1)
        if status:
            problem = failure(status)
    except subprocess.TimeoutExpired:
        problem = f"took longer than {timeout_s:g} s"
    except OSError as error:
        problem = f"did not start ({error.strerror})"
    finally:
        running.end()
    return Ended(problem, "\n".join(running.last))


class _Running:
    """A command that runs here: begun and read in a thread of its own.

    Signals interrupt the main thread only, so one that comes while a process is being made does not lose it.
    """

    def __init__(self, command: str, directory: Path, variables: Mapping[str, str], say: Say) -> None:
        self.last: deque[str] = deque(maxlen=SHOWN_LINES)
        self.reader = threading.Thread(target=self._work, daemon=True)
        self._command = command
        self._directory = directory
        self._environment = {**os.environ, **variables}
        self._say = say
        self._begun = threading.Event()
        self._over = threading.Event()
        self._child: subprocess.Popen[str] | OSError | None = None

    @property
    def child(self) -> subprocess.Popen[str]:
        assert isinstance(self._child, subprocess.Popen)
        return self._child

    def start(self) -> None:
        """
        :raises OSError: there is no such directory, no shell, or no process to be had.
        """
        self.reader.start()
        self._begun.wait()
        if isinstance(self._child, OSError):
            raise self._child

    def end(self) -> None:
        """End what still runs of it, and hear no more of it."""
        if self.reader.ident is not None:
            self._begun.wait()
        if isinstance(self._child, subprocess.Popen):
            if self._child.returncode is None or self.reader.is_alive():
                end_group(self._child)
            self.reader.join(1)
        self._over.set()

    def _work(self) -> None:
        try:
            child = subprocess.Popen(
                ["/bin/sh", "-c", self._command],
                cwd=self._directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,  # so that it can be ended with all that it started
            )
            self._child = child
        except OSError as error:
            self._child = error
            return
        finally:
            self._begun.set()
        clean = Cleaner(os.environ)
        assert child.stdout is not None
        for line in child.stdout:
            if self._over.is_set():
                return  # a process that left the session still holds the output
            said = clean(line.rstrip())
            self.last.append(said)
            self._say(said)


def failure(status: int) -> str:
    """An exit status in words."""
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-status).name}"
    return f"failed (exit {status})"


class Cleaner:
    """Makes a line of output fit to be shown and kept: no control characters, and none of *environment*'s secrets."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._mask = Mask(secrets_of(environment, every=False))

    def __call__(self, line: str) -> str:
        return masked(self._mask.text(_CONTROLS.sub("", line)))

    def text(self, text: str) -> str:
        """Several lines."""
        return "\n".join(map(self, text.splitlines()))
