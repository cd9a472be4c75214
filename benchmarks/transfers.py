"""How code travels: how quick a large file is, and what each strategy costs in bytes and in waiting.

    python -m benchmarks.transfers [--runs 3] [--write]

As root on Debian, from the top of the repository.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fabric import Config

from deploy.host.connection import Access, Host
from deploy.source import rsync
from deploy.source.snapshot import Snapshot
from tests.fab import FAB
from tests.fleet.machines import Fleet, Machine, Relay
from tests.fleet.project import Project
from tests.repositories import Git, Hg, Svn

from . import figures
from .figures import Work, in_turn, seconds
from .rivals import run

SIZE_MB = 200
FILES = 400
LATENCY_S = 0.025
CHANGES = ("first", "one file changed", "nothing changed")
LIMIT = 1.5
LARGE = ("work", "ours", "rsync over OpenSSH", "ratio", "budget")
LARGE_WIDTHS = (36, 12, 18, 12, 16)
HEADINGS = ("strategy", *(f"{change}: {what}" for change in CHANGES for what in ("sent", "waits")))
WIDTHS = (12, 18, 14, 18, 14, 18, 14)
BEGIN = ".. The transfers begin (python -m benchmarks.transfers --write)"
END = ".. The transfers end"


def throughput(fleet: Fleet, directory: Path, runs: int, notes: list[str]) -> list[tuple[str, ...]]:
    """A large file that a host has not got, beside rsync over OpenSSH from and to the same places."""
    machine = fleet.boot("bookworm")
    project = Project(directory / "large", fleet, [machine])
    machine.run("install -d -o deploy /srv/beside")

    def change() -> None:
        with (project.directory / "big").open("wb") as stream:
            for _ in range(SIZE_MB):
                stream.write(os.urandom(1 << 20))

    def empty() -> None:
        machine.run("rm -rf /srv/tiny/releases/* /srv/tiny/staged /srv/beside/*; sync")

    with _host(fleet, machine) as host, _master(fleet, machine) as options:
        cipher = host.connection.transport.local_cipher
        ways = {
            "ours": _ridden(project.directory, host),
            "OpenSSH": _openssh(fleet, machine, project.directory, *options),
        }
        alone = in_turn(ways, runs, change, empty)
        whole = in_turn(
            {
                "rsync": _pushed(project, "rsync"),
                "stream": _pushed(project, "stream"),
                "OpenSSH": _openssh(fleet, machine, project.directory),
                "same cipher": _openssh(fleet, machine, project.directory, "-c", cipher),
            },
            runs,
            change,
            empty,
        )
        peak = _memory(host, machine, directory)
    machine.stop()
    notes.append(
        f"{SIZE_MB} MB are one file of random bytes. The transfer alone begins on connections that are open, ours and "
        f"a ControlMaster of OpenSSH's. ``fab push`` is the whole process, with its start and its login; it reads the "
        f"file here to name it, has the host read it to verify it, and waits until it is on the host's disk. Beside it "
        f"is rsync over OpenSSH with its login, with its own choice of cipher; with ours ({cipher}) it took "
        f"{seconds(whole['same cipher'])}."
    )
    notes.append(f"Memory of the process that pushes, at its highest: {peak}.")
    return [
        _beside(f"{SIZE_MB} MB by rsync, the transfer alone", alone["ours"], alone["OpenSSH"], LIMIT),
        _beside(f"{SIZE_MB} MB by ``fab push``, rsync", whole["rsync"], whole["OpenSSH"], None),
        _beside(f"{SIZE_MB} MB by ``fab push``, stream", whole["stream"], whole["OpenSSH"], None),
    ]


def _beside(work: str, ours: float, theirs: float, limit: float | None) -> tuple[str, ...]:
    ratio = ours / theirs
    verdict = f"{limit:g} ×, {'met' if ratio <= limit else '**missed**'}" if limit else ""
    return work, seconds(ours), seconds(theirs), f"{ratio:.2f} ×", verdict


def _openssh(fleet: Fleet, machine: Machine, directory: Path, *options: str) -> Work:
    shell = " ".join(["ssh", "-F", str(fleet.client.config), *options])
    line = rsync.command(str(directory), "/srv/beside", reference="", shell=shell)
    line[-1] = f"{machine.address}:/srv/beside/"
    return lambda: subprocess.run(line, input=b"big\0", check=True)


@contextmanager
def _master(fleet: Fleet, machine: Machine) -> Iterator[list[str]]:
    """A connection of OpenSSH's that is open; the options with which others ride on it."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["-o", f"ControlPath={folder}/master"]
        line = ["ssh", "-F", str(fleet.client.config), *options]
        subprocess.run([*line, "-o", "ControlMaster=yes", "-f", "-N", machine.address], check=True)
        try:
            yield options
        finally:
            subprocess.run([*line, "-q", "-O", "exit", machine.address], check=True)


def _pushed(project: Project, strategy: str) -> Work:
    def work() -> None:
        project.configure(source={"strategy": strategy})
        run([str(FAB), "push"], project.directory, project.environment())

    return work


