"""Us against what a team would use instead: the same hosts, the same application, in turn, in one run.

    python -m benchmarks [RUNS]          as root on Debian, from the top of the repository

Figures are medians of whole processes, seen from outside; what counts is the ratio.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from deploy.bundle import Target, Wheelhouse, create_bundle, known_bundle
from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import FAB, Project

HERE = Path(__file__).resolve().parent
TINY = HERE.parent / "tests/data/tiny"
BOOKWORM = Target.parse({"python": "3.11", "platform": "manylinux_2_36_x86_64"})


class Bench:
    """Three hosts, and three ways to deploy to them."""

    def __init__(self, directory: Path, fleet: Fleet, machines: list[Machine]) -> None:
        self.directory = directory
        self.machines = machines
        self.project = Project(
            directory / "ours", fleet, machines, service={"manager": "systemd", "unit": "tiny.service"}
        )
        self.environment = {
            **self.project.environment(),
            "BENCH_KEY": str(fleet.client.key),
            "BENCH_SSH_CONFIG": str(fleet.client.config),
            "BENCH_RSA_KEY": str(directory / "rsa"),
        }
        self.count = 0
        bundle = create_bundle(TINY / "requirements.txt", BOOKWORM, wheelhouse=Wheelhouse())
        self.wheels = [bundle.path(wheel) for wheel in bundle.manifest.wheels]
        self._plain()
        self._capistrano()

    def _plain(self) -> None:
        root = self.directory / "plain"
        shutil.copytree(TINY, root)
        shutil.copy(HERE / "plain/fabfile.py", root)
        _adapt(root / "serve.py", "8001")
        members = [part for wheel in self.wheels for part in ("-C", str(wheel.parent), wheel.name)]
        subprocess.run(["tar", "-cf", str(root / "wheels.tar"), *members], check=True)
        unit = (TINY / "tiny.service").read_text()
        for machine in self.machines:
            machine.write("/etc/systemd/system/plain.service", unit.replace("/srv/tiny", "/srv/plain"))
            machine.run("install -d -o guestbook -g guestbook /srv/plain /srv/plain/shared /srv/plain/shared/data")
            machine.write("/srv/plain/shared/.env", "SECRET=x\n", mode=0o600, owner="guestbook:guestbook")
            machine.run("systemctl daemon-reload")

    def _capistrano(self) -> None:
        root = self.directory / "cap"
        shutil.copytree(HERE / "capistrano", root)
        source = self.directory / "cap-source"
        shutil.copytree(TINY, source)
        _adapt(source / "serve.py", "8002")
        # Capistrano's SSH library reads this form of key whatever the version of OpenSSL.
        command = ["ssh-keygen", "-q", "-t", "rsa", "-m", "PEM", "-N", "", "-f", self.directory / "rsa"]
        subprocess.run(command, check=True)
        public = (self.directory / "rsa.pub").read_text()
        unit = (TINY / "tiny.service").read_text().replace("User=guestbook", "User=deploy")
        self._git(source, "init", "-q", "-b", "main")
        for machine in self.machines:
            machine.write("/etc/systemd/system/cap.service", unit.replace("/srv/tiny", "/srv/cap"))
            machine.run("install -d -o deploy -g deploy /srv/cap /srv/cap/shared /srv/cap/shared/data /srv/cap-wheels")
            machine.write("/srv/cap/shared/.env", "SECRET=x\n", mode=0o600, owner="deploy:deploy")
            machine.run("systemctl daemon-reload")
            machine.run(f"echo '{public.strip()}' >> /home/deploy/.ssh/authorized_keys")
            for wheel in self.wheels:
                shutil.copy(wheel, machine.root / "srv/cap-wheels" / wheel.name)

    @staticmethod
    def _git(directory: Path, *words: str) -> None:
        identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.org"]
        subprocess.run(["git", *identity, *words], cwd=directory, check=True, stdout=subprocess.DEVNULL)

    def change(self) -> None:
        """A new version of the code, everywhere."""
        self.count += 1
        for name in ("ours", "plain", "cap-source"):
            (self.directory / name / "version.txt").write_text(f"version {self.count}\n")
        self._git(self.directory / "cap-source", "add", "-A")
        self._git(self.directory / "cap-source", "commit", "-q", "-m", "change")
        for machine in self.machines:
            # Capistrano gets its repository on the host for nothing: no forge, no network.
            shutil.rmtree(machine.root / "srv/repo.git", ignore_errors=True)
            self._git(self.directory, "clone", "-q", "--bare", "cap-source", str(machine.root / "srv/repo.git"))
            machine.run("chown -R deploy:deploy /srv/repo.git")

    def ways(self, hosts: int) -> dict[str, Callable[[], None]]:
        addresses = [machine.address for machine in self.machines[:hosts]]
        environment = {**self.environment, "BENCH_HOSTS": " ".join(addresses)}
        cap = {**environment, "HOME": str(self.directory)}
        return {
            "ours": lambda: _run(
                [str(FAB), "deploy", "--limit", ",".join(addresses)], self.directory / "ours", environment
            ),
            "plain Fabric": lambda: _run([str(FAB), "deploy"], self.directory / "plain", environment),
            "Capistrano": lambda: _run(["cap", "production", "deploy"], self.directory / "cap", cap),
        }


def _adapt(serve: Path, port: str) -> None:
    """The application on a port of its own, where nobody writes a `.release.json`."""
    text = serve.read_text().replace("8000", port)
    serve.write_text(text.replace('json.loads((HERE / ".release.json").read_text())["id"]', "HERE.name"))


def _run(command: list[str], directory: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turn(
    ways: dict[str, Callable[[], object]], runs: int, before: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """The median of each way, A B C A B C ..."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        before()
        for name, work in ways.items():
            times[name].append(timed(work))
    return {name: median(values) for name, values in times.items()}


