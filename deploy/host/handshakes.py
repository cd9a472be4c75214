"""How many logins one server is asked for at a time, and what a failed one means: nobody there, not now, or not us.

An sshd that is configured as it comes drops some of the connections that are not logged in yet from the eleventh on
(``MaxStartups 10:30:100``); a gateway in front of a hundred hosts meets all of theirs.
"""

from __future__ import annotations

import errno
import random
import threading
from collections import defaultdict
from collections.abc import Iterable

import paramiko

AT_ONCE = 5
"""Half of sshd's limit: a busy server counts a login for a while after it succeeded, and other people log in, too."""

BACKOFF_S = 0.5

_gates: defaultdict[str, threading.BoundedSemaphore] = defaultdict(lambda: threading.BoundedSemaphore(AT_ONCE))
_mutex = threading.Lock()

_PASSING = frozenset({errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE})

_CUT_SHORT = ("protocol banner", "Negotiation failed", "No existing session")
"""What Paramiko says where a server hangs up before anybody could log in."""

_SILENT = ("Timeout opening channel", "timed out", "Authentication timeout", "SSH session not active")
"""What it says where a server, or a gateway, does not answer any more."""


def gate(server: str) -> threading.BoundedSemaphore:
    """What is held while one logs in to *server*."""
    with _mutex:
        return _gates[server]


def passing(error: BaseException) -> bool:
    """Whether a login that ended with *error* may succeed a moment later.

    A server that is starting refuses; one that is asked too much resets, closes, or is late with its banner. Whether
    the key, the password or the host key is wrong does not change. A host that does not answer at all was given its
    time, in which the kernel asked several times.
    """
    if isinstance(error, paramiko.AuthenticationException | paramiko.BadHostKeyException):
        return False
    if isinstance(error, paramiko.SSHException):
        return any(word in str(error) for word in _CUT_SHORT)
    if isinstance(error, EOFError):
        return True
    return isinstance(error, OSError) and _numbers(error) <= _PASSING and bool(_numbers(error))


def unanswered(error: BaseException) -> bool:
    """Whether nobody answered as an SSH server does: the host may be down.

    A server that has no cipher in common with us answers. A private key that cannot be read is no fault of the host.
    """
    if isinstance(error, paramiko.ChannelException | paramiko.ProxyCommandFailure):
        return True  # the gateway, or the command, did not get there
    if isinstance(error, paramiko.SSHException):
        return any(word in str(error) for word in (*_CUT_SHORT, *_SILENT))
    return not isinstance(error, FileNotFoundError | PermissionError)


def _numbers(error: OSError) -> set[int | None]:
    """What it failed with, at each address of the host."""
    each: Iterable[BaseException] = getattr(error, "errors", {}).values() or (error,)
    return {getattr(single, "errno", None) for single in each}


def pause_s(attempt: int) -> float:
    """How long to wait after attempt 0, 1, ...: longer each time, and never all hosts at the same moment."""
    return BACKOFF_S * 2.0**attempt * random.uniform(0.5, 1.5)
