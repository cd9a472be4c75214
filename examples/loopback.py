"""Throw-away SSH hosts on loopback, as the current user: OpenSSH's sshd where it is installed, else asyncssh.

The demo and the tests use them. They are this machine, so what is deployed to them really runs here.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import asyncssh

HERE = Path(__file__).resolve()
SSHD = shutil.which("sshd") or next(
    (path for path in ("/usr/sbin/sshd", "/usr/local/sbin/sshd") if Path(path).exists()), ""
)


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Client:
    """The laptop's side: a key, and the keys of the hosts.

    :param directory: gets ``id_ed25519`` and ``known_hosts``.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.key = directory / "id_ed25519"
        self.known_hosts = directory / "known_hosts"
        if not self.key.exists():
            _write_key(self.key)
            self.known_hosts.touch()

    @property
    def public_key(self) -> str:
        return self.key.with_suffix(".pub").read_text()

    def know(self, port: int, host_key: str) -> None:
        line = f"[127.0.0.1]:{port} {host_key.strip()}\n"
        if line not in self.known_hosts.read_text():
            with self.known_hosts.open("a") as stream:
                stream.write(line)


class LoopbackHost:
    """One SSH server on loopback.

    :param kind: ``openssh``, ``asyncssh``, or '' for the first of them that is there.
    :param listen: the address: 127.0.0.1, or 0.0.0.0 to be reached at every address of loopback.
    :param startups: how many may be about to log in at once, as sshd's ``MaxStartups`` says it.
    """

    def __init__(
        self,
        directory: Path,
        client: Client,
        port: int = 0,
        kind: str = "",
        listen: str = "127.0.0.1",
        startups: str = "100",
    ) -> None:
        self.listen = listen
        self.startups = startups
        self.directory = directory
        self.port = port or free_port()
        self.kind = kind or ("openssh" if SSHD else "asyncssh")
        directory.mkdir(parents=True, exist_ok=True)
        self._key = directory / "host_key"
        if not self._key.exists():
            _write_key(self._key)
        (directory / "authorized_keys").write_text(client.public_key)
        client.know(self.port, self._key.with_suffix(".pub").read_text())

    @property
    def address(self) -> str:
        return f"{getpass.getuser()}@127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        path = self.directory / "sshd.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def logins(self) -> int:
        """How often somebody was let in."""
        return self.log.count("Accepted publickey")

    def start(self) -> None:
        """Start the server and wait until it listens.

        :raises RuntimeError: it does not; with its log.
        """
        if self.running():
            return
        if taken(self.port):
            raise RuntimeError(f"port {self.port} is taken by another program")
        command = self._openssh() if self.kind == "openssh" else self._asyncssh()
        with (self.directory / "sshd.log").open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        (self.directory / "sshd.pid").write_text(str(process.pid))
        deadline = time.monotonic() + 15
        while not taken(self.port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.kind} did not start:\n{self.log}")
            time.sleep(0.02)

    def running(self) -> bool:
        return self._pid() is not None and taken(self.port)

    def stop(self) -> None:
        if (pid := self._pid()) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGTERM)
        (self.directory / "sshd.pid").unlink(missing_ok=True)

    def _pid(self) -> int | None:
        try:
            pid = int((self.directory / "sshd.pid").read_text())
            os.kill(pid, 0)
        except (OSError, ValueError):
            return None
        return pid

    def _openssh(self) -> list[str]:
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        config = self.directory / "sshd_config"
        # For commands that come over SSH, bash reads ~/.bashrc where it is nobody's child (SHLVL): what its owner has
        # there is nothing to the host that is played here.
        config.write_text(
            f"""\
ListenAddress {self.listen}
Port {self.port}
HostKey {self._key}
AuthorizedKeysFile {self.directory / "authorized_keys"}
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
PermitRootLogin prohibit-password
MaxSessions 50
MaxStartups {self.startups}
SetEnv SHLVL=1
LogLevel VERBOSE
Subsystem sftp internal-sftp
"""
        )
        return [SSHD, "-D", "-e", "-f", str(config)]

    def _asyncssh(self) -> list[str]:
        return [sys.executable, str(HERE), str(self.directory), str(self.port), self.listen]


def _write_key(path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(path)
    path.chmod(0o600)
    key.write_public_key(path.with_suffix(".pub"))


async def _run(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """One command of a client: its streams, apart, and its real exit code."""
    child = await asyncio.create_subprocess_exec(
        "/bin/sh",
        *(["-c", process.command] if process.command else []),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=Path.home(),
        start_new_session=True,
    )
    assert child.stdin and child.stdout and child.stderr

    async def feed(source: asyncssh.SSHReader[bytes], sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncssh.Error):
            while chunk := await source.read(1 << 16):
                sink.write(chunk)
                await sink.drain()
        with contextlib.suppress(OSError):
            sink.close()

    async def drain(source: asyncio.StreamReader, sink: asyncssh.SSHWriter[bytes]) -> None:
        with contextlib.suppress(OSError, asyncssh.Error):
            while chunk := await source.read(1 << 16):
                sink.write(chunk)
                await sink.drain()

    feeding = asyncio.create_task(feed(process.stdin, child.stdin))
    await asyncio.gather(drain(child.stdout, process.stdout), drain(child.stderr, process.stderr))
    process.exit(await child.wait())
    feeding.cancel()


class _Server(asyncssh.SSHServer):
    def auth_completed(self) -> None:
        print("Accepted publickey", flush=True)


async def _serve(directory: Path, port: int, listen: str) -> None:
    await asyncssh.listen(
        listen,
        port,
        server_factory=_Server,
        server_host_keys=[str(directory / "host_key")],
        authorized_client_keys=str(directory / "authorized_keys"),
        process_factory=_run,
        encoding=None,
        sftp_factory=True,
    )
    await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
