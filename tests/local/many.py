"""Many hosts on one machine: an SSH server that answers at many addresses, each with a base path of its own."""

from __future__ import annotations

import getpass
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from tests.local.conftest import DATA, Client, LoopbackHost, run_fab

AT_MOST_S = 90


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

    def fab(self, *words: str, expect: int = 0) -> str:
        return run_fab(self.directory, *words, expect=expect, at_most_s=AT_MOST_S)

    def version(self, number: int) -> str:
        return (self.base(number) / "current/version.txt").read_text().strip()
