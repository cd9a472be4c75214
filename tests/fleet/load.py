"""A steady load on a host's own loopback address: bounded in time and number; what was lost is counted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.fleet.machines import Machine

MOST_REQUESTS = 20_000
LONGEST_S = 120

CLIENT = """\
import http.client, json, os, sys, threading, time
ports, requests, seconds = json.loads(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
begun, lock, seen = time.monotonic(), threading.Lock(), {"requests": 0, "lost": [], "versions": [], "slowest": 0.0}
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
            seen["requests"] += 1
            seen["slowest"] = max(seen["slowest"], time.monotonic() - start)
            if not version:
                seen["lost"].append(said)
            elif version not in seen["versions"]:
                seen["versions"].append(version)
            if seen["requests"] >= requests:
                return
        time.sleep(0.005)
threads = [threading.Thread(target=load) for _ in range(3)]
for thread in threads: thread.start()
open("/run/load.begun", "w").close()
for thread in threads: thread.join()
print(json.dumps(seen))
"""


@dataclass
class Seen:
    """What the load met.

    :ivar lost: of each request that nobody answered, what was said instead.
    :ivar versions: of the application, in the order in which they were first met.
    :ivar slowest: seconds.
    """

    requests: int = 0
    lost: list[list[str]] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    slowest: float = 0.0


@contextmanager
def steady(machine: Machine, ports: Sequence[int] = (8000,)) -> Iterator[Seen]:
    """Three clients ask one request after another while the block lasts; its figures are there when it has ended.

    :param ports: where the application answers; one that does not is passed over, as a balancer does.
    """
    seen = Seen()
    machine.write("/usr/local/lib/load.py", CLIENT)
    machine.run("rm -f /run/load.stop /run/load.begun /run/load.json")
    machine.run(
        "systemd-run --unit=load --collect --service-type=oneshot --no-block "
        "--property=StandardOutput=file:/run/load.json "
        f"python3 /usr/local/lib/load.py '{json.dumps(list(ports))}' {MOST_REQUESTS} {LONGEST_S}"
    )
    machine.run("until test -e /run/load.begun; do sleep 0.02; done")
    try:
        yield seen
    finally:
        # A unit of the kind oneshot is being activated as long as it works.
        working = "systemctl show --property=ActiveState --value load.service | grep -q activating"
        machine.run(f"touch /run/load.stop; while {working}; do sleep 0.05; done")
    found = json.loads(machine.read("/run/load.json"))
    seen.requests, seen.lost = found["requests"], found["lost"]
    seen.versions, seen.slowest = found["versions"], found["slowest"]
