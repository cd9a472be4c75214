"""Push a snapshot over the connection itself, where one end has no rsync: the files the host lacks, in one stream."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import StagingFailed
from ..host.connection import Host
from .snapshot import Snapshot

CHUNK = 1 << 18


def push(host: Host, snapshot: Snapshot, identifier: str, missing: list[str]) -> int:
    """Send the files of *missing* into the begun release *identifier*; the bytes that were sent.

    :raises StagingFailed: a file changed while it was read.
    """
    kinds = {item.path: item.kind for item in snapshot.entries}
    files = [(path, kinds[path] == "x", (snapshot.root / path).lstat().st_size) for path in missing]
    operation = ("receive", {"identifier": identifier, "files": files})
    with host.lost_means_failed():
        host.session().batch([operation], payload=_contents(host, snapshot, files))
    return sum(size for _, _, size in files)


def _contents(host: Host, snapshot: Snapshot, files: list[tuple[str, bool, int]]) -> Iterator[bytes]:
    # Small files are gathered, or each would be a packet of its own.
    gathered = bytearray()
    for path, _, size in files:
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