@contextmanager
def _host(fleet: Fleet, machine: Machine) -> Iterator[Host]:
    config = Config()
    config.connect_kwargs = {"key_filename": str(fleet.client.key)}
    host = Host(
        f"deploy@{machine.address}",
        name="host",
        base_path="/srv/beside",
        deploy_user="deploy",
        python="python3",
        config=config,
        access=Access(known_hosts=(fleet.client.known_hosts,)),
    )
    host.open()
    try:
        yield host
    finally:
        host.close()


def _ridden(directory: Path, host: Host) -> Work:
    # rsync alone: what is sent need not have been looked at.
    code = Snapshot(directory, (), "", "")
    return lambda: rsync.push(host, code, "/srv/beside", "", only=["big"])


def _memory(host: Host, machine: Machine, directory: Path) -> str:
    """The highest memory of this process before and after a file five times as large went through it."""
    folder = directory / "larger"
    folder.mkdir()
    with (folder / "big").open("wb") as stream:
        stream.truncate(5 * SIZE_MB << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    machine.run("rm -rf /srv/beside/*")
    _ridden(folder, host)()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"{before / 1024:.0f} MiB after {SIZE_MB} MB, {after / 1024:.0f} MiB after {5 * SIZE_MB} MB"


def strategies(fleet: Fleet, directory: Path, notes: list[str]) -> list[tuple[str, ...]]:
    """What `fab push` of one application sends, and how often it waits for the host, by each strategy."""
    machine = fleet.boot("bookworm-vcs")
    lines = []
    with fleet.relay(machine, LATENCY_S) as relay:
        shaken, said = _login(fleet, directory, relay)
        for strategy, commit in _repositories(directory).items():
            project = Project(directory / strategy, fleet, [machine], base_path=f"/srv/{strategy}")
            machine.run(f"install -d -o guestbook -g guestbook /srv/{strategy} /srv/{strategy}/shared")
            machine.write(f"/srv/{strategy}/shared/.env", "", mode=0o600, owner="guestbook:guestbook")
            stages = {"production": {"hosts": [f"deploy@127.0.0.1:{relay.port}"]}}
            project.configure(source={"strategy": strategy}, stages=stages)
            size = _fill(project.directory)
            project.fab("setup")  # brings the host program, once in a host's life
            cells = [strategy]
            for change in CHANGES:
                if change == "one file changed":
                    _change(project.directory)
                if change != "nothing changed":
                    commit(project.directory)
                relay.reset_counts()
                project.fab("push")
                cells += [f"{relay.bytes_up / 1024:.0f} KiB", str(relay.round_trips - shaken)]
            lines.append(tuple(cells))
            print("  ".join(cells), flush=True)
    machine.stop()
    notes.append(
        f"{FILES} files of {size / (1 << 20):.1f} MiB together; one of them, of 4 KiB, is changed. Sent: all bytes "
        f"from here to the host, the login's {said / 1024:.1f} KiB included; waits: how often this side had to hear "
        f"from the host before it went on, after the {shaken} of the login."
    )
    return lines


def _login(fleet: Fleet, directory: Path, relay: Relay) -> tuple[int, int]:
    environment = Project.environment_of(fleet)
    login = f"from fabric import Connection; Connection('deploy@127.0.0.1:{relay.port}').open()"
    run([sys.executable, "-c", login], directory, environment)
    return relay.round_trips, relay.bytes_up


def _repositories(directory: Path) -> Mapping[str, Callable[[Path], object]]:
    """By strategy, what makes a commit of the application."""

    copies: dict[Path, Svn] = {}

    def svn(root: Path) -> None:
        if root not in copies:
            copies[root] = Svn(root, directory / "repository")
        copies[root].commit()

    return {
        "rsync": lambda root: None,
        "stream": lambda root: None,
        "git": lambda root: Git(root).commit(),
        "hg": lambda root: Hg(root).commit(),
        "svn": svn,
    }


def _fill(directory: Path) -> int:
    """Modules as an application has them; their size."""
    words = random.Random(1)
    size = 0
    for number in range(FILES):
        path = directory / f"package{number % 20}/module{number}.py"
        path.parent.mkdir(exist_ok=True)
        text = "".join(f"# {words.getrandbits(96):024x} {words.choice(HEADINGS)}\n" for _ in range(100))
        path.write_text(text)
        size += len(text)
    return size


def _change(directory: Path) -> None:
    path = directory / "package7/module7.py"
    path.write_text(path.read_text().replace("strategy", "strategies"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transfers", description="How code travels.")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--write", action="store_true", help=f"put the tables into {figures.PAGE.name}")
    arguments = parser.parse_args()
    notes: list[str] = []
    with tempfile.TemporaryDirectory(dir="/var/tmp") as temporary, Fleet.start(Path(temporary) / "fleet") as fleet:
        directory = Path(temporary)
        rows = throughput(fleet, directory, arguments.runs, notes)
        print(figures.aligned(LARGE, rows), flush=True)
        lines = strategies(fleet, directory, notes)
    one, five, _ = os.getloadavg()
    print("\n".join(notes) + f"\nload average at the end: {one:.1f} {five:.1f}")
    if arguments.write:
        tables = [figures.listed(LARGE, LARGE_WIDTHS, rows), figures.listed(HEADINGS, WIDTHS, lines)]
        figures.write(figures.PAGE, "\n\n".join([*tables, figures.noted(notes)]), BEGIN, END)


if __name__ == "__main__":
    main()
