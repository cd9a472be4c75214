"""A steady load on a host's own loopback address: bounded in time and number; what was lost is counted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.fleet.machines import Machine

MOST_REQUESTS = 50_000
LONGEST_S = 300

CLIENT = """\
import http.client, json, os, sys, threading, time
ports, clients, requests, seconds = json.loads(sys.argv[1])
begun, lock, seen = time.monotonic(), threading.Lock(), {"told": [], "lost": []}
def ask():
    said = []
    for port in ports:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", "/")
            answer = connection.getresponse()
            body = answer.read()
            if answer.status == 200:
                return json.loads(body)["version"], said
            said.append(f"{port}: HTTP {answer.status}")
        except (OSError, http.client.HTTPException) as error:
            said.append(f"{port}: {error!r}")
    return "", said
def load():
    while not os.path.exists("/run/load.stop") and time.monotonic() - begun < seconds:
        start = time.monotonic()
        version, said = ask()
        with lock:
            if version:
                seen["told"].append([start, time.monotonic(), version])
            else:
                seen["lost"].append(said)
            if len(seen["told"]) + len(seen["lost"]) >= requests:
                return
        time.sleep(0.005)
threads = [threading.Thread(target=load) for _ in range(clients)]
for thread in threads: thread.start()
open("/run/load.begun", "w").close()
for thread in threads: thread.join()
print(json.dumps(seen))
"""


@dataclass
class Seen:
    """What the load met.

    :ivar told: the version that answered, of each request that was answered, in the order of the answers; with the
        moments at which it was begun and answered, in seconds.
    :ivar lost: of each request that nobody answered, what was said instead.
    """

    told: list[tuple[float, float, str]] = field(default_factory=list)
    lost: list[list[str]] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return len(self.told) + len(self.lost)

    @property
    def versions(self) -> list[str]:
        """Of the application, in the order in which they were first met."""
        return list(dict.fromkeys(version for _, _, version in self.told))

    @property
    def p99(self) -> float:
        """Seconds in which all but one of a hundred were answered."""
        return sorted(answered - begun for begun, answered, _ in self.told)[len(self.told) * 99 // 100]

    def mixed(self, former: str, latter: str) -> int:
        """How many were answered by *former* after somebody was answered by *latter*, and before anybody was again."""
        first = min(answered for _, answered, version in self.told if version == latter)
        last = max(begun for begun, _, version in self.told if version == latter)
        return sum(
            1 for begun, answered, version in self.told if version == former and first < begun and answered < last
        )


@contextmanager
def steady(machine: Machine, ports: Sequence[int] = (8000,), clients: int = 3) -> Iterator[Seen]:
    """Clients ask one request after another while the block lasts; its figures are there when it has ended.

    :param ports: where the application answers; one that does not is passed over, as a balancer does.
    """
    seen = Seen()
    machine.write("/usr/local/lib/load.py", CLIENT)
    machine.run("rm -f /run/load.stop /run/load.begun /run/load.json")
    machine.run(
        "systemd-run --unit=load --collect --service-type=oneshot --no-block "
        "--property=StandardOutput=file:/run/load.json "
        f"python3 /usr/local/lib/load.py '{json.dumps([list(ports), clients, MOST_REQUESTS, LONGEST_S])}'"
    )
    machine.run("until test -e /run/load.begun; do sleep 0.02; done")
    try:
        yield seen
    finally:
        # A unit of the kind oneshot is being activated as long as it works.
        working = "systemctl show --property=ActiveState --value load.service | grep -q activating"
        machine.run(f"touch /run/load.stop; while {working}; do sleep 0.05; done")
    found = json.loads(machine.read("/run/load.json"))
    seen.told, seen.lost = [tuple(each) for each in found["told"]], found["lost"]
