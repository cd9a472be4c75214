"""A TCP relay on the laptop in front of a host's port: adds latency, counts, and cuts.

So the kernel need not have netem, and a connection can be cut at an exact byte.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

CHUNK = 64 * 1024
QUEUED_CHUNKS = 512
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class _Connection:
    client_reader: asyncio.StreamReader
    client: asyncio.StreamWriter
    server_reader: asyncio.StreamReader
    server: asyncio.StreamWriter
    client_heard: bool = False
    counted_at: float = float("-inf")


# A chunk and the moment it is due at the other end; no bytes for the end of the stream, None for "cut here".
_Queue = asyncio.Queue[tuple[float, bytes | None]]


class Relay:
    """Relays connections to ``address:port`` from ``127.0.0.1:relay.port``; a context manager.

    :param latency_s: delay of each direction, so a round trip takes twice that. Bandwidth is not limited.
    :param cut_after_bytes: once that many bytes went up (client to server, all connections together) all
        connections are cut, and new ones are reset at once until :meth:`mend`.

    ``round_trips`` counts the times that a client spoke again after it had heard something, and at least as long after
    the last time that counted as an answer takes. What was said before cannot have waited for one: a client that is
    busy says later what nobody waits for. A window adjustment in the middle of a long upload counts too: it is an upper
    bound of what a client waited for.
    """

    def __init__(
        self, address: str, port: int = 22, latency_s: float = 0.0, cut_after_bytes: int | None = None
    ) -> None:
        self.address = address
        self.target_port = port
        self.latency_s = latency_s
        self.port = 0
        self.is_cut = False
        self._cut_after_bytes = cut_after_bytes
        self.reset_counts()
        self._connections: list[_Connection] = []
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._closing = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def __enter__(self) -> Relay:
        self._thread.start()
        self._listening.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    def reset_counts(self) -> None:
        self.bytes_up = self.bytes_down = self.round_trips = self.connections = 0

    def cut(self) -> None:
        """Reset all connections now, at both ends; new ones are reset at once until :meth:`mend`."""
        done = threading.Event()
        self._loop.call_soon_threadsafe(self._cut)
        self._loop.call_soon_threadsafe(done.set)
        done.wait()

    def mend(self, cut_after_bytes: int | None = None) -> None:
        """Let connections through again, to be cut once that many more bytes went up."""
        self._cut_after_bytes = cut_after_bytes
        self.is_cut = False

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._closing.wait()
        server.close()
        self._cut()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _relay(self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            server_reader, server = await asyncio.open_connection(self.address, self.target_port)
        except OSError:
            _reset(client)
            return
        connection = _Connection(client_reader, client, server_reader, server)
        self._connections.append(connection)
        try:
            if self.is_cut:
                self._cut()
            else:
                await self._converse(connection)
        except asyncio.CancelledError:
            pass  # the relay closes; a task of a stream protocol that ends cancelled is logged as an error
        finally:
            self._connections.remove(connection)
            client.close()
            server.close()

    async def _converse(self, connection: _Connection) -> None:
        up = _Queue(QUEUED_CHUNKS)
        down = _Queue(QUEUED_CHUNKS)
        # Whichever end breaks, the group cancels the other three.
        with contextlib.suppress(*_BROKEN):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._hear_client(connection, up))
                group.create_task(self._tell_server(connection, up))
                group.create_task(self._hear_server(connection, down))
                group.create_task(self._tell_client(connection, down))

    async def _hear_client(self, connection: _Connection, up: _Queue) -> None:
        while True:
            data = await connection.client_reader.read(CHUNK)
            now = self._loop.time()
            if data and connection.client_heard and now >= connection.counted_at + 2 * self.latency_s:
                self.round_trips += 1
                connection.client_heard = False
                connection.counted_at = now
            limit = self._cut_after_bytes
            if limit is not None:
                cut_here = len(data) >= limit
                data = data[:limit]
                self._cut_after_bytes = limit - len(data)
            self.bytes_up += len(data)
            await up.put((self._due(), data))
            if limit is not None and cut_here:
                await up.put((self._due(), None))
            if not data:
                return

    async def _tell_server(self, connection: _Connection, up: _Queue) -> None:
        while (data := await self._taken(up)) != b"":
            if data is None:
                self._cut()
                return
            connection.server.write(data)
            await connection.server.drain()
        connection.server.write_eof()

    async def _hear_server(self, connection: _Connection, down: _Queue) -> None:
        while True:
            data = await connection.server_reader.read(CHUNK)
            self.bytes_down += len(data)
            await down.put((self._due(), data))
            if not data:
                return

    async def _tell_client(self, connection: _Connection, down: _Queue) -> None:
        while data := await self._taken(down):
            connection.client_heard = True
            connection.client.write(data)
            await connection.client.drain()
        connection.client.write_eof()

    def _due(self) -> float:
        return self._loop.time() + self.latency_s

    async def _taken(self, queue: _Queue) -> bytes | None:
        due, data = await queue.get()
        if (wait := due - self._loop.time()) > 0:
            await asyncio.sleep(wait)
        return data

    def _cut(self) -> None:
        self.is_cut = True
        for connection in self._connections:
            _reset(connection.client)
            _reset(connection.server)


def fewest_round_trips(relay: Relay, work: Callable[[int], None], enough: int, tries: int = 8) -> int:
    """Round trips of the best try of *work*, which has its number; *tries* at most.

    What a busy machine counts too much is not the same at each try, so the fewest are what was waited for.
    """
    counts = []
    for number in range(tries):
        relay.reset_counts()
        work(number)
        counts.append(relay.round_trips)
        if relay.round_trips <= enough:
            break
    return min(counts)


_BROKEN = (OSError, BaseExceptionGroup)


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    writer.transport.abort()
