"""The same work on many hosts at once; every host's failure is told, not only the first's."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import TypeVar

from ..errors import ConnectionFailed, DeployError, combine
from ..host.connection import Host

T = TypeVar("T")

_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE_S = 10.0
"""How long an interrupted command may take to end."""


def each(hosts: Sequence[Host], work: Callable[[Host], T]) -> dict[Host, T]:
    """Run *work* on all hosts in parallel; their results in the order of *hosts*.

    :raises DeployError: some failed; all were waited for first.
    """
    results, failures = attempt(hosts, work)
    if failures:
        raise combine(list(failures.values()))
    return results


def attempt(hosts: Sequence[Host], work: Callable[[Host], T]) -> tuple[dict[Host, T], dict[Host, DeployError]]:
    """Run *work* on all hosts, as many at once as the configuration allows; what succeeded and what failed.

    An interrupt closes what the workers wait on, so that they end, and goes on upwards. A command of the user's cannot
    be called back, and what follows (a rollback) must not race with it, so it gets some time to end; a second
    interrupt takes that away.
    """
    results: dict[Host, T] = {}
    failures: dict[Host, DeployError] = {}
    width = min((places.width(hosts) for places in {host.places for host in hosts}), default=1)
    # What the threads and this one tell each other is told by queues alone: an interrupt within an Event, or within
    # concurrent.futures.wait(), may leave a lock held for ever, or end in another error.
    begun: SimpleQueue[bool] = SimpleQueue()
    ended: SimpleQueue[None] = SimpleQueue()

    def begin(host: Host) -> T:
        try:
            if not begun.get():
                raise ConnectionFailed("interrupted", where=host.name)
            with host.at_work():
                return work(host)
        finally:
            ended.put(None)

    futures: dict[Future[T], Host] = {}
    with ThreadPoolExecutor(max_workers=min(width, len(hosts)) or 1) as pool:
        try:
            # The pool waits only for the threads that it knows: until it knows all, none begins.
            with _later():
                for host in hosts:
                    futures[pool.submit(begin, host)] = host
            for _ in hosts:
                begun.put(True)
            for _ in hosts:
                _take(ended)
        except BaseException:
            for _ in hosts:
                begun.put(False)  # for those that have not been let; nobody takes the others
            pool.shutdown(wait=False, cancel_futures=True)
            try:
                _let_end(hosts)
            finally:
                for host in hosts:
                    host.abandon()
            raise
    for future, host in futures.items():
        try:
            results[host] = future.result()
        except DeployError as error:
            failures[host] = error
    return {host: results[host] for host in hosts if host in results}, failures


@contextlib.contextmanager
def _later() -> Iterator[None]:
    """Interrupts come when the block has ended: where threads are started, one may leave a lock held for ever."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is interrupted
        return
    heard: list[int] = []
    before = {}
    try:
        for number in _INTERRUPTS:
            before[number] = signal.signal(number, lambda number, frame: heard.append(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if heard:
        signal.raise_signal(heard[0])


def _take(ended: SimpleQueue[None]) -> None:
    while True:
        # A time-out, because a wait without one is not interrupted by signals everywhere.
        with contextlib.suppress(Empty):
            return ended.get(timeout=0.5)


def _let_end(hosts: Sequence[Host]) -> None:
    for host in hosts:
        host.stop()
    deadline = time.monotonic() + GRACE_S
    while any(host.runs_command for host in hosts) and time.monotonic() < deadline:
        time.sleep(0.02)
