"""No more connections at once than are allowed: where there are more hosts, one that rests makes room for the next.

What a host knows of a run lies on its disk, so a connection that was given up costs a login and a start of the host
program, and nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import Protocol


class Guest(Protocol):
    """What takes a place: a host.

    :ivar stays: its connection is needed all the time, whether it is worked on or not.
    """

    stays: bool

    def close(self) -> None: ...


class Places:
    """The places of a run. One instance is used from many threads.

    :param most: how many there are.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._mutex = threading.Condition()
        # Those that have a place, in the order in which they were last let go of.
        self._guests: list[Guest] = []
        self._busy: list[Guest] = []
        self._leaving: list[Guest] = []

    def width(self, guests: Collection[Guest]) -> int:
        """How many of *guests* may be worked on at once, so that each of them finds a place; one, at least."""
        with self._mutex:
            staying = {guest for guest in self._guests if guest.stays}
        return max(1, self._most - len(staying)) if len({*guests, *staying}) > self._most else self._most

    def begin(self, guest: Guest) -> None:
        """*guest* is worked on from now on, so it makes no room; until :meth:`end`."""
        with self._mutex:
            # Its connection is there until it is closed, and would be taken for one that lasts.
            self._mutex.wait_for(lambda: guest not in self._leaving)
            self._busy.append(guest)

    def end(self, guest: Guest) -> None:
        with self._mutex:
            self._busy.remove(guest)
            if guest in self._guests:
                self._guests.remove(guest)
                self._guests.append(guest)

    def take(self, guest: Guest) -> None:
        """Take a place for *guest*, which is about to be connected; whoever must make room for it is closed first."""
        with self._mutex:
            if guest in self._guests:
                return
            leaving = self._next_to_leave() if len(self._guests) >= self._most else None
            if leaving:
                self._guests.remove(leaving)
                self._leaving.append(leaving)
            self._guests.append(guest)
        if not leaving:
            return
        try:
            leaving.close()
        finally:
            with self._mutex:
                self._leaving.remove(leaving)
                self._mutex.notify_all()

    def free(self, guest: Guest) -> None:
        """*guest* is not connected any more."""
        with self._mutex:
            if guest in self._guests:
                self._guests.remove(guest)

    def _next_to_leave(self) -> Guest | None:
        # Phases go through the hosts in one order, so the turn of who had his last comes last again.
        resting = (each for each in reversed(self._guests) if not each.stays and each not in self._busy)
        return next(resting, None)
