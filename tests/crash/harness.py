"""Whole deploys in this process, by the real flows, to the host in small of :mod:`tests.crash.machine`.

Only the connection is not real: a channel is a pair of sockets instead of SSH, so that hundreds of deploys take
seconds.
"""

from __future__ import annotations

import array
import contextlib
import getpass
import json
import os
import select
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fabric
from invoke import util

from deploy.errors import DeployError
from deploy.flows import steps
from deploy.flows.deploy import deploy
from deploy.flows.rollback import rollback
from deploy.flows.run import Options
from deploy.host.bootstrap import program
from deploy.host.connection import Host
from tests import wheels
from tests.crash.steps import Step

_yaml: Any = util.yaml  # type: ignore[attr-defined]

EXPIRY = 600
NO_STEPS = ("keep", "fsync", "syncfs")
MACHINE = Path(__file__).with_name("machine.py")
SECRET = "sentinel-77aa"


# Version → the wheels that it wants.
VERSIONS = {"one": ("one", "two"), "two": ("one", "three"), "three": ("one", "four")}


class Channel:
    """As much of Paramiko's channel as a session of the host program uses.

    :param moment: told of each message before it is sent (``send``, and what is sent), when it was sent (``sent``) and
        before it is received (``receive``).
    :ivar program: the number of the process at its other end.
    """

    def __init__(self, machine: Machine, command: list[str], moment: Moment) -> None:
        self._both, theirs = socket.socketpair()
        self._errors, errors = socket.socketpair()
        self._both.settimeout(60)
        self._ended = self.closed = False
        self._moment = moment
        self._received = b""
        try:
            self.program = machine.start(command, theirs, errors)
        finally:
            theirs.close()
            errors.close()

    def recv(self, size: int) -> bytes:
        """The next line: all that a host program says is lines."""
        line, found, rest = self._received.partition(b"\n")
        while not found and not self._ended:
            try:
                data = self._both.recv(size)
            except ConnectionResetError:
                data = b""
            self._ended |= not data
            line, found, rest = (self._received + data).partition(b"\n")
            self._received += data
        self._received = rest
        if found and not line.startswith(b'{"beat"'):
            self._moment("receive", self, line)
        return line + found

    def sendall(self, data: bytes) -> None:
        self._moment("send", self, data)
        self.send_now(data)
        self._moment("sent", self, data)

    def send_now(self, data: bytes) -> None:
        self._both.sendall(data)

    def cut(self) -> None:
        """Let neither side hear of the other again."""
        self._received = b""
        for end in (self._both, self._errors):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def await_end(self) -> None:
        """Wait until the host program takes nothing any more; what it said is not read."""
        looking = select.poll()
        looking.register(self._both, 0)
        assert looking.poll(30_000), "it goes on"

    def recv_stderr(self, size: int) -> bytes:
        return self._errors.recv(size)

    def exit_status_ready(self) -> bool:
        return self._ended

    def recv_exit_status(self) -> int:
        return 1

    def close(self) -> None:
        self.closed = True
        self._both.close()
        self._errors.close()


Moment = Callable[[str, Channel, bytes], None]


def nothing(kind: str, channel: Channel, data: bytes) -> None:
    """Happens at a moment where nothing is to happen."""


class Machine:
    """A host that is switched on; every channel of its connection is a process in its group."""

    def __init__(self, orders: socket.socket, order: dict[str, Any]) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        _send(orders, order, theirs)
        theirs.close()

    def start(self, command: list[str], *ends: socket.socket) -> int:
        """The number of the process that was started; 0 where the host went off meanwhile."""
        _send(self._ours, {"command": command}, *ends)
        try:
            return int(self._ours.recv(16) or 0)
        except ConnectionResetError:
            return 0

    def stop(self) -> None:
        """Switch it off, and wait until nothing of it runs."""
        self._ours.shutdown(socket.SHUT_WR)
        self._ours.settimeout(60)
        try:
            while self._ours.recv(1):
                pass
        except ConnectionResetError:
            pass
        self._ours.close()


