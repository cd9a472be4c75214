"""An application on the laptop, and `fab` as a user runs it: a process of its own, its exit code, its words."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invoke import util

from tests.fab import FAB, fab
from tests.fleet.machines import Fleet, Machine

DATA = Path(__file__).resolve().parent.parent / "data"
SECRET = "sentinel-3f9c"

_yaml: Any = util.yaml  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Outcome:
    """How a `fab` ended."""

    code: int
    output: str

    def __str__(self) -> str:
        return f"exit {self.code}\n{self.output}"


class Project:
    """A copy of the tiny application with a `fabric.yaml` of its own, deployed to some machines."""

    base = "/srv/tiny"

    def __init__(self, directory: Path, fleet: Fleet, machines: list[Machine], **section: Any) -> None:
        self.directory = directory
        self.fleet = fleet
        self.machines = machines
        shutil.copytree(DATA / "tiny", directory)
        (directory / "fabfile.py").write_text("from deploy import ns\n")
        self.section: dict[str, Any] = {
            "app": "tiny",
            "base_path": self.base,
            "index": {"ambient": True},
            "deploy_user": "guestbook",
            "shared": {"files": [".env"], "dirs": ["data"]},
            "migrate": {"command": "python migrate.py"},
            "service": {"manager": "systemd", "unit": "tiny.service"},
            "health": {"url": "http://127.0.0.1:8000/health", "timeout": 5},
            "lock": {"expiry": 4},
            "stages": {"production": {"hosts": [f"deploy@{machine.address}" for machine in machines]}},
            **section,
        }
        self.configure()
        for machine in machines:
            self.provision(machine)

    def configure(self, **changes: Any) -> None:
        """Write `fabric.yaml`, with some keys changed."""
        self.section.update(changes)
        document = {"tasks": {"executor_class": "deploy.executor.Executor"}, "deploy": self.section}
        (self.directory / "fabric.yaml").write_text(_yaml.safe_dump(document))

    def provision(self, machine: Machine) -> None:
        """What an administrator does once: the unit, and the secrets."""
        if not machine.foreign:
            machine.write("/etc/systemd/system/tiny.service", (DATA / "tiny/tiny.service").read_text())
            machine.run("systemctl daemon-reload")
        machine.run(f"install -d -o guestbook -g guestbook {self.base} {self.base}/shared")
        machine.write(f"{self.base}/shared/.env", f"SECRET={SECRET}\n", mode=0o600, owner="guestbook:guestbook")

    def version(self, text: str) -> None:
        """Change the code."""
        (self.directory / "version.txt").write_text(text + "\n")

    def more_dependencies(self) -> None:
        """Change the lock file: werkzeug and jinja2 besides."""
        (self.directory / "requirements.txt").write_text((self.directory / "requirements-more.txt").read_text())

    def need_gunicorn(self, lock: str = "requirements.txt") -> None:
        """Change the lock file: gunicorn, without hashes, besides what *lock* names."""
        text = (DATA / "tiny" / lock).read_text()
        (self.directory / "requirements.txt").write_text(f"{text}gunicorn==23.0.0\npackaging==25.0\n")
        self.configure(hashes="warn")

    def environment(self) -> dict[str, str]:
        return self.environment_of(self.fleet)

    @staticmethod
    def environment_of(fleet: Fleet) -> dict[str, str]:
        """The client's home, and the real cache: wheels are fetched once."""
        cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        return {**fleet.environment(), "XDG_CACHE_HOME": cache}

    def fab(self, *words: str, expect: int | None = 0, timeout: float = 180) -> Outcome:
        """Run `fab WORDS` with standard input closed, as cron does."""
        outcome = Outcome(*fab(words, self.directory, self.environment(), timeout))
        if expect is not None:
            assert outcome.code == expect, outcome
        assert "Traceback" not in outcome.output, outcome.output
        return outcome

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [FAB, *words],
            cwd=self.directory,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def kill_when(self, process: subprocess.Popen[str], happened: Any, number: int = signal.SIGKILL) -> None:
        """Kill *process* as soon as *happened* says yes; it must not end before."""
        deadline = time.monotonic() + 60
        while not happened():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(number)

    def serving(self, machine: Machine) -> dict[str, Any]:
        """What the application on *machine* says of itself right now; {} when it does not answer."""
        answer = machine.run("curl -s -m 5 http://127.0.0.1:8000/", check=False)
        document: dict[str, Any] = json.loads(answer.stdout) if answer.returncode == 0 else {}
        return document

    def records(self, machine: Machine) -> dict[str, Any]:
        """`.deploy/releases.json`."""
        document: dict[str, Any] = json.loads(machine.read(f"{self.base}/.deploy/releases.json"))
        return document

    def current(self, machine: Machine) -> str:
        return machine.run(f"basename $(readlink -f {self.base}/current)").stdout.strip()

    def states(self, machine: Machine) -> list[str]:
        """The states of all releases, in the order in which they were pushed."""
        releases = self.records(machine)["releases"]
        return [releases[name]["state"] for name in sorted(releases)]

    def await_removal(self, machine: Machine) -> None:
        """Wait until what the last deploy took out of use is removed."""
        machine.run(f"for i in $(seq 300); do ls -d {self.base}/*/.partial-*.gone || exit 0; sleep 0.1; done; exit 1")

    def assert_tidy(self, machine: Machine) -> None:
        """Nothing unfinished, nothing loose, nothing left with the login user."""
        self.await_removal(machine)
        left = machine.run(f"find {self.base} -name '.partial-*'").stdout
        assert not left, left
        loose = machine.run(f"find {self.base} ! -type l -perm /022").stdout
        assert not loose, loose
        foreign = machine.run(f"find {self.base} ! -user guestbook").stdout
        assert not foreign, foreign
        home = machine.run("find /home/deploy /tmp -newer /etc/hostname -type f ! -path '*/.ssh/*'").stdout
        assert not home, home
