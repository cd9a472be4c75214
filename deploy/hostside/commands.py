"""Commands of the user's, run in a release: their environment comes with the request, their output goes out masked.

The values are in the request, on standard input, and in the environment of the command, which the kernel shows to its
own user and to root alone. They are in no argument, in no file, and not in what sudo writes down.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable

from . import variables
from .failure import Failure
from .layout import Layout
from .secrecy import Mask, secrets_of
from .sharedpaths import ENVIRONMENT

KEPT_LINES = 200
"""Lines of output that the result holds; all of them were told while the command ran."""
LINE = 1 << 14
"""Bytes after which a line is told although it has not ended."""
LINGER_S = 1.0
"""How long after a command's end its output is waited for, where something that it started keeps it open."""
TERM_S = 5.0


def run(
    layout: Layout,
    identifier: str,
    command: str,
    env: Mapping[str, str],
    timeout: float | None,
    progress: Callable[[str], None],
    holding: Sequence[int] = (),
    begun: Callable[[int], None] = lambda group: None,
) -> dict[str, Any]:
    """Run ``sh -c command`` in a release ('' for the base path), and wait for it.

    If nobody listens any more it goes on to its end: half a migration is worse than one that nobody saw.

    :param env: variables over those of the host and of `.env`.
    :param timeout: seconds after which it is ended with all that it started; None for no limit.
    :param holding: open files that it inherits.
    :param begun: is told its process group.
    :returns: ``exited`` (-1 where it was ended), ``output``: its last lines.
    """
    for name in env:
        if not name or "=" in name:
            raise Failure(f"{name!a} is no name of a variable", kind="refused")
    child, mask = _start(layout, identifier, command, env, errors=subprocess.STDOUT, holding=holding)
    begun(child.pid)
    last: deque[str] = deque(maxlen=KEPT_LINES)
    tell: Callable[[str], None] | None = progress
    output = _Output(child, timeout)
    for line in _lines(output, mask):
        last.append(line)
        if tell is not None:
            try:
                tell(line)
            except OSError:
                tell = None
    if output.late:
        last.append(f"still running after {timeout:g} s; ended")
    return {"exited": -1 if output.late else child.wait(), "output": "\n".join(last)}


def answer(layout: Layout, identifier: str, command: str, env: Mapping[str, str], timeout: float) -> dict[str, Any]:
    """What a command says that is asked something: as :func:`run`, but its two streams are kept apart.

    :returns: ``exited`` (-1 where it was ended), ``output`` and ``errors``, all of them.
    """
    child, hiding = _start(layout, identifier, command, env, errors=subprocess.PIPE)
    exited = -1
    try:
        said = child.communicate(timeout=timeout)
        exited = child.returncode
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        said = child.communicate()
    output, errors = (hiding.text(each.decode(errors="replace")) for each in said)
    return {"exited": exited, "output": output, "errors": errors}


def _start(
    layout: Layout, identifier: str, command: str, env: Mapping[str, str], *, errors: int, holding: Sequence[int] = ()
) -> tuple[subprocess.Popen[bytes], Mask]:
    """A command that has begun, and what hides its secrets.

    :param errors: where it writes its errors to.
    :param holding: open files that it inherits.
    """
    place = layout.release(identifier) if identifier else layout.base
    if not os.path.isdir(place):
        raise Failure(f"there is no {place} to run a command in", "run fab deploy", "missing")
    known = variables.of_file(layout, identifier)
    hiding = Mask(secrets_of(known, every=True) | secrets_of(env, every=False))
    child = subprocess.Popen(
        ["/bin/sh", "-c", command],
        cwd=place,
        env=variables.whole(layout, identifier, known, env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        start_new_session=True,  # so that it can be ended with all that it started
        pass_fds=tuple(holding),
    )
    return child, hiding


def mask(layout: Layout, texts: Sequence[str]) -> dict[str, Any]:
    """Hide the values of `.env` in what other programs of this host said of the application.

    :returns: ``texts``; where the values cannot be known, nothing of them is told.
    """
    try:
        hiding = of_host(layout)
    except OSError as error:
        return {"texts": [f"(not shown: {ENVIRONMENT} cannot be read to hide its values: {error.strerror})"]}
    return {"texts": [hiding.text(text) for text in texts]}


def of_host(layout: Layout) -> Mask:
    """What hides the values of `.env`.

    :raises OSError: it cannot be read.
    """
    return Mask(secrets_of(variables.of_file(layout, ""), every=True))


class _Output:
    """What a command writes, until it ends or its time is over.

    :ivar late: it was ended, because it took too long.
    """

    def __init__(self, child: subprocess.Popen[bytes], timeout: float | None) -> None:
        self._child = child
        self._deadline = time.monotonic() + timeout if timeout is not None else None
        self.late = False

    def __iter__(self) -> Iterator[bytes]:
        assert self._child.stdout is not None
        descriptor = self._child.stdout.fileno()
        ended = 0.0
        with self._child.stdout:
            while True:
                if select.select([descriptor], [], [], 0.1)[0]:
                    data = os.read(descriptor, 1 << 16)
                    if not data:
                        break
                    yield data
                elif self._child.poll() is not None:
                    ended = ended or time.monotonic()
                    if time.monotonic() - ended > LINGER_S:
                        return
                if self._deadline is not None and time.monotonic() > self._deadline and not ended:
                    self.late = True
                    self._end()
                    return
            self._await_end()

    def _await_end(self) -> None:
        """It has closed its output and may work on."""
        try:
            left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
            self._child.wait(left)
        except subprocess.TimeoutExpired:
            self.late = True
            self._end()

    def _end(self) -> None:
        for number, patience in ((signal.SIGTERM, TERM_S), (signal.SIGKILL, None)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(patience)
                return


def _lines(output: _Output, mask: Mask) -> Iterator[str]:
    """The output line by line, with values hidden that go over several lines or came in pieces."""
    stream = mask.stream()
    rest = b""
    for data in output:
        *whole, rest = re.split(rb"\r?\n", rest + stream.feed(data))
        yield from map(_text, whole)
        while len(rest) > LINE:
            yield _text(rest[:LINE])
            rest = rest[LINE:]
    for line in (rest + stream.end()).splitlines():
        yield _text(line)


def _text(line: bytes) -> str:
    return line.decode(errors="replace").rstrip()
