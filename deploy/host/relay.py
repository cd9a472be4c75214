"""rsync, git and hg ride on the connection that is already authenticated: a private socket, a channel for each call.

So there is no second login, no second set of SSH options, and sudo is dealt with in one place.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import paramiko

from ..errors import DeployError
from . import remote_shell
from .connection import Host
from .transport import PACKET

CHUNK = 1 << 17
"""Bytes that are read from the host at once."""


class Relay:
    """Serves the remote-shell helper for one host while it is open.

    :param command: what is run on the host, whatever is asked for; None for what rsync asks for, which is different at
        each call.
    :ivar sent: bytes that went to the host.
    :ivar error: what went wrong on our side of a call, if anything.
    """

    def __init__(self, host: Host, command: list[str] | None = None) -> None:
        self._host = host
        self._command = command
        self.sent = 0
        self.error: DeployError | None = None
        self._directory = tempfile.TemporaryDirectory(prefix="deploy-")  # 0700: nobody else reaches the socket
        self._path = Path(self._directory.name) / "s"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self._path))
        self._listener.listen(4)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def shell(self) -> str:
        """What rsync's ``--rsh``, git's ``GIT_SSH_COMMAND`` and hg's ``--ssh`` get."""
        return shlex.join([sys.executable, "-I", "-S", str(remote_shell.__file__), str(self._path)])

    def close(self) -> None:
        # shutdown() wakes the accept() of the other thread; close() alone does not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(timeout=5)
        self._directory.cleanup()

    def _accept(self) -> None:
        while True:
            try:
                call, _ = self._listener.accept()
            except OSError:
                return
            with call:
                try:
                    self._serve(call)
                except DeployError as error:
                    self.error = error
                except (BrokenPipeError, ConnectionResetError):
                    pass  # who was served has ended, and says himself why; a lost network is told otherwise
                except (OSError, EOFError, ValueError, paramiko.SSHException) as error:
                    self.error = self._host.lost(error)

    def _serve(self, call: socket.socket) -> None:
        _, descriptors, _, _ = socket.recv_fds(call, 1, 3)
        source, sink, errors = descriptors
        with contextlib.ExitStack() as closing:
            for descriptor in descriptors:
                closing.callback(os.close, descriptor)
            asked = _remote_command(_line(call))
            channel = self._host.channel(self._command or asked)
            closing.callback(channel.close)
            channel.settimeout(None)  # who is served may think for long about a large tree; keepalive watches the peer
            up = threading.Thread(target=self._upload, args=(source, channel), daemon=True)
            noise = threading.Thread(target=_copy_errors, args=(channel, errors), daemon=True)
            up.start()
            noise.start()
            while chunk := channel.recv(CHUNK):
                _write(sink, chunk)
            noise.join(timeout=5)
            status = channel.recv_exit_status()
            if status < 0 and _is_lost(channel):
                raise EOFError("it was cut")
            call.sendall(bytes([status & 0xFF if status >= 0 else 255]))

    def _upload(self, source: int, channel: paramiko.Channel) -> None:
        # A connection that is cut is told by whoever reads from it.
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            while chunk := os.read(source, PACKET):
                self.sent += len(chunk)
                channel.sendall(chunk)
            channel.shutdown_write()


@contextlib.contextmanager
def relay(host: Host, command: list[str] | None = None) -> Iterator[Relay]:
    """A :class:`Relay` that is closed afterwards."""
    opened = Relay(host, command)
    try:
        yield opened
    finally:
        opened.close()


def _line(call: socket.socket) -> list[str]:
    received = b""
    while not received.endswith(b"\n"):
        chunk = call.recv(1 << 16)
        if not chunk:
            raise EOFError("the helper ended")
        received += chunk
    words: list[str] = json.loads(received)
    return words


def _remote_command(words: list[str]) -> list[str]:
    """What rsync asks its remote shell to run: ``[-l USER] HOST COMMAND ...`` without the first parts."""
    while words and words[0].startswith("-"):
        words = words[2:] if words[0] in ("-l", "-p") else words[1:]
    return words[1:]


def _is_lost(channel: paramiko.Channel) -> bool:
    """Whether a channel without an exit status ended with its connection, and not by a signal on the host."""
    transport = channel.get_transport()
    transport.join(timeout=1)  # a lost connection ends its channels first, then itself
    return not transport.is_active()


def _copy_errors(channel: paramiko.Channel, sink: int) -> None:
    with contextlib.suppress(OSError):
        while chunk := channel.recv_stderr(CHUNK):
            _write(sink, chunk)


def _write(sink: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(sink, view) :]
