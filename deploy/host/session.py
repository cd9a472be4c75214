"""The laptop's end of the host program: requests out, results in, over one channel of the connection."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..errors import CheckFailed, DeployError
from . import privilege
from .bootstrap import program

if TYPE_CHECKING:
    from .connection import Host

CHUNK = 1 << 16


class HostFailure(DeployError):
    """The host program says that an operation failed.

    :ivar kind: a word to act on: ``locked``, ``corrupt``, ``disk``, ``incomplete``, ...
    """

    def __init__(self, what: str, *, where: str, hint: str, kind: str) -> None:
        super().__init__(what, where=where, hint=hint)
        self.kind = kind


class Session:
    """A running host program on *host* as *user*.

    :param folder: where the program is kept on the host between runs; '' to keep nothing there.
    """

    def __init__(self, host: Host, user: str, folder: str) -> None:
        self._host = host
        self._user = user
        self._base = host.base_path
        self._channel = host.channel(program().command(host.python, folder), user)
        self._received = b""
        self._started = False

    @property
    def closed(self) -> bool:
        return self._channel.closed or self._channel.exit_status_ready()

    def close(self) -> None:
        self._channel.close()

    def batch(
        self,
        operations: list[tuple[str, dict[str, Any]]],
        progress: Callable[[str], None] | None = None,
        payload: Iterable[bytes] = (),
    ) -> list[Any]:
        """Perform *operations* in order, in one round trip.

        :param payload: bytes for the operation that takes them, sent right behind the request; one takes them at most.
        :raises HostFailure: the first that failed.
        :raises OSError, TimeoutError: the connection is gone; see :meth:`Host.lost_means_failed`.
        """
        try:
            return self._perform(operations, progress, payload)
        except BaseException as error:
            # An answer may still come; it must not be taken for the next request's. A failure ends only its request,
            # but for one with a payload: what is left of that cannot be told from a request.
            if payload or not isinstance(error, HostFailure):
                self.close()
            raise

    def _perform(
        self,
        operations: list[tuple[str, dict[str, Any]]],
        progress: Callable[[str], None] | None,
        payload: Iterable[bytes],
    ) -> list[Any]:
        request = json.dumps({"base": self._base, "ops": operations}).encode() + b"\n"
        self._send([request])
        if not self._started:
            self._start()
        refused: OSError | None = None
        try:
            self._send(payload)
        except OSError as error:
            refused = error  # the program gave up; what it said is still to be read
        results: list[Any] = []
        while len(results) < len(operations):
            message = self._read()
            if message is None:
                raise refused or EOFError("the host program ended")
            if "result" in message:
                results.append(message["result"])
            elif "progress" in message and progress:
                progress(message["progress"])
            elif "failure" in message:
                failure = message["failure"]
                raise HostFailure(failure["what"], where=self._host.name, hint=failure["hint"], kind=failure["kind"])
            elif "crash" in message:
                raise DeployError(
                    "the host program failed unexpectedly; this is a defect",
                    where=self._host.name,
                    output=message["crash"],
                    hint="please report it with the lines above",
                )
        return results

    def _start(self) -> None:
        """Read the loader's greeting; send the program where the host does not have it."""
        greeting = self._read()
        if greeting is None:
            raise self._not_started()
        if "old_python" in greeting:
            raise CheckFailed(
                f"{self._host.python} is Python {greeting['old_python']}; 3.9 or newer is needed",
                where=self._host.name,
                hint="install a newer one and name it with deploy.python",
            )
        if not greeting.get("known"):
            content = program().content
            self._send([b"program %d\n" % len(content), content])
        self._started = True

    def _not_started(self) -> DeployError:
        status = self._channel.recv_exit_status()
        said = self._errors()
        python = self._host.python
        lacking = status == 127 or python in said
        if lacking and "not found" in said and "sudo: not found" not in said:
            return CheckFailed(
                f"there is no {python} on the host",
                where=self._host.name,
                hint="install Python 3.9 or newer (Debian: apt install python3), or name one with deploy.python",
            )
        if self._user != self._host.login:
            return privilege.refused(self._host.name, self._user, said)
        return CheckFailed(f"{python} did not start (exit {status})", where=self._host.name, output=said)

    def _errors(self) -> str:
        said = b""
        while chunk := self._channel.recv_stderr(CHUNK):
            said += chunk
        return said.decode(errors="replace")

    def _send(self, parts: Iterable[bytes]) -> None:
        # sendall() of a large object copies what is left at each send, so it is given small pieces.
        for part in parts:
            for start in range(0, len(part), CHUNK):
                self._channel.sendall(part[start : start + CHUNK])

    def _read(self) -> dict[str, Any] | None:
        for line in self._lines():
            message: dict[str, Any] = json.loads(line)
            if "beat" not in message:
                return message
        return None

    def _lines(self) -> Iterator[bytes]:
        while True:
            line, found, rest = self._received.partition(b"\n")
            if found:
                self._received = rest
                yield line
                continue
            chunk = self._channel.recv(CHUNK)
            if not chunk:
                return
            self._received += chunk
