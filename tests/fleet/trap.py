"""A trap for connections that something on a host tries to open: counts them and where they wanted to go.

A host has no route, so most attempts would fail before there is a packet that could be counted. The trap
gives the host a route and a name server that lead nowhere, counts what comes, and refuses it at once.
"""

from __future__ import annotations

from pathlib import Path

from tests.fleet import network

KERNEL_IPV6 = Path("/proc/sys/net/ipv6")
RESOLVER = "nameserver 192.0.2.53\noptions timeout:1 attempts:1\n"

# Only what begins something counts: not the answers to those who came to the host (TCP packets other than a
# bare SYN, ICMP other than an echo request), nor what an interface says by itself (IPv6 neighbours, groups).
RULES = """
table inet trap {
    counter attempts { }
    set targets4 { typeof meta l4proto . ip daddr . th dport; flags dynamic; size 1000; }
    set targets6 { typeof meta l4proto . ip6 daddr . th dport; flags dynamic; size 1000; }
    chain output {
        type filter hook output priority 0
        oifname "lo" accept
        tcp flags & (syn | ack) != syn accept
        icmp type != echo-request accept
        icmpv6 type != echo-request accept
        meta l4proto igmp accept
        counter name attempts
        add @targets4 { meta l4proto . ip daddr . th dport }
        add @targets6 { meta l4proto . ip6 daddr . th dport }
        meta l4proto tcp reject with tcp reset
        reject with icmpx admin-prohibited
    }
}
"""


def set_up(pid: int, number: int) -> None:
    """Set the trap in the network namespace of `pid`; `number` makes the IPv6 address its own."""
    network.nft(RULES, pid)
    network.ip_inside(pid, "route add default dev host0")
    if KERNEL_IPV6.exists():
        network.ip_inside(pid, f"addr add {_address6(number)} dev host0 nodad\nroute add ::/0 dev host0")


def attempts(pid: int) -> int:
    listed = network.nft_listed("counters table inet trap", pid)
    return next(int(entry["counter"]["packets"]) for entry in listed if "counter" in entry)


def targets(pid: int) -> list[str]:
    found = []
    for entry in network.nft_listed("table inet trap", pid):
        for element in entry.get("set", {}).get("elem", []):
            found.append(" ".join(str(part) for part in element["concat"]))
    return sorted(found)


def reset(pid: int) -> None:
    network.nft("reset counters table inet trap\nflush set inet trap targets4\nflush set inet trap targets6", pid)


def remove(pid: int, number: int) -> None:
    network.ip_inside(pid, "route del default dev host0")
    if KERNEL_IPV6.exists():
        network.ip_inside(pid, f"route del ::/0 dev host0\naddr del {_address6(number)} dev host0")
    network.nft("delete table inet trap", pid)


def _address6(number: int) -> str:
    return f"2001:db8:f1ee:7::{number:x}/128"
