"""The same work on many hosts at once, and an interrupt in the middle of it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
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


# An alarm plays the interrupt, for it comes from outside, at any moment; thirty hosts, whose work is short.
INTERRUPTED = """
import contextlib, random, signal, time
from deploy.fleet import parallel
class Host:
    name, runs_command = "host", False
    class places: width = staticmethod(lambda hosts: 30)
    at_work = staticmethod(contextlib.nullcontext)
    stop = abandon = lambda self: None
signal.signal(signal.SIGALRM, signal.default_int_handler)
parallel._INTERRUPTS += (signal.SIGALRM,)
hosts, heard = [Host() for _ in range(30)], 0
for _ in range(200):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005 + random.random() * 0.012)
        parallel.attempt(hosts, lambda host: time.sleep(random.random() * 0.004))
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        heard += 1
print(heard)
"""


def test_an_interrupt_at_any_moment_is_told_as_that_and_the_run_ends() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) > 20
