"""The same work on many hosts at once; every host's failure is told, not only the first's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from ..errors import ConnectionFailed, DeployError, combine
from ..host.connection import Host

T = TypeVar("T")

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
    # An interrupt may come while threads are started, and the pool waits only for those that it knows already: until it
    # knows all, none does anything.
    ready, called_off = threading.Event(), threading.Event()

    def begin(host: Host) -> T:
        ready.wait()
        if called_off.is_set():
            raise ConnectionFailed("interrupted", where=host.name)
        with host.at_work():
            return work(host)

    futures: dict[Future[T], Host] = {}
    with ThreadPoolExecutor(max_workers=min(width, len(hosts)) or 1) as pool:
        try:
            for host in hosts:
                futures[pool.submit(begin, host)] = host
            ready.set()
            pending = set(futures)
            while pending:
                # A time-out, because a wait without one is not interrupted by signals everywhere.
                _, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
        except BaseException:
            if not ready.is_set():
                called_off.set()
                ready.set()
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


def _let_end(hosts: Sequence[Host]) -> None:
    for host in hosts:
        host.stop()
    deadline = time.monotonic() + GRACE_S
    while any(host.runs_command for host in hosts) and time.monotonic() < deadline:
        time.sleep(0.02)
