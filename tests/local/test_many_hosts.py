"""Many hosts at once: one SSH server that answers at many addresses of loopback, each with a base path of its own."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.local.conftest import DATA, FAB, Client, LoopbackHost, free_port

HOSTS = int(os.environ.get("MANY_HOSTS", "40"))
AT_MOST_S = 90


class Fleet:
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
        done = subprocess.run(
            [FAB, *words],
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=AT_MOST_S,
            check=False,
        )
        assert done.returncode == expect, done.stdout
        assert "Traceback" not in done.stdout, done.stdout
        return done.stdout

    def version(self, number: int) -> str:
        return (self.base(number) / "current/version.txt").read_text().strip()


@pytest.fixture
def many(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    made = Fleet(tmp_path, getattr(request, "param", 4))
    made.server.start()
    yield made
    made.server.stop()


@pytest.mark.parametrize("many", [HOSTS], indirect=True)
def test_many_hosts_are_deployed_to_in_one_run(many: Fleet) -> None:
    many.fab("deploy")
    assert {many.version(number) for number in range(HOSTS)} == {"one"}
    (many.directory / "version.txt").write_text("two\n")
    many.fab("deploy")
    assert {many.version(number) for number in range(HOSTS)} == {"two"}


def test_a_host_that_is_not_reached_is_left_out_where_that_is_allowed_and_brought_up_later(many: Fleet) -> None:
    at, nobody = many.server.port, free_port()
    many.move(2, nobody)
    many.configure()
    name = f"{many.addresses[2]}:{nobody}"

    said = many.fab("deploy", expect=4)
    assert name in said
    assert not many.base(0).exists()
    said = many.fab("deploy", "--skip-unreachable")
    assert f"left out, because not reached: {name}" in said
    assert [many.version(number) for number in (0, 1, 3)] == ["one"] * 3
    assert not many.base(2).exists()
    journal = [json.loads(line) for line in (many.base(0) / ".deploy/journal.jsonl").read_text().splitlines()]
    assert journal[-1]["left_out"] == [name]

    assert "not reached" in many.fab("status", expect=4)
    assert "not reached" in many.fab("status", "--skip-unreachable")
    said = many.fab("check", expect=4)
    assert f"{many.addresses[3]}:{at}: Python" in said

    many.configure(max_unreachable="24%")
    said = many.fab("deploy", expect=4)
    assert "1 of 4 hosts are not reached and deploy.max_unreachable allows 0" in said
    many.configure(max_unreachable=1)
    many.fab("deploy")

    many.move(2, at)
    many.move(0, nobody)
    many.configure()
    said = many.fab("deploy", "--skip-unreachable", expect=4)
    assert "the primary host is not reached" in said
    assert "the deploy lock of the stage lies there" in said

    many.move(0, at)
    many.configure()
    many.fab("deploy")
    assert [many.version(number) for number in range(4)] == ["one"] * 4


def test_a_wrong_host_key_is_never_left_out(many: Fleet) -> None:
    known = many.directory.parent / "client/known_hosts"
    other = many.addresses[3]
    known.write_text("".join(line for line in known.read_text().splitlines(True) if f"[{other}]" not in line))
    said = many.fab("deploy", "--skip-unreachable", expect=4)
    assert other in said
    assert not many.base(0).exists()