def show(work: str, figures: dict[str, float], budget: str) -> None:
    ours = figures["ours"]
    others = "  ".join(
        f"{name} {value:.2f} s (ratio {ours / value:.2f})" for name, value in figures.items() if name != "ours"
    )
    print(f"{work:<38} ours {ours:.3f} s  {others}  budget: {budget}", flush=True)


def first_install(bench: Bench, runs: int) -> None:
    """The wheels of a large lock file on a host that has none: the host's own work, without the upload of ours."""
    machine = bench.machines[0]
    lock = HERE / "requirements-forty.txt"
    bundle = create_bundle(lock, BOOKWORM, wheelhouse=Wheelhouse())
    forty = machine.root / "srv/forty"
    forty.mkdir()
    for wheel in bundle.manifest.wheels:
        shutil.copy(bundle.path(wheel), forty / wheel.filename)
    project = bench.project
    shutil.copy(lock, project.directory / "requirements.txt")

    def pip() -> None:
        make = "rm -rf /srv/pipvenv && python3 -m venv /srv/pipvenv"
        machine.run(f"{make} && /srv/pipvenv/bin/pip install -q --no-index --no-deps /srv/forty/*.whl", timeout=300)

    def ours() -> None:
        _run([str(FAB), "update-deps", "--limit", machine.address], project.directory, bench.environment)

    def empty() -> None:
        machine.run("rm -rf /srv/tiny/wheels/* /srv/tiny/venvs/*")

    figures = in_turn({"ours": ours, "pip on the host": pip}, runs, empty)
    show(f"first install, {len(bundle.manifest.wheels)} wheels (with upload)", figures, "0.25 of pip")


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    if not shutil.which("cap"):
        subprocess.run(["apt-get", "install", "-y", "-q", "--no-install-recommends", "capistrano"], check=True)
    with tempfile.TemporaryDirectory() as temporary, Fleet.start(Path(temporary) / "fleet") as fleet:
        machines = fleet.boot_all([("bookworm", f"web{number}") for number in range(1, 4)])
        bench = Bench(Path(temporary), fleet, machines)
        bench.change()
        for work in bench.ways(3).values():
            work()
        show("code only, 1 host", in_turn(bench.ways(1), runs, bench.change), "0.6 of Capistrano")
        show("nothing to change, 1 host", in_turn(bench.ways(1), runs), "0.3 of Capistrano")
        show("code only, 3 hosts", in_turn(bench.ways(3), runs, bench.change), "0.45 of Capistrano")
        lock, house = HERE / "requirements-forty.txt", Wheelhouse()
        first_install(bench, min(runs, 3))
        warm = median(timed(lambda: known_bundle(lock, BOOKWORM, wheelhouse=house)) for _ in range(20))
        print(f"{'create-bundle, nothing changed':<38} ours {warm * 1000:.1f} ms  budget: 50 ms")
        bare = Path(temporary) / "bare"
        bare.mkdir()
        (bare / "fabfile.py").write_text("from fabric import task\n\n\n@task\ndef hello(c):\n    pass\n")
        listing = {
            "ours": lambda: _run([str(FAB), "--list"], bench.project.directory, dict(os.environ)),
            "bare Fabric": lambda: _run([str(FAB), "--list"], bare, dict(os.environ)),
        }
        show("fab --list", in_turn(listing, 15), "1.3 of bare Fabric")


if __name__ == "__main__":
    main()
