"""Whether who asked for something is still there.

A laptop that is interrupted lets go of the connection, and asks another host program to take back what it did. The
first one may only then come to what it was asked before, on a host that has much to do, and would undo that.
"""

from __future__ import annotations

import select

from .failure import Failure

# Some SSH servers close both standard streams where a channel is closed, some only this one.
_STANDARD_INPUT = 0
_CLOSED = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)  # a pipe's other end, or a socket's


def assert_there() -> None:
    """Look whether standard input has been closed, whatever is still to be read of it.

    :raises Failure: kind ``unheard``; who asked has gone, or lets go.
    """
    looking = select.poll()
    looking.register(_STANDARD_INPUT, _CLOSED)
    if any(happened & _CLOSED for _, happened in looking.poll(0)):
        raise Failure("who asked for this has gone", kind="unheard")
