"""Many hosts on one machine: an SSH server that answers at many addresses, each with a base path of its own."""

from __future__ import annotations

import getpass
import json
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

from tests.local.conftest import DATA, Client, LoopbackHost, run_fab

AT_MOST_S = 1200
ESTABLISHED = "01"


class Connections:
    """How many connections a server had at once, as the kernel counts them: looked at for as long as it is entered.

    :ivar most: the largest number that is sure. A look takes its time, and one may go and another come meanwhile; so
        those are counted that two looks saw, which were all there between them.
    """

    def __init__(self, port: int) -> None:
        self._place = f":{port:04X}"
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self.most = 0

    def __enter__(self) -> Connections:
        self._watcher.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._watcher.join()

    def _watch(self) -> None:
        seen: set[str] = set()
        while not self._done.wait(0.02):
            before, seen = seen, self._look()
            self.most = max(self.most, len(before & seen))

    def _look(self) -> set[str]:
        """The other ends, each an address and a port."""
        rows = [line.split(None, 4)[1:4] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return {there for here, there, state in rows if here.endswith(self._place) and state == ESTABLISHED}


class Many:
    """A stage of many hosts; its application is nothing but files."""

    def __init__(self, directory: Path, count: int) -> None:
        self.directory = directory / "app"
        self.srv = directory / "srv"
        client = Client(directory / "client")
        self.server = LoopbackHost(directory / "sshd", client, listen="0.0.0.0")
        self.addresses = [f"127.1.{number // 250}.{number % 250 + 1}" for number in range(count)]
        key = (directory / "sshd/host_key.pub").read_text().strip()
        known = [f"[{address}]:{self.server.port} {key}\n" for address in self.addresses]
        client.known_hosts.write_text("".join(known))
        self.hosts: list[dict[str, Any]] = [
            {"host": f"{getpass.getuser()}@{address}:{self.server.port}", "base_path": str(self.base(number))}
            for number, address in enumerate(self.addresses)
        ]
        shutil.copytree(DATA / "tiny", self.directory)
        (self.directory / "fabfile.py").write_text("from deploy import ns\n")
        self.configure()

    def lighten(self) -> None:
        """One small dependency, and no code: what is left is the work of a deploy itself."""
        for path in self.directory.glob("*.py"):
            if path.name != "fabfile.py":
                path.unlink()
        (self.directory / "requirements.in").write_text("itsdangerous\n")
        lock = (self.directory / "requirements.txt").read_text()
        own = lock[lock.index("itsdangerous==") :]
        (self.directory / "requirements.txt").write_text(own[: own.index("markupsafe==")])

    def base(self, number: int) -> Path:
        return self.srv / str(number)

    def configure(self, **more: Any) -> None:
        section = {
            "app": "tiny",
            "base_path": str(self.srv),
            "python": sys._base_executable,  # type: ignore[attr-defined]
            "known_hosts": "../client/known_hosts",
            "identity": "../client/id_ed25519",
            "index": {"ambient": True},
            "source": {"strategy": "stream"},
            "min_free_mb": 0,
            "stages": {"many": {"hosts": self.hosts}},
            **more,
        }
        document = {"tasks": {"executor_class": "deploy.executor.Executor"}, "deploy": section}
        (self.directory / "fabric.yaml").write_text(json.dumps(document))

    def move(self, number: int, port: int) -> None:
        """From now on that host is looked for at another port."""
        self.hosts[number]["host"] = f"{getpass.getuser()}@{self.addresses[number]}:{port}"

    def connections(self) -> Connections:
        return Connections(self.server.port)

    def fab(self, *words: str, expect: int = 0) -> str:
        return run_fab(self.directory, *words, expect=expect, at_most_s=AT_MOST_S)

    def version(self, number: int) -> str:
        return (self.base(number) / "current/version.txt").read_text().strip()
