"""Push a snapshot over the connection itself: the files that the host lacks, in one stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import StagingFailed
from ..host.connection import Host
from .snapshot import Snapshot

CHUNK = 1 << 18


def size(snapshot: Snapshot, missing: Sequence[str]) -> int:
    """The bytes of the files *missing*."""
    return sum((snapshot.root / path).lstat().st_size for path in missing)


def request(
    host: Host, snapshot: Snapshot, identifier: str, missing: Sequence[str]
) -> tuple[tuple[str, dict[str, Any]], Iterator[bytes]]:
    """The operation that takes the files *missing* into the begun release *identifier*, and what follows it."""
    kinds = {item.path: item.kind for item in snapshot.entries}
    files = []
    for path in missing:
        look = (snapshot.root / path).lstat()
        files.append((path, kinds[path] == "x", look.st_size, look.st_mtime_ns))
    return ("receive", {"identifier": identifier, "files": files}), _contents(host, snapshot, files)


def _contents(host: Host, snapshot: Snapshot, files: list[tuple[str, bool, int, int]]) -> Iterator[bytes]:
    # Small files are gathered, or each would be a packet of its own.
    gathered = bytearray()
    for path, _, size, _ in files:
        left = size
        with (snapshot.root / path).open("rb") as stream:
            while left:
                chunk = stream.read(min(left, CHUNK))
                if not chunk:
                    raise StagingFailed(
                        f"{path} became shorter while it was sent", where=host.name, hint="deploy again"
                    )
                left -= len(chunk)
                gathered += chunk
                if len(gathered) >= CHUNK:
                    yield bytes(gathered)
                    gathered.clear()
    yield bytes(gathered)
