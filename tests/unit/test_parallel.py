"""The same work on many hosts at once, and an interrupt in the middle of it."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from deploy.fleet import parallel
from deploy.host.connection import Host
from deploy.host.places import Places


class Stand:
    """As much of a host as is asked here."""

    runs_command = False
    name = "web"

    def __init__(self, places: Places) -> None:
        self.places = places
        self.abandoned = False

    def at_work(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def stop(self) -> None:
        return

    def abandon(self) -> None:
        self.abandoned = True


def test_an_interrupt_while_the_work_is_shared_out_begins_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever begins then is known to nobody, and would be at work while all goes back."""
    places = Places(30)
    stands = [Stand(places), Stand(places), Stand(places)]
    hosts = cast(list[Host], stands)
    done: list[Host] = []
    submit = ThreadPoolExecutor.submit

    def interrupted(pool: ThreadPoolExecutor, *arguments: Any) -> Any:
        future = submit(pool, *arguments)
        if arguments[-1] is hosts[1]:
            raise KeyboardInterrupt
        return future

    monkeypatch.setattr(ThreadPoolExecutor, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        parallel.attempt(hosts, done.append)
    assert not done
    assert all(stand.abandoned for stand in stands)
