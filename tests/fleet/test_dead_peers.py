"""A host that is gone without a word is noticed in the time that silence may last, whatever was going on."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fabric import Config

from deploy.errors import ConnectionFailed, NotReached
from deploy.host.connection import Host
from deploy.host.login import Access
from deploy.host.relay import relay
from tests.fleet.conftest import Boot
from tests.fleet.machines import Fleet, Machine

LIMIT_S = 30.0
QUIET_S = 40


def reached(fleet: Fleet, machine: Machine) -> Host:
    access = Access(known_hosts=(fleet.client.known_hosts,), identity=str(fleet.client.key))
    address = f"deploy@{machine.address}"
    host = Host(
        address, name=machine.name, base_path="/srv", deploy_user="", python="python3", config=Config(), access=access
    )
    host.open()
    return host


def freeze(machine: Machine) -> None:
    """The server's programs stand still; its kernel goes on to acknowledge what comes."""
    machine.run("pkill -STOP sshd")


def noticed_s(host: Host, away: Callable[[], None], work: Callable[[Host], object]) -> float:
    """Seconds from the moment the host goes away until *work* on it ends in its one error."""
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work, host)
        time.sleep(1.5)  # nothing tells from here that the work is under way there
        away()
        start = time.monotonic()
        with pytest.raises(ConnectionFailed) as raised:
            working.result(timeout=60)
        seconds = time.monotonic() - start
    assert isinstance(raised.value, NotReached), raised.value
    assert "no sign of life" in raised.value.what
    return seconds


def idle_then_used(host: Host) -> None:
    host.call("probe", shared_files=[], services=[])
    time.sleep(4)
    host.call("probe", shared_files=[], services=[])


def opening_channels(host: Host) -> None:
    while True:
        host.channel(["true"]).close()


def sending(large: Path, host: Host) -> None:
    with relay(host) as opened:
        for _ in range(50):
            subprocess.run(["rsync", "-e", opened.shell, "--whole-file", large, "x:/dev/shm/"], check=False)
            if opened.error:
                raise opened.error


def test_a_dead_host_is_noticed_within_half_a_minute_and_a_quiet_one_is_left_alone(
    fleet: Fleet, boot: Boot, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(300 << 20)
    situations: list[tuple[str, Callable[[Host], object]]] = [
        ("request", lambda host: host.command("", "sleep 90", {}, timeout_s=80)),
        ("command", lambda host: host.run("sleep 90")),
        ("push", lambda host: sending(large, host)),
        ("channel", opening_channels),
        ("idle", idle_then_used),
    ]
    machines = boot.all(*[("trixie", f"dead{number}") for number in range(7)])
    hosts = [reached(fleet, machine) for machine in machines]
    frozen, quiet = machines[5], hosts[6]
    with ThreadPoolExecutor(len(machines)) as pool:
        found = {
            name: pool.submit(noticed_s, hosts[number], machines[number].cut_network, work)
            for number, (name, work) in enumerate(situations)
        }
        found["frozen"] = pool.submit(noticed_s, hosts[5], lambda: freeze(frozen), lambda host: host.run("sleep 90"))
        alive = pool.submit(quiet.run, f"sleep {QUIET_S}; echo done")
        seconds = {name: each.result() for name, each in found.items()}
        assert alive.result().output == "done"
    assert all(each <= LIMIT_S for each in seconds.values()), seconds
    for machine in machines:
        machine.restore_network()
    for host in hosts:
        host.close()
