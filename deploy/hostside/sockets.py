"""TCP connections of this host that are established, as proc(5) tells them to everybody: /proc/net/tcp and tcp6."""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Iterable, Iterator
from typing import Union

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
End = tuple[Address, int]

_ESTABLISHED = "01"


def established() -> Iterator[tuple[End, End]]:
    """Each connection: our end and the other."""
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(path, encoding="ascii") as stream:
                rows = [line.split() for line in stream.readlines()[1:]]
        except OSError:
            continue  # a kernel without IPv6
        for row in rows:
            if row[3] == _ESTABLISHED:
                yield _end(row[1]), _end(row[2])


def count_to(ends: Iterable[End]) -> int:
    """How many connections of this host go to *ends*."""
    wanted = {*ends}
    return sum(theirs in wanted for _, theirs in established())


def count_at(port: int) -> int:
    """How many others are connected to *port* of this host; what it says to itself is not counted."""
    own = [ours for ours, _ in established()]
    local = {address for address, _ in own}
    return sum(
        ours[1] == port and not theirs[0].is_loopback and theirs[0] not in local for ours, theirs in established()
    )


def resolve(name: str, port: int) -> list[End]:
    """All ends that ``name:port`` may mean; none where nobody knows the name."""
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [(_plain(ipaddress.ip_address(str(address[0]).partition("%")[0])), port) for *_, address in found]


def _end(text: str) -> End:
    """Words of 32 bits in this machine's order, in hexadecimal."""
    digits, _, port = text.partition(":")
    words = [int(digits[start : start + 8], 16) for start in range(0, len(digits), 8)]
    packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
    address = ipaddress.IPv4Address(packed) if len(packed) == 4 else _plain(ipaddress.IPv6Address(packed))
    return address, int(port, 16)


def _plain(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
