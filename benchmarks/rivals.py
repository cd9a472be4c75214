"""The same application, deployed in three ways to the same hosts: ours, a plain Fabric script, Capistrano."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from deploy.bundle import Places, Target, Wheelhouse, create_bundle
from tests.fab import FAB
from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import Project

from .figures import Work

HERE = Path(__file__).resolve().parent
TINY = HERE.parent / "tests/data/tiny"
TARGET = Target.parse({"python": "3.11", "platform": "manylinux_2_36_x86_64"})
PLACES = Places(ambient=True)


class Rivals:
    """Three directories on the laptop, and what each of them needs on the hosts, made once."""

    def __init__(self, directory: Path, fleet: Fleet, machines: Sequence[Machine]) -> None:
        self.directory = directory
        self.machines = list(machines)
        self.project = Project(directory / "ours", fleet, self.machines)
        self.environment = {
            **self.project.environment(),
            "BENCH_KEY": str(fleet.client.key),
            "BENCH_SSH_CONFIG": str(fleet.client.config),
            "BENCH_RSA_KEY": str(directory / "rsa"),
        }
        self._count = 0
        bundle = create_bundle(TINY / "requirements.txt", TARGET, wheelhouse=Wheelhouse(), places=PLACES)
        self._wheels = [bundle.path(wheel) for wheel in bundle.manifest.wheels]
        self._prepare_plain()
        self._prepare_capistrano()

    def _prepare_plain(self) -> None:
        root = self.directory / "plain"
        shutil.copytree(TINY, root)
        shutil.copy(HERE / "plain/fabfile.py", root)
        _adapt(root / "serve.py", "8001")
        members = [part for wheel in self._wheels for part in ("-C", str(wheel.parent), wheel.name)]
        subprocess.run(["tar", "-cf", root / "wheels.tar", *members], check=True)
        for machine in self.machines:
            _provision(machine, "plain", "guestbook")

    def _prepare_capistrano(self) -> None:
        if not shutil.which("cap"):
            subprocess.run(["apt-get", "install", "-y", "-q", "--no-install-recommends", "capistrano"], check=True)
        shutil.copytree(HERE / "capistrano", self.directory / "cap")
        source = self.directory / "cap-source"
        shutil.copytree(TINY, source)
        _adapt(source / "serve.py", "8002")
        _git(source, "init", "-q", "-b", "main")
        # Debian's net-ssh reads an ed25519 key only with gems that it does not depend on.
        key = self.directory / "rsa"
        subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-m", "PEM", "-N", "", "-f", key], check=True)
        public = key.with_suffix(".pub").read_text().strip()
        for machine in self.machines:
            _provision(machine, "cap", "deploy")
            machine.run("install -d -o deploy -g deploy /srv/cap-wheels")
            machine.run(f"echo '{public}' >> /home/deploy/.ssh/authorized_keys")
            for wheel in self._wheels:
                shutil.copy(wheel, machine.root / "srv/cap-wheels" / wheel.name)

    def change(self) -> None:
        """A new version of the code, for everybody."""
        self._count += 1
        for name in ("ours", "plain", "cap-source"):
            (self.directory / name / "version.txt").write_text(f"version {self._count}\n")
        source = self.directory / "cap-source"
        _git(source, "add", "-A")
        _git(source, "commit", "-q", "-m", "change")
        for machine in self.machines:
            # Capistrano gets its repository on the host for nothing: no forge, no network.
            shutil.rmtree(machine.root / "srv/repo.git", ignore_errors=True)
            _git(source, "clone", "-q", "--bare", ".", str(machine.root / "srv/repo.git"))
            machine.run("chown -R deploy:deploy /srv/repo.git")

    def ours(self, *words: str) -> Work:
        return lambda: run([str(FAB), *words], self.directory / "ours", self.environment)

    def everybody(self, addresses: Sequence[str]) -> dict[str, Work]:
        """A deploy to *addresses* ([host] or host:port) by each of the three."""
        stages = {"production": {"hosts": [f"deploy@{address}" for address in addresses]}}
        environment = {**self.environment, "BENCH_HOSTS": " ".join(addresses)}
        home = {**environment, "HOME": str(self.directory)}

        def ours() -> None:
            run([str(FAB), "deploy"], self.directory / "ours", environment)

        self.project.configure(stages=stages)
        return {
            "ours": ours,
            "plain Fabric": lambda: run([str(FAB), "deploy"], self.directory / "plain", environment),
            "Capistrano": lambda: run(["cap", "production", "deploy"], self.directory / "cap", home),
        }


def run(command: Sequence[str], directory: Path, environment: dict[str, str] | None = None) -> str:
    """A whole process, as cron would start it; its output.

    :raises SystemExit: it failed; a deploy that fails fast shall not look fast.
    """
    done = subprocess.run(
        command,
        cwd=directory,
        env=environment or dict(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-5000:]}")
    return done.stdout


def _provision(machine: Machine, name: str, user: str) -> None:
    unit = (TINY / "tiny.service").read_text().replace("/srv/tiny", f"/srv/{name}")
    unit = unit.replace("User=guestbook", f"User={user}")
    machine.write(f"/etc/systemd/system/{name}.service", unit)
    machine.run(f"install -d -o {user} -g {user} /srv/{name} /srv/{name}/shared /srv/{name}/shared/data")
    machine.write(f"/srv/{name}/shared/.env", "SECRET=x\n", mode=0o600, owner=f"{user}:{user}")
    machine.run("systemctl daemon-reload")


def _adapt(serve: Path, port: str) -> None:
    """The application on a port of its own, where nobody writes a `.release.json`."""
    text = serve.read_text().replace("8000", port)
    serve.write_text(text.replace('json.loads((HERE / ".release.json").read_text())["id"]', "HERE.name"))


def _git(directory: Path, *words: str) -> None:
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.org"]
    subprocess.run(["git", *identity, *words], cwd=directory, check=True, stdout=subprocess.DEVNULL)
