"""A command on a host that is sent something and answers with something: bytes in, bytes out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from .connection import Host

CHUNK = 1 << 16


def exchange(host: Host, command: Sequence[str], content: Iterable[bytes]) -> tuple[int, bytes, str]:
    """Run *command* as the login user, with *content* on its standard input.

    :returns: exit status, standard output, and what it said on standard error.
    :raises ConnectionFailed: not reached, or no sign of life on either stream for as long as the host may be silent.
    """
    channel = host.channel(list(command), host.login)
    answer, said = bytearray(), bytearray()
    with host.lost_means_failed():
        try:
            for part in content:
                channel.sendall(part)
            channel.shutdown_write()
        except OSError:
            if not channel.exit_status_ready() and not channel.closed:
                raise
            # It ended without listening to the end; what it said tells why.
        last = time.monotonic()
        silence_s = channel.gettimeout()
        while not (ended := channel.exit_status_ready()) or channel.recv_ready() or channel.recv_stderr_ready():
            if channel.recv_ready():
                answer += channel.recv(CHUNK)
            elif channel.recv_stderr_ready():
                said += channel.recv_stderr(CHUNK)
            elif not ended:
                if silence_s is not None and time.monotonic() - last > silence_s:
                    channel.close()
                    raise TimeoutError
                channel.status_event.wait(0.02)
                continue
            last = time.monotonic()
        # The streams are whole only when they are at their end, which may come after the exit status.
        while chunk := channel.recv(CHUNK):
            answer += chunk
        while chunk := channel.recv_stderr(CHUNK):
            said += chunk
        return channel.recv_exit_status(), bytes(answer), said.decode(errors="replace")
