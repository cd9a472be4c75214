"""The network of one fleet: a slice of the documentation addresses, a bridge, and what may pass it.

All that a run makes carries the name of its slice (bridge, packet filter, control group, mounts), so that
what a killed run left behind can be found and removed by that name alone.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

# Documentation ranges (RFC 5737): nobody's network. 192.0.2.0/24 is left alone, for virtual machines use it.
RANGES = ("198.51.100.0/24", "203.0.113.0/24")
SLICES = tuple(part for text in RANGES for part in ipaddress.IPv4Network(text).subnets(new_prefix=27))
LOCKS = Path("/run/fabric-wheelhouse-fleet")

# What is cut is dropped, not refused, and ARP passes: like a cable that somebody cut further away.
FILTER = """
table bridge {name} {{
    set cut {{ type ifname; }}
    chain input {{ type filter hook input priority -200; iifname @cut ether type {{ ip, ip6 }} drop; }}
    chain output {{ type filter hook output priority -200; oifname @cut ether type {{ ip, ip6 }} drop; }}
}}
table inet {name} {{
    set joined {{ type ipv4_addr; }}
    chain forward {{
        type filter hook forward priority -200
        ip saddr @joined ip daddr @joined accept
        iifname "{name}" drop
        oifname "{name}" drop
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Slice:
    """The addresses of one run, held by a file lock: the kernel lets go of it when the run dies, however."""

    name: str
    network: ipaddress.IPv4Network
    lock: IO[str]

    @property
    def laptop(self) -> str:
        return str(self.network[1])

    def host_address(self, number: int) -> str:
        """The address of host 1, 2, 3...; at most :attr:`capacity`."""
        if not 1 <= number <= self.capacity:
            raise RuntimeError(f"a fleet has room for {self.capacity} hosts")
        return str(self.network[number + 1])

    @property
    def capacity(self) -> int:
        return self.network.num_addresses - 2

    def release(self) -> None:
        self.lock.truncate(0)
        self.lock.close()


def take_slice(workdir: Path) -> Slice:
    """Take a free slice for a run that works in `workdir`, and sweep what dead runs left in others."""
    LOCKS.mkdir(mode=0o700, exist_ok=True)
    taken: Slice | None = None
    for number, network in enumerate(SLICES):
        lock = (LOCKS / f"{number:02}").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        lock.seek(0)
        name = f"fleet{number:02}"
        if left := lock.read():
            sweep(name, Path(left))
            lock.truncate(0)
        if taken is None and not _in_use(network):
            lock.write(str(workdir))
            lock.flush()
            taken = Slice(name, network, lock)
        else:
            lock.close()
    if taken is None:
        raise RuntimeError(f"all {len(SLICES)} address slices of the fleet are in use")
    return taken


def make_bridge(part: Slice) -> None:
    # An address of its own, or the bridge takes the lowest of its ports and changes it under live connections.
    mac = "02:f1:ee:7d:00:" + part.name[-2:]
    ip("link", "add", part.name, "address", mac, "type", "bridge")
    # A route instead of a prefix, which would make its last address a broadcast: it is the thirtieth host's.
    ip("addr", "add", f"{part.laptop}/32", "dev", part.name)
    ip("link", "set", part.name, "up")
    ip("route", "add", str(part.network), "dev", part.name, "src", part.laptop)
    nft(FILTER.format(name=part.name))


def plug_in(part: Slice, interface: str, address: str, pid: int) -> None:
    """Give the network namespace of `pid` its address and one route: to the laptop, and nowhere else."""
    # An isolated port reaches the bridge itself and no other isolated port.
    ip("link", "set", interface, "type", "bridge_slave", "isolated", "on")
    ip_inside(pid, f"addr add {address}/32 dev host0\nlink set host0 up\nroute add {part.laptop} dev host0")


def join(part: Slice, interface: str, one: dict[int, str], others: dict[int, str]) -> None:
    """Let the host of `interface` and others speak with each other: numbers of processes and addresses of both."""
    ip("link", "set", interface, "type", "bridge_slave", "isolated", "off")
    # Where the kernel has netfilter look at what a bridge passes on, it is forwarded, too.
    nft(f"add element inet {part.name} joined {{ {', '.join({**one, **others}.values())} }}")
    for pids, addresses in ((one, others), (others, one)):
        for pid in pids:
            ip_inside(pid, "\n".join(f"route replace {address} dev host0" for address in addresses.values()))


def cut(part: Slice, interface: str) -> None:
    nft(f'add element bridge {part.name} cut {{ "{interface}" }}')


def restore(part: Slice, interface: str) -> None:
    # Adding first makes it no error to restore what was not cut.
    cut(part, interface)
    nft(f'delete element bridge {part.name} cut {{ "{interface}" }}')


def ip(*arguments: str) -> str:
    return _checked(["ip", *arguments])


def ip_inside(pid: int, commands: str) -> None:
    """Commands for ip(8), one a line, in the network namespace of a process."""
    _checked([*_entering(pid), "ip", "-batch", "-"], commands + "\n")


def nft(rules: str, pid: int | None = None) -> None:
    """Apply nft commands: here, or in the network namespace of a process."""
    _checked([*_entering(pid), "nft", "-f", "-"], rules)


def nft_listed(what: str, pid: int | None = None) -> list[dict[str, Any]]:
    """What ``nft list`` says, as the objects of libnftables-json(5)."""
    answer: list[dict[str, Any]] = json.loads(_checked([*_entering(pid), "nft", "-j", "list", *what.split()]))[
        "nftables"
    ]
    return answer


def control_groups(name: str) -> list[Path]:
    """Where systemd keeps its groups: the unified hierarchy, cgroup v1's named one, or both."""
    found = []
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mountpoint, kind, options, *_ = line.split()
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.append(Path(mountpoint) / name)
    return found


def sweep(name: str, workdir: Path) -> None:
    """End and remove everything that carries the name of a slice; the caller holds the slice."""
    groups = control_groups(name)
    _end_processes(groups)
    for mountpoint in reversed(_mountpoints(name)):
        unmount(mountpoint)
    subprocess.run(["ip", "link", "del", name], stderr=subprocess.DEVNULL)
    for family in ("bridge", "inet"):
        subprocess.run(["nft", "delete", "table", family, name], stderr=subprocess.DEVNULL)
    for group in groups:
        remove_control_group(group)
    shutil.rmtree(workdir / "hosts", ignore_errors=True)


def unmount(mountpoint: Path) -> None:
    if subprocess.run(["umount", str(mountpoint)], stderr=subprocess.DEVNULL).returncode:
        # Somebody stands in it: it goes when they leave.
        subprocess.run(["umount", "--lazy", str(mountpoint)], check=True)


def remove_control_group(group: Path) -> None:
    for directory, _, _ in os.walk(group, topdown=False):
        for _ in range(50):
            try:
                Path(directory).rmdir()
                break
            except FileNotFoundError:
                break
            except OSError:
                # Still held by a process that was killed but not yet buried.
                time.sleep(0.02)


def _end_processes(groups: list[Path]) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        # What ends takes its groups away meanwhile, which os.walk() bears.
        within = [Path(each) for group in groups for each, _, _ in os.walk(group)]
        pids = {pid for group in within for pid in _pids(group / "cgroup.procs")}
        if not pids:
            return
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.02)


def _pids(file: Path) -> list[int]:
    try:
        # 0 stands for a process of a namespace that is not seen from here; as a signal's target it is ourselves.
        return [int(pid) for pid in file.read_text().split() if pid != "0"]
    except OSError:
        return []


def _mountpoints(source: str) -> list[Path]:
    rows = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return [Path(row[1].replace(r"\040", " ")) for row in rows if row[0] == source]


def _in_use(network: ipaddress.IPv4Network) -> bool:
    here = json.loads(ip("-json", "-4", "addr"))
    addresses = [entry["local"] for interface in here for entry in interface["addr_info"]]
    return any(ipaddress.IPv4Address(address) in network for address in addresses)


def _entering(pid: int | None) -> list[str]:
    return [] if pid is None else ["nsenter", "--target", str(pid), "--net"]


def _checked(command: list[str], stdin: str = "") -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}\n{stdin}".rstrip())
    return done.stdout
