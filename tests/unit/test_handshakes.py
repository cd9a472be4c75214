"""What a login that failed means: nobody there, not now, or not us."""

from __future__ import annotations

import errno
import socket

import paramiko
import pytest

from deploy.host import handshakes

PASSING: list[BaseException] = [
    ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
    ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    paramiko.ssh_exception.NoValidConnectionsError(
        {("::1", 22): OSError(errno.ECONNREFUSED, ""), ("127.0.0.1", 22): OSError(errno.ECONNREFUSED, "")}
    ),
    paramiko.SSHException("Error reading SSH protocol banner"),
    EOFError(),
]
LASTING: list[BaseException] = [
    TimeoutError(errno.ETIMEDOUT, "timed out"),
    OSError(errno.EHOSTUNREACH, "No route to host"),
    socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
    paramiko.ssh_exception.NoValidConnectionsError(
        {("::1", 22): OSError(errno.ENETUNREACH, ""), ("127.0.0.1", 22): OSError(errno.ECONNREFUSED, "")}
    ),
    paramiko.ProxyCommandFailure("ssh -W", "1"),
    paramiko.ChannelException(2, "Connect failed"),
    paramiko.SSHException("Timeout opening channel."),
    paramiko.AuthenticationException("Authentication timeout."),
]
REFUSED: list[BaseException] = [
    paramiko.AuthenticationException("Authentication failed."),
    paramiko.SSHException("Incompatible ssh peer (no acceptable kex algorithm)"),
    paramiko.SSHException("No authentication methods available"),
    paramiko.SSHException("not a valid OPENSSH private key file"),
    PermissionError(errno.EACCES, "Permission denied"),
]


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_a_server_that_is_starting_or_has_too_much_to_do_is_asked_again(error: BaseException) -> None:
    assert handshakes.passing(error)
    assert handshakes.unanswered(error)


@pytest.mark.parametrize("error", LASTING, ids=repr)
def test_a_host_that_does_not_answer_is_not_reached_and_is_not_asked_again(error: BaseException) -> None:
    assert not handshakes.passing(error)
    assert handshakes.unanswered(error)


@pytest.mark.parametrize("error", REFUSED, ids=repr)
def test_a_host_that_refuses_us_is_reached(error: BaseException) -> None:
    assert not handshakes.passing(error)
    assert not handshakes.unanswered(error)


def test_pauses_grow_and_differ() -> None:
    def of(attempt: int) -> list[float]:
        return [handshakes.pause_s(attempt) for _ in range(50)]

    first, third = of(0), of(2)
    assert min(first) >= 0.25 and max(first) <= 0.75
    assert min(third) >= 1.0 and max(third) <= 3.0
    assert len(set(first)) > 40
