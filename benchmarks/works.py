"""What is measured: one function a row of the design's speed budget."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from statistics import median

from deploy.bundle import Wheelhouse, create_bundle
from tests.fab import FAB
from tests.fleet.machines import Fleet, Relay

from .figures import Row, against, in_turn, seconds, timed
from .rivals import HERE, PLACES, TARGET, Rivals, run

FORTY = HERE / "requirements-forty.txt"
OTHERS = HERE / "requirements-others.txt"
LATENCY_S = 0.05
TRIPS = 12
SLACK = 64 * 1024

# In the venvs that `first_install` leaves on the host.
PIP = "/srv/pipvenv/bin/pip install -q"
UV = "uv pip install -q --offline --no-cache --compile-bytecode --python /srv/uvvenv/bin/python"


def code_only(rivals: Rivals, hosts: int, runs: int) -> Row:
    ways = rivals.everybody([machine.address for machine in rivals.machines[:hosts]])
    times = in_turn(ways, runs, rivals.change)
    many = f"{hosts} hosts" if hosts > 1 else "1 host"
    return against(f"code only, {many}", times, "Capistrano", 0.6 if hosts == 1 else 0.45)


def nothing(rivals: Rivals, runs: int) -> Row:
    times = in_turn(rivals.everybody([rivals.machines[0].address]), runs)
    return against("nothing to change, 1 host", times, "Capistrano", 0.3)


def far_away(rivals: Rivals, fleet: Fleet, runs: int) -> list[Row]:
    """Code only, at 100 ms round-trip time; and how often ours waited for the host."""
    trips: list[int] = []
    with fleet.relay(rivals.machines[0], LATENCY_S) as relay:
        ways = rivals.everybody([f"127.0.0.1:{relay.port}"])

        def ours() -> None:
            relay.reset_counts()
            ways["ours"]()
            trips.append(relay.round_trips)

        times = in_turn({**ways, "ours": ours}, runs, rivals.change)
        shaken = _handshake(rivals, relay)
    counted = int(median(trips)) - shaken
    return [
        against("code only, 1 host, 100 ms away", times, "Capistrano", 0.25),
        Row(
            "… round trips after the SSH handshake",
            str(counted),
            "",
            "",
            f"{counted} (and {shaken} for the handshake)",
            f"{TRIPS}",
            counted <= TRIPS,
        ),
    ]


def _handshake(rivals: Rivals, relay: Relay) -> int:
    """The round trips of a login that does nothing else, by the same library with the same key."""
    relay.reset_counts()
    login = f"from fabric import Connection; Connection('deploy@127.0.0.1:{relay.port}').open()"
    run([sys.executable, "-c", login], rivals.directory, rivals.environment)
    return relay.round_trips


def first_install(rivals: Rivals, runs: int, notes: list[str]) -> Row:
    """The wheels of a large lock file on a host that has none of them."""
    machine = rivals.machines[0]
    bundle = create_bundle(FORTY, TARGET, wheelhouse=Wheelhouse(), places=PLACES)
    wheels = bundle.manifest.wheels
    forty = machine.root / "srv/forty"
    forty.mkdir()
    for wheel in wheels:
        shutil.copy(bundle.path(wheel), forty / wheel.filename)
    shutil.copy(FORTY, machine.root / "srv/forty.txt")
    shutil.copy(FORTY, rivals.project.directory / "requirements.txt")
    rivals.everybody([machine.address])
    shutil.copy(Path(sys.executable).parent / "uv", machine.root / "usr/local/bin/uv")
    made: list[float] = []
    install = "--no-index --no-deps --find-links /srv/forty --require-hashes -r /srv/forty.txt"

    def empty() -> None:
        machine.run("rm -rf /srv/tiny/wheels/* /srv/tiny/venvs/* /srv/pipvenv /srv/uvvenv")
        made.append(timed(lambda: machine.run("python3 -m venv /srv/pipvenv")))
        machine.run("python3 -m venv --without-pip /srv/uvvenv")

    def pip() -> None:
        machine.run(f"{PIP} {install}", timeout=300)

    def uv() -> None:
        machine.run(f"{UV} {install}", timeout=300)

    times = in_turn({"ours": rivals.ours("update-deps"), "pip": pip, "uv": uv}, runs, empty)
    size = sum(wheel.size for wheel in wheels) / (1 << 20)
    notes.append(
        f"First install: {len(wheels)} wheels, {size:.0f} MiB. Ours is the whole ``fab update-deps``, the upload and "
        f"the making of the venv included; pip's {seconds(times['pip'])} begin with the wheels on the host and with a "
        f"venv that is there, which took another {seconds(median(made))} to make; uv's {seconds(times['uv'])} "
        "likewise, with bytecode as pip makes it, and without its cache."
    )
    return against(f"first install of {len(wheels)} wheels", times, "pip", 0.25)


def one_wheel(rivals: Rivals, fleet: Fleet, notes: list[str]) -> list[Row]:
    """One pin after the other is changed, each together with the code, as after an upgrade; its wheel is here."""
    lock = rivals.project.directory / "requirements.txt"
    house = Wheelhouse()
    changes = pins(OTHERS.read_text())
    plain, changed, excess, largest = [], [], [], 0
    in_place: dict[str, list[float]] = {PIP: [], UV: []}
    machine = rivals.machines[0]
    with fleet.relay(rivals.machines[0]) as relay:
        work = rivals.everybody([f"127.0.0.1:{relay.port}"])["ours"]
        lock.write_text(FORTY.read_text())
        rivals.change()
        work()
        for name, pin in changes.items():
            rivals.change()
            plain.append(timed(work))
            before = pins(lock.read_text())
            lock.write_text(lock.read_text().replace(before[name], pin))
            bundle = create_bundle(lock, TARGET, wheelhouse=house, places=PLACES)
            wheel = next(wheel for wheel in bundle.manifest.wheels if wheel.name == name)
            shutil.copy(bundle.path(wheel), machine.root / "srv" / wheel.filename)
            for command, spent in in_place.items():
                spent.append(timed(lambda do=f"{command} --no-index --no-deps /srv/{wheel.filename}": machine.run(do)))
            rivals.change()
            relay.reset_counts()
            changed.append(timed(work))
            excess.append(relay.bytes_up - wheel.size)
            largest = max(largest, wheel.size)
    ratio = median(changed) / median(plain)
    beside = max(excess)
    notes.append(
        "One wheel changed: ours is the whole deploy, into a venv of its own, so that the former release can come "
        f"back. On the host alone, into the venv that serves: pip {seconds(median(in_place[PIP]))}, "
        f"uv {seconds(median(in_place[UV]))}."
    )
    return [
        Row(
            "one wheel of many changed, 1 host",
            seconds(median(changed)),
            "",
            "",
            f"{ratio:.2f} × code only ({seconds(median(plain))})",
            "1.5 ×",
            ratio <= 1.5,
        ),
        Row(
            "… bytes sent beside the wheel",
            f"{beside / 1024:.0f} KiB",
            "",
            "",
            f"{beside / 1024:.0f} KiB (wheels of up to {largest / 1024:.0f} KiB)",
            "64 KiB",
            beside <= SLACK,
        ),
    ]


def pins(lock: str) -> dict[str, str]:
    """Name → its lines, of a lock file as `pip-compile` writes them."""
    blocks = re.findall(r"^([a-z0-9.-]+)(?:\[[^\]]*\])?==[^\n]*(?:\n {4}--hash[^\n]*)*", lock, re.MULTILINE)
    whole = re.finditer(r"^[a-z0-9.-]+(?:\[[^\]]*\])?==[^\n]*(?:\n {4}--hash[^\n]*)*", lock, re.MULTILINE)
    return dict(zip(blocks, (found[0] for found in whole), strict=True))


def bundle_again(rivals: Rivals, notes: list[str]) -> Row:
    lock = rivals.project.directory / "requirements.txt"
    house = Wheelhouse()
    spent = median(timed(lambda: create_bundle(lock, TARGET, wheelhouse=house)) for _ in range(20))
    rivals.everybody([rivals.machines[0].address])
    whole = median(timed(rivals.ours("create-bundle")) for _ in range(5))
    notes.append(
        f"Create-bundle with nothing changed: the work itself; ``fab create-bundle`` as a whole process, which asks "
        f"the host for its target, takes {seconds(whole)}."
    )
    ours = f"{spent * 1000:.1f} ms"
    return Row("create-bundle, nothing changed", ours, "", "", ours, "50 ms", spent <= 0.05)


def listing(rivals: Rivals, directory: Path) -> Row:
    """`fab --list` of ours, and of a fabfile with one task of its own."""
    bare = directory / "bare"
    bare.mkdir()
    (bare / "fabfile.py").write_text("from fabric import task\n\n\n@task\ndef hello(c):\n    pass\n")
    ways = {
        "ours": rivals.ours("--list"),
        "bare Fabric": lambda: run([str(FAB), "--list"], bare, rivals.environment),
    }
    return against("``fab --list``", in_turn(ways, 15), "bare Fabric", 1.3)
