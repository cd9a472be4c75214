"""The laptop's end of the host program: requests out, results in, over one channel of the connection."""

from __future__ import annotations

import contextlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import CheckFailed, DeployError, ExitCode
from . import privilege
from .bootstrap import program
from .transport import PACKET

if TYPE_CHECKING:
    from .connection import Host

CHUNK = 1 << 16

Operations = Sequence[tuple[str, dict[str, Any]]]


class HostFailure(DeployError):
    """The host program says that an operation failed.

    :ivar kind: a word to act on: ``locked``, ``corrupt``, ``disk``, ``incomplete``, ...
    """

    exit_code = ExitCode.CHECK  # where nobody gives it another kind, see errors.as_kind

    def __init__(self, what: str, *, where: str, hint: str, kind: str) -> None:
        super().__init__(what, where=where, hint=hint)
        self.kind = kind


class Answer:
    """What the host says, or will say, to one request.

    :param count: how many operations were asked for.
    :param fatal: after a failure the program cannot go on, for what is left of a payload cannot be told from a request.
    """

    def __init__(self, session: Session, count: int, *, fatal: bool) -> None:
        self._session = session
        self._count = count
        self._fatal = fatal
        self._results: list[Any] = []
        self._failure: DeployError | None = None
        self.refused: OSError | None = None

    @property
    def complete(self) -> bool:
        return self._failure is not None or len(self._results) == self._count

    def take(self, message: dict[str, Any], host: str) -> None:
        if "result" in message:
            self._results.append(message["result"])
        elif "failure" in message:
            failure = message["failure"]
            self._failure = HostFailure(failure["what"], where=host, hint=failure["hint"], kind=failure["kind"])
        elif "crash" in message:
            self._failure = DeployError(
                "the host program failed unexpectedly; this is a defect",
                where=host,
                output=message["crash"],
                hint="please report it with the lines above",
            )

    def wait(self, progress: Callable[[str], None] | None = None) -> list[Any]:
        """The results of the operations, in their order.

        :raises HostFailure: the first that failed; those behind it were not performed.
        :raises OSError, TimeoutError: the connection is gone; see :meth:`Host.lost_means_failed`.
        """
        self._session.read_for(self, progress)
        if self._failure is not None:
            if self._fatal:
                self._session.close()
            raise self._failure
        return self._results


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
        self._asked: deque[Answer] = deque()

    @property
    def closed(self) -> bool:
        return self._channel.closed or self._channel.exit_status_ready()

    def close(self) -> None:
        self._channel.close()

    def batch(
        self,
        operations: Operations,
        progress: Callable[[str], None] | None = None,
        payload: Iterable[bytes] = (),
    ) -> list[Any]:
        """Perform *operations* in order, in one round trip: :meth:`ask` and :meth:`Answer.wait`."""
        return self.ask(operations, payload).wait(progress)

    def ask(self, operations: Operations, payload: Iterable[bytes] = ()) -> Answer:
        """Send a request without waiting; the host performs what it is asked in the order of asking.

        :param payload: bytes for the operation that takes them, sent right behind the request; one takes them at most.
        :raises OSError, TimeoutError: the connection is gone; see :meth:`Host.lost_means_failed`.
        """
        answer = Answer(self, len(operations), fatal=bool(payload))
        with self._closed_on_error():
            try:
                self._send([json.dumps({"base": self._base, "ops": operations}).encode() + b"\n"])
            except OSError as error:
                if not self._asked:
                    raise
                answer.refused = error  # the program gave up at what it was asked before, and said why
            if not self._started:
                self._start()
            self._asked.append(answer)
            try:
                if answer.refused is None:
                    self._send(payload)
            except OSError as error:
                answer.refused = error  # the program gave up; what it said is still to be read
        return answer

    def read_for(self, answer: Answer, progress: Callable[[str], None] | None) -> None:
        """Read until *answer* is complete; what was asked before it is answered before."""
        with self._closed_on_error():
            while not answer.complete:
                message = self._read()
                first = self._asked[0]
                if message is None:
                    raise first.refused or EOFError("the host program ended")
                if "progress" in message:
                    if progress and first is answer:
                        progress(message["progress"])
                    continue
                first.take(message, self._host.name)
                if first.complete:
                    self._asked.popleft()

    @contextlib.contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        # An answer may still come; it must not be taken for the next request's.
        try:
            yield
        except BaseException:
            self.close()
            raise

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
            for start in range(0, len(part), PACKET):
                self._channel.sendall(part[start : start + PACKET])

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
