"""Real SSH servers on loopback, as the current user: OpenSSH's where it is installed, and asyncssh's."""

from __future__ import annotations

import shutil
import signal
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fabric import Config

from deploy.host.connection import Host
from deploy.host.login import Access

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
from loopback import SSHD, Client, LoopbackHost, free_port

from tests.fab import fab

DATA = Path(__file__).resolve().parents[1] / "data"


@pytest.fixture(params=["openssh", "asyncssh"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LoopbackHost]:
    """A server that knows our key."""
    if request.param == "openssh" and not SSHD:
        pytest.skip("OpenSSH's sshd is not installed")
    server = LoopbackHost(tmp_path / "sshd", Client(tmp_path / "client"), kind=request.param)
    server.start()
    yield server
    server.stop()


def reach(server: LoopbackHost, directory: Path, python: str = sys.executable) -> Host:
    """The server as a flow has it, with ``directory/srv`` as its base path."""
    return Host(
        server.address,
        name="host",
        base_path=str(directory / "srv"),
        deploy_user="",
        python=python,
        config=Config(),
        access=Access(known_hosts=(directory / "client/known_hosts",), identity=str(directory / "client/id_ed25519")),
    )


def run_fab(directory: Path, *words: str, expect: int = 0, at_most_s: float = 120) -> str:
    """What `fab` says in *directory*, on both streams; it ends as expected and with no traceback."""
    code, said = fab(words, directory, at_most_s=at_most_s)
    assert code == expect, said
    assert "Traceback" not in said, said
    return said


class LocalProject:
    """The tiny application, deployed to a loopback host; its process is started by a command, as in the demo."""

    def __init__(self, directory: Path, host: LoopbackHost, strategy: str = "auto") -> None:
        self.directory = directory / "app"
        self.host = host
        self.base = directory / "srv"
        self.port = free_port()
        shutil.copytree(DATA / "tiny", self.directory)
        (self.directory / "fabfile.py").write_text("from deploy import ns\n")
        (self.directory / "serve.py").write_text(
            (self.directory / "serve.py").read_text().replace("8000", str(self.port))
        )
        (self.directory / "restart.sh").write_text(
            'pid="$DEPLOY_BASE/shared/pid"\n'
            'if [ -s "$pid" ]; then kill "$(cat "$pid")"; while kill -0 "$(cat "$pid")"; do sleep 0.05; done; fi\n'
            'cd "$(pwd -P)"\nnohup python -B serve.py </dev/null >/dev/null 2>&1 &\necho $! > "$pid"\n'
        )
        (self.base / "shared").mkdir(parents=True)
        (self.base / "shared/.env").write_text("SECRET=x\n")
        (self.base / "shared/.env").chmod(0o600)
        self.configure(strategy)

    def configure(self, strategy: str = "auto", extra: str = "", migrate: str = "command: python migrate.py") -> None:
        (self.directory / "fabric.yaml").write_text(
            textwrap.dedent(
                f"""\
                tasks: {{executor_class: deploy.executor.Executor}}
                deploy:
                  app: tiny
                  base_path: {self.base}
                  python: {sys._base_executable}
                  known_hosts: ../client/known_hosts
                  identity: ../client/id_ed25519
                  index: {{ambient: true}}
                  source: {{strategy: {strategy}}}
                  shared: {{files: [.env], dirs: [data]}}
                  migrate: {{{migrate}}}
                  service: {{manager: command, command: sh restart.sh, pidfile: shared/pid, sudo: false}}
                  health: {{url: "http://127.0.0.1:{self.port}/health", timeout: 5}}
                  stages: {{local: {{hosts: ["{self.host.address}"]}}}}
                """
            )
            + extra
        )

    def fab(self, *words: str, expect: int = 0) -> str:
        return run_fab(self.directory, *words, expect=expect)

    @property
    def version(self) -> str:
        """What serves."""
        import json
        import urllib.request

        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5) as answer:
            return str(json.load(answer)["version"])

    def stop(self) -> None:
        import os

        pidfile = self.base / "shared/pid"
        if pidfile.exists():
            try:
                os.kill(int(pidfile.read_text()), signal.SIGTERM)
                time.sleep(0.05)
            except (OSError, ValueError):
                pass


@pytest.fixture
def project(tmp_path: Path, host: LoopbackHost) -> Iterator[LocalProject]:
    made = LocalProject(tmp_path, host)
    yield made
    made.stop()
