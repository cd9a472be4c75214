"""A channel that is opened before it is needed, so that a command does not wait a round trip for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

import paramiko

Open = Callable[[], paramiko.Channel]


class SpareChannel:
    """Hands out open channels; while one is being used the next is opened.

    :param open_channel: opens one, which takes a round trip.
    """

    def __init__(self, open_channel: Open) -> None:
        self._open = open_channel
        self._mutex = threading.Lock()
        self._spare: Future[paramiko.Channel] | None = None

    def take(self) -> paramiko.Channel:
        """An open channel.

        :raises paramiko.SSHException, OSError: the connection is gone, or the server allows no more channels.
        """
        with self._mutex:
            spare, self._spare = self._spare, None
        channel = _ready(spare) or self._open()
        with self._mutex:
            if self._spare is None:
                self._spare = _begin(self._open)
        return channel


def _ready(spare: Future[paramiko.Channel] | None) -> paramiko.Channel | None:
    if spare is None or spare.exception() is not None or spare.result().closed:
        return None  # of a connection that was lost, or of a server that allows few channels
    return spare.result()


def _begin(open_channel: Open) -> Future[paramiko.Channel]:
    future: Future[paramiko.Channel] = Future()

    def work() -> None:
        try:
            future.set_result(open_channel())
        except BaseException as error:  # whoever takes it opens one anew, and is told why that fails
            future.set_exception(error)

    threading.Thread(target=work, daemon=True, name="spare channel").start()
    return future