def _send(to: socket.socket, message: dict[str, Any], *ends: socket.socket) -> None:
    descriptors = array.array("i", [end.fileno() for end in ends])
    to.sendmsg([json.dumps(message).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])


class World:
    """An application here, and a directory that is its host; deploys go from one to the other."""

    def __init__(self, directory: Path, **section: Any) -> None:
        self.directory = directory
        self.app = directory / "app"
        self.base = directory / "srv/app"
        self.log = directory / "steps"
        self.secrets = directory / "secrets"
        self._section = section
        self._make_application()
        self.base.parent.mkdir()
        packed = directory / "hostside.pyz"
        packed.write_bytes(program().content)
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys._base_executable, "-I", "-S", str(MACHINE), str(theirs.fileno()), str(packed)]
        self._zygote = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        self._machine: Machine | None = None
        self._channels: list[tuple[Host, Channel]] = []
        self.out_of_reach = False
        self.moment: Moment = nothing
        self._saved: dict[str, Path] = {}

    def _make_application(self) -> None:
        self.app.mkdir(parents=True)
        (self.app / "fabfile.py").write_text("from deploy import ns\n")
        (self.app / "package").mkdir()
        (self.app / "package/__init__.py").write_text("import one\n")
        (self.app / "run.sh").write_text("#!/bin/sh\n")
        (self.app / "run.sh").chmod(0o755)
        (self.app / "link").symlink_to("run.sh")
        self.configure()
        self.secrets.write_text(f"SECRET={SECRET}\nMORE=1\n")
        self.wheels = {
            name: wheels.wheel(self.directory / "index", name, files)
            for name, files in {
                "one": {"one/__init__.py": b"value = 1\n", "one/data.txt": b"data" * 2000},
                "two": {"two.py": b"value = 2\n", "two-1.0.data/scripts/two": b"#!python\nprint(2)\n"},
                "three": {"three.py": b"value = 3\n"},
                "four": {"four.py": b"value = 4\n"},
            }.items()
        }

    def configure(self, **section: Any) -> None:
        """Write the configuration, with *section* over what it always says."""
        (self.app / "fabric.yaml").write_text(
            _yaml.safe_dump(
                {
                    "deploy": {
                        "app": "app",
                        "base_path": str(self.base),
                        "python": sys._base_executable,
                        "min_free_mb": 0,
                        "keep_releases": 1,
                        "source": {"strategy": "stream", "exclude": ["requirements.txt", "fabric.yaml"]},
                        "shared": {"files": [".env"], "dirs": ["media/pictures"]},
                        "migrate": {"command": 'echo "$DEPLOY_RELEASE" >> "$DEPLOY_BASE/shared/migrated"'},
                        "lock": {"expiry": EXPIRY},
                        "stages": {"production": {"hosts": [f"{getpass.getuser()}@host.invalid"]}},
                        **self._section,
                        **section,
                    }
                }
            )
        )

    def version(self, text: str, *names: str) -> None:
        """Change the code and the lock file."""
        (self.app / "version.txt").write_text(text + "\n")
        (self.app / "requirements.txt").write_text("")
        wheels.lock(self.app, *(self.wheels[name] for name in names))

    @contextmanager
    def host(self, **order: Any) -> Iterator[None]:
        """Switch the host on for what is done inside; see :func:`tests.crash.machine._arm`."""
        self.log.unlink(missing_ok=True)
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.directory), "TMPDIR": str(self.directory)}
        if order:
            order = {"log": str(self.log), "at": 0, "how": "", **order}
        self._machine = Machine(self._orders, {"base": str(self.base), "environment": environment, **order})
        try:
            yield
        finally:
            self._machine.stop()
            self._machine = None
            self._channels.clear()
            self.out_of_reach = False

    def channel(self, host: Host, command: list[str]) -> Channel:
        if self._machine is None or self.out_of_reach:
            raise OSError("the host is out of reach")
        channel = Channel(self._machine, command, self.moment)
        self._channels.append((host, channel))
        return channel

    def cut(self) -> None:
        """Cut the connection; another one is not to be had as long as this host is on."""
        self.out_of_reach = True
        for _, channel in self._channels:
            channel.cut()

    def give_up(self) -> None:
        """Cut the connections that are; others may be made."""
        for _, channel in self._channels:
            channel.cut()
        self._channels.clear()

    def close_channels(self, host: Host) -> None:
        """Those of one connection."""
        for owner, channel in self._channels:
            if owner is host:
                channel.cut()

    def deploy(self, **order: Any) -> None:
        """`fab deploy`.

        :raises DeployError: as it does.
        """
        with self.host(**order):
            deploy(self.config(), Options(), force=False)

    def deploy_besides(self) -> None:
        """Another `fab deploy`, while the host is on."""
        deploy(self.config(), Options(), force=False)

    def roll_back(self, **order: Any) -> None:
        with self.host(**order):
            rollback(self.config(), Options())

    def run(self, *flows: Callable[[fabric.Config, Options], None], **order: Any) -> None:
        """Tasks, one after another."""
        with self.host(**order):
            for flow in flows:
                flow(self.config(), Options())

    def config(self) -> fabric.Config:
        config = fabric.Config()
        config.set_project_location(str(self.app))
        config.load_project()
        return config

    def events(self) -> list[Step]:
        """What the last host that was told to write it down did, made durable, and had kept of what it destroyed."""
        if not self.log.exists():
            return []
        return [Step(verb, tuple(paths), detail) for verb, *paths, detail in map(json.loads, self.log.open())]

    def steps(self) -> list[Step]:
        """What the last host that was told to write it down did."""
        return [event for event in self.events() if event.verb not in NO_STEPS]

    def save(self, name: str) -> None:
        """Keep the host's directory as it is now."""
        kept = self.directory / f"saved-{name}"
        shutil.rmtree(kept, ignore_errors=True)
        if self.base.exists():
            subprocess.run(["cp", "-a", self.base, kept], check=True)
        self._saved[name] = kept

    def saved(self, name: str) -> Path:
        return self._saved[name]

    def restore(self, name: str) -> None:
        remove(self.base)
        if self._saved[name].exists():
            subprocess.run(["cp", "-a", self._saved[name], self.base], check=True)

    def administer(self) -> None:
        """What an administrator does once."""
        shared = self.base / "shared"
        shared.mkdir(parents=True, exist_ok=True)
        (shared / ".env").touch(0o600)
        (shared / ".env").write_text(f"SECRET={SECRET}\n")

    def prepare(self) -> None:
        """Keep four states: ``bare``; ``first`` (version one is to come); ``third`` (one and two were deployed, and
        with three all of one goes); ``cluttered`` (two serves; there is a release that nobody needs, with its venv)."""
        self.save("bare")
        self.administer()
        self.save("first")
        for version, names in list(VERSIONS.items())[:2]:
            self.version(version, *names)
            self.deploy()
        self.save("third")
        self.version("three", *VERSIONS["three"])
        self.run(steps.push, steps.update_deps)
        self.version("two", *VERSIONS["two"])
        self.run(steps.push)
        self.save("cluttered")

    def close(self) -> None:
        self._orders.close()
        self._zygote.wait(60)


def remove(path: Path) -> None:
    subprocess.run(["rm", "-rf", "--", path], check=True)


@contextmanager
def connected(world: World) -> Iterator[None]:
    """Let every connection of the flows lead to *world*."""
    kept: dict[str, Callable[..., Any]] = {name: getattr(Host, name) for name in ("open", "channel", "close")}

    def channel(self: Host, command: list[str], user: str = "") -> Any:
        with self.lost_means_failed():
            return world.channel(self, command)

    def close(self: Host) -> None:
        world.close_channels(self)
        kept["close"](self)

    Host.open = lambda self: None  # type: ignore[method-assign]
    Host.close = close  # type: ignore[method-assign]
    Host.channel = channel  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        for name, function in kept.items():
            setattr(Host, name, function)


def outcome(work: Callable[..., None], **order: Any) -> DeployError | None:
    """How *work* ended: None where it succeeded."""
    try:
        work(**order)
    except DeployError as error:
        return error
    return None
