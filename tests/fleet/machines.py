"""Real Debian hosts on this machine: an overlay on a cached base, booted with systemd and sshd in half a second.

Knows no pytest, so benchmarks use it too:

    with Fleet.start(workdir) as fleet:
        web = fleet.boot("trixie", "web1")
        web.run("systemctl is-system-running")
"""

from __future__ import annotations

import atexit
import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from tests.fleet import bases, kernel, network
from tests.fleet.client import Client
from tests.fleet.machine import CommandFailed, Machine
from tests.fleet.relay import Relay

__all__ = ["Client", "CommandFailed", "Fleet", "Machine", "Relay"]


class Fleet:
    """One run's network, client and hosts. Make it with :meth:`start`; :meth:`stop` leaves nothing behind."""

    def __init__(self, workdir: Path, part: network.Slice) -> None:
        self.workdir = workdir
        self.slice = part
        self._allowance = kernel.Allowance()
        self.client = Client(workdir / "client")
        self.machines: dict[str, Machine] = {}
        self._bases: dict[str, bases.Base] = {}
        self._lock = threading.Lock()

    @classmethod
    def start(cls, workdir: Path) -> Fleet:
        """Take addresses, make the bridge and the client; sweep what dead runs left behind.

        :param workdir: where the overlays and the client's home go; made when missing.
        """
        if reason := bases.why_not():
            raise RuntimeError(f"cannot boot hosts here: {reason}")
        bases.install_tools()
        workdir = workdir.resolve()
        workdir.mkdir(parents=True, exist_ok=True)
        fleet = cls(workdir, network.take_slice(workdir))
        atexit.register(fleet.stop)
        try:
            network.make_bridge(fleet.slice)
            fleet._make_room()
            fleet.client.create()
        except BaseException:
            fleet.stop()
            raise
        return fleet

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """The laptop's end of the bridge, the only thing that a host has a route to."""
        return self.slice.laptop

    @property
    def bridge(self) -> str:
        return self.slice.name

    def boot(self, suite: str = "trixie", name: str | None = None) -> Machine:
        """A fresh host that answers on SSH, with the users `deploy` (our key, sudo for all) and `guestbook`."""
        with self._lock:
            if suite not in self._bases:
                self._bases[suite] = bases.hold(suite)
            taken = {machine.number for machine in self.machines.values()}
            number = next(number for number in range(1, len(taken) + 2) if number not in taken)
            name = name or f"{suite}{number}"
            if name in self.machines:
                raise ValueError(f"there is a host named {name} already")
            machine = Machine(self, suite, name, number, self._bases[suite].root)
            self.machines[name] = machine
        try:
            machine._create()
            machine.boot_again()
        except BaseException:
            machine.stop()
            raise
        return machine

    def boot_all(self, wanted: Sequence[tuple[str, str | None]]) -> list[Machine]:
        """Several hosts at once, given as (suite, name); in the order given, all of them or none."""
        with ThreadPoolExecutor(max_workers=max(1, len(wanted))) as pool:
            futures = [pool.submit(self.boot, suite, name) for suite, name in wanted]
        failed = [error for future in futures if (error := future.exception())]
        if failed:
            for future in futures:
                if future.exception() is None:
                    future.result().stop()
            raise failed[0]
        return [future.result() for future in futures]

    @contextmanager
    def relay(self, machine: Machine, latency_s: float = 0.0, cut_after_bytes: int | None = None) -> Iterator[Relay]:
        """A relay in front of a host's sshd, with the host's keys known for the relay's address too."""
        with Relay(machine.address, 22, latency_s, cut_after_bytes) as relay:
            names = f"[127.0.0.1]:{relay.port}"
            with self._lock:
                self.client.forget_host(names)
                self.client.know_host(names, machine.host_keys())
            yield relay

    def environment(self) -> dict[str, str]:
        """The variables for a program on the laptop that shall use this client, and no agent of the developer's."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("SSH_")}
        return {**kept, "HOME": str(self.client.home)}

    def stop(self) -> None:
        """End all hosts, unmount, remove the overlays and the network. Calling it again does nothing."""
        atexit.unregister(self.stop)
        if self.slice.lock.closed:
            return
        for machine in list(self.machines.values()):
            machine.stop()
        network.sweep(self.slice.name, self.workdir)
        for base in self._bases.values():
            base.release()
        self.slice.release()
        self._allowance.release()

    def _make_room(self) -> None:
        hosts = self.workdir / "hosts"
        hosts.mkdir(exist_ok=True)
        kind = subprocess.run(["stat", "-f", "-c", "%T", hosts], capture_output=True, text=True, check=True)
        if kind.stdout.strip() == "overlayfs":
            # An overlay cannot be the upper layer of another one.
            subprocess.run(["mount", "-t", "tmpfs", self.slice.name, hosts], check=True)
