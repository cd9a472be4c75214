"""Requests all the while: clients that ask an address one request after another, and what became of each."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

CLIENTS = 6


class Load:
    """Clients that ask one request after another, each on a connection of its own.

    :ivar failures: whatever was no good answer.
    :ivar seconds: what the others took.
    :ivar versions: what they told.
    :ivar told: the same with the moments at which a request was begun and answered.
    """

    def __init__(self, address: str, port: int) -> None:
        self._address = address
        self._port = port
        self.failures: list[str] = []
        self.seconds: list[float] = []
        self.versions: list[str] = []
        self.told: list[tuple[float, float, str]] = []
        self.ended = threading.Event()

    def ask(self) -> None:
        while not self.ended.is_set():
            begun = time.monotonic()
            connection = http.client.HTTPConnection(self._address, self._port, timeout=20)
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                text = answer.read().decode()
                if answer.status == 200:
                    self.versions.append(text)
                    self.told.append((begun, time.monotonic(), text))
                    self.seconds.append(time.monotonic() - begun)
                else:
                    self.failures.append(f"{answer.status}: {text}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
            finally:
                connection.close()

    def mixed(self, former: str, latter: str) -> int:
        """How many were answered by *former* after somebody was answered by *latter*, and before anybody was again."""
        first = min(answered for _, answered, text in self.told if text == latter)
        last = max(begun for begun, _, text in self.told if text == latter)
        return sum(1 for begun, answered, text in self.told if text == former and first < begun and answered < last)

    @property
    def p99(self) -> float:
        return sorted(self.seconds)[len(self.seconds) * 99 // 100]


@contextmanager
def steady(address: str, port: int = 80) -> Iterator[Load]:
    load = Load(address, port)
    clients = [threading.Thread(target=load.ask) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield load
    finally:
        load.ended.set()
        for client in clients:
            client.join()
