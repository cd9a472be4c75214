"""One server: authenticated once, by Fabric; everything else rides on that connection.

The rest of the house knows neither Fabric's nor Paramiko's habits; what they need is here.
"""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko
from fabric import Config, Connection
from invoke.exceptions import CommandTimedOut, Failure

from ..errors import ConnectionFailed, NotReached
from . import handshakes, hostkeys, limits, privilege
from .bootstrap import quoted
from .hearing import Heard, Say
from .lifeline import HeardSocket, Lifeline
from .session import Answer, Operations, Session
from .spare import SpareChannel

# Paramiko logs tracebacks of its own thread, which Python prints where nobody handles them; we say what happened.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class Access:
    """How hosts are reached; the same for all of a run.

    :ivar parallel: how many hosts are worked on at once.
    """

    connect_timeout_s: float = 15
    silence_timeout_s: float = 30
    known_hosts: tuple[Path, ...] = hostkeys.DEFAULT_FILES
    identity: str = ""
    connect_attempts: int = 3
    parallel: int = 30


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command of the user's ended.

    :ivar late: it took longer than it might; it may go on, on the host.
    """

    exited: int
    output: str
    late: bool = False

    @property
    def ok(self) -> bool:
        return self.exited == 0


class Host:
    """A connection to one server.

    :param address: ``[user@]host[:port]`` or a name of ssh_config.
    :param name: what it is called in reports.
    :param base_path: where the application lives there.
    :param deploy_user: who owns it; '' for the login user.
    :param python: the interpreter that runs the host program.
    :param config: Fabric's configuration; cloned, because Fabric shares key lists between connections otherwise.
    """

    def __init__(
        self, address: str, *, name: str, base_path: str, deploy_user: str, python: str, config: Config, access: Access
    ) -> None:
        self.address = address
        self.name = name
        self.base_path = base_path
        self.python = python
        self._access = access
        self._config = config
        self._connection = _connection(address, config, access)
        self._spare: SpareChannel = self._connection.spare
        self.deploy_user = deploy_user or self._connection.user
        self._sessions: dict[str, Session] = {}
        self._mutex = threading.Lock()
        self._stopping = False
        self._no_command = threading.Event()
        self._no_command.set()

    def __repr__(self) -> str:
        return f"<Host {self.name}>"

    def beside(self, address: str) -> Host:
        """Another server, reached in the same way: with the same keys, known hosts and time limits."""
        name = address.rpartition("@")[2]
        return Host(
            address, name=name, base_path="", deploy_user="", python="", config=self._config, access=self._access
        )

    @property
    def parallel(self) -> int:
        """How many hosts may be worked on at once, this one among them."""
        return self._access.parallel

    @property
    def login(self) -> str:
        return str(self._connection.user)

    @property
    def connection(self) -> Connection:
        """Fabric's connection, open; for hooks and for what is the user's own."""
        self.open()
        return self._connection

    def open(self) -> None:
        """Log in, once.

        :raises ConnectionFailed: with what stands in the way and how to remove it.
        """
        with self._mutex:
            if not self._connection.is_connected:
                _log_in(self._connection, self.name, self._access)

    def close(self) -> None:
        self._sessions.clear()
        self._connection.cut()
        with contextlib.suppress(Exception):
            self._connection.close()

    def end_sessions(self) -> None:
        """End the running host programs; the next use starts them anew."""
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()

    def stop(self) -> None:
        """Begin no other command of the user's until :meth:`abandon`."""
        self._stopping = True

    @property
    def runs_command(self) -> bool:
        """Whether a command of the user's is running: it goes on, on the host, whatever becomes of the connection."""
        return not self._no_command.is_set()

    def abandon(self) -> None:
        """Cut the connection, so that whoever waits on it is woken; the next use logs in again."""
        self.close()
        self._stopping = False

    @property
    def sudo_password(self) -> str:
        return str(self._connection.config.sudo.password or "")

    def channel(self, command: list[str], user: str = "") -> paramiko.Channel:
        """Start *command* on a channel of its own, as *user* ('' for the deploy user); sudo is dealt with.

        :raises ConnectionFailed: the connection is gone, or sudo refuses.
        """
        self.open()
        user = user or self.deploy_user
        with self.lost_means_failed():
            channel = self._spare.take()
            channel.settimeout(self._access.silence_timeout_s)
            if user == self.login:
                channel.exec_command(quoted(command))
                return channel
            password = self.sudo_password
            channel.exec_command(quoted(privilege.as_user(command, user, password=bool(password))))
            if password:
                self._hand_over(channel, user, password)
        return channel

    def _hand_over(self, channel: paramiko.Channel, user: str, password: str) -> None:
        """Answer sudo's prompt, if it asks at all, and wait until the command starts.

        It may not ask (NOPASSWD, or it remembers), and a command may say nothing before it hears something: so the
        command is made to begin with a word of ours.
        """
        said, ready, asked = b"", b"", 0
        prompt = privilege.PROMPT.encode()
        while ready != privilege.READY.encode():
            if channel.recv_ready():
                ready += channel.recv(1)
            elif channel.recv_stderr_ready():
                said += channel.recv_stderr(1 << 12)
                if said.count(prompt) > asked:
                    asked += 1
                    if asked == 2:
                        channel.close()
                        raise privilege.refused(self.name, user, "sorry, try again")
                    channel.sendall(password.encode() + b"\n")
            elif channel.exit_status_ready() or channel.closed:
                raise privilege.refused(self.name, user, said.decode(errors="replace"))
            else:
                channel.status_event.wait(0.005)

    def session(self, user: str = "") -> Session:
        """The host program, running as *user* ('' for the deploy user); started once and kept."""
        user = user or self.deploy_user
        session = self._sessions.get(user)
        if session is None or session.closed:
            session = self.new_session(user)
            self._sessions[user] = session
        return session

    def new_session(self, user: str = "") -> Session:
        """A host program besides the one that is kept, for what must not wait for it."""
        user = user or self.deploy_user
        # As root, nothing that the deploy user can write to may be run, so the program is sent anew.
        folder = f"{self.base_path}/.deploy" if user == self.deploy_user else ""
        return Session(self, user, folder)

    def call(self, name: str, progress: Callable[[str], None] | None = None, **arguments: Any) -> Any:
        """One operation of the host program; its result."""
        return self.batch([(name, arguments)], progress)[0]

    def batch(
        self,
        operations: Operations,
        progress: Callable[[str], None] | None = None,
        payload: Iterable[bytes] = (),
    ) -> list[Any]:
        """Several operations in one round trip; they stop at the first that fails."""
        return self.answer(self.ask(operations, payload), progress)

    def ask(self, operations: Operations, payload: Iterable[bytes] = ()) -> Answer:
        """Send a request to the host program without waiting; :meth:`answer` waits."""
        with self.lost_means_failed():
            return self.session().ask(operations, payload)

    def answer(self, asked: Answer, progress: Callable[[str], None] | None = None) -> list[Any]:
        """The results of what was asked."""
        with self.lost_means_failed():
            return asked.wait(progress)

    def run(
        self, command: str, *, user: str = "", timeout_s: float | None = None, say: Say | None = None
    ) -> CommandResult:
        """Run a command of the user's through Fabric, as *user* ('' for the login user).

        Its output is captured, both streams together; standard input is empty.

        :param say: called with each line as it comes.
        """
        with self.lent(say) as connection:
            return self._run(connection, command, user or self.login, timeout_s)

    @contextlib.contextmanager
    def lent(self, say: Say | None, timeout_s: float | None = None) -> Iterator[Connection]:
        """Fabric's connection, for something of the user's that is waited for where the run is interrupted.

        :param say: called with each line that its commands say.
        :param timeout_s: how long all of them may take, one after another.
        """
        connection = self.connection
        if self._stopping:
            raise ConnectionFailed("interrupted", where=self.name)
        self._no_command.clear()
        connection._set(say=say, limit=None if timeout_s is None else limits.Limit(timeout_s))
        try:
            yield connection
        finally:
            connection._set(say=None, limit=None)
            self._no_command.set()

    def command(
        self,
        release: str,
        command: str,
        env: Mapping[str, str],
        *,
        user: str = "",
        timeout_s: float | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> CommandResult:
        """Run a command of the user's in a release ('' for the base path), as *user* ('' for the deploy user).

        The host program runs it, so that *env* travels as data and values of `.env` are hidden before they leave the
        host; both streams come together, masked, line by line to *progress* and in the end as the last lines.

        :raises HostFailure: it could not be started.
        """
        if self._stopping:
            raise ConnectionFailed("interrupted", where=self.name)
        asked = {"identifier": release, "command": command, "env": dict(env), "timeout": timeout_s}
        self._no_command.clear()
        try:
            with self.lost_means_failed():
                result = self.session(user).batch([("run", asked)], progress)[0]
        finally:
            self._no_command.set()
        return CommandResult(result["exited"], result["output"].strip())

    def _run(self, connection: Connection, command: str, user: str, timeout_s: float | None) -> CommandResult:
        settings: dict[str, Any] = {"warn": True, "in_stream": False, "echo": False, "timeout": timeout_s}
        if connection.say is None:
            settings["hide"] = True
        with self.lost_means_failed():
            try:
                if user == self.login:
                    result = connection.run(f"{command} </dev/null", **settings)
                elif self.sudo_password:
                    result = connection.sudo(command, user=user, **settings)
                else:
                    result = connection.run(
                        f"{quoted(privilege.as_user([], user, password=False))} {command} </dev/null", **settings
                    )
            except CommandTimedOut as error:
                return CommandResult(-1, self._said(error.result), late=True)
            except Failure as error:  # sudo did not take the password
                raise privilege.refused(self.name, user, "sorry, try again") from error
            if result.exited == -1 and not connection.is_connected:
                raise EOFError("it was cut")
        return CommandResult(result.exited, self._said(result))

    def _said(self, result: Any) -> str:
        said: str = result.stdout + result.stderr
        return said.replace(self._connection.config.sudo.prompt, "").strip()

    @contextlib.contextmanager
    def lost_means_failed(self) -> Iterator[None]:
        """Turn what Paramiko and sockets raise on a lost connection into one error that names the host."""
        try:
            yield
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self.lost(error) from None

    def lost(self, error: Exception) -> NotReached:
        """What to tell of a connection that ended with *error*."""
        silent_s = self._connection.silent_s
        if isinstance(error, TimeoutError) and not silent_s:
            silent_s = self._access.silence_timeout_s
        if silent_s:
            return NotReached(f"no sign of life for {silent_s:.0f} s", where=self.name, hint="is the host up?")
        return NotReached(f"the connection was lost ({_words(error)})", where=self.name, hint="deploy again")


def _connection(address: str, config: Config, access: Access) -> Connection:
    own = config.clone(into=Config)
    keys: dict[str, Any] = {**own.connect_kwargs}
    keys.setdefault("channel_timeout", access.silence_timeout_s)
    keys.setdefault("banner_timeout", access.connect_timeout_s)
    keys.setdefault("auth_timeout", max(access.connect_timeout_s, 30))
    if access.identity:
        given = keys.get("key_filename") or []
        keys["key_filename"] = [*([given] if isinstance(given, str) else given), access.identity]
    own.connect_kwargs = {}
    own.runners.update(remote=limits.OnHost, local=limits.Here)
    timeout = int(access.connect_timeout_s) if own.timeouts.connect is None and "timeout" not in keys else None
    more = {"config": own, "connect_kwargs": keys, "connect_timeout": timeout}
    # Fabric knows no brackets; without them, an address is what known_hosts calls it.
    if bracketed := _BRACKETED.fullmatch(address):
        user, host, port = bracketed.groups()
        return _Connection(host, user=user, port=int(port) if port else None, **more)
    return _Connection(address, **more)


_BRACKETED = re.compile(r"(?:(.+)@)?\[(.+)\](?::(\d+))?")


class _Connection(Heard, Connection):  # type: ignore[misc]  # Fabric has no types
    """Fabric's connection, whose commands find their channel open already."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._set(spare=SpareChannel(super().create_session), heard=None, lifeline=None)

    def create_session(self) -> paramiko.Channel:
        self.open()
        channel: paramiko.Channel = self.spare.take()
        return channel

    def open_gateway(self) -> HeardSocket:
        self._set(heard=HeardSocket(super().open_gateway()))
        heard: HeardSocket = self.heard
        return heard

    def dial(self, timeout_s: float) -> None:
        """Connect, without logging in, where no gateway does it."""
        self._set(heard=HeardSocket(_socket(self.host, self.port, timeout_s)))
        self.connect_kwargs["sock"] = self.heard

    def watch(self, silence_s: float) -> None:
        """From now on, notice it when the other end is dead."""
        self._set(lifeline=Lifeline(self.transport, self.heard, silence_s))

    @property
    def silent_s(self) -> float:
        """How long it had been silent when it was given up; 0 where it was not."""
        return self.lifeline.silent_s if self.lifeline else 0.0

    def cut(self) -> None:
        """Wake the thread that reads from it, so that closing does not wait for it."""
        if self.heard is not None:
            self.heard.cut()


def _log_in(connection: Connection, name: str, access: Access) -> None:
    """Open *connection* with checked host keys; attempts that may succeed a moment later are repeated.

    :raises ConnectionFailed: unknown or changed key, or not let in.
    :raises NotReached: nobody answers as an SSH server does.
    """
    address = f"{connection.host} port {connection.port}"
    to = "" if name.strip("[]") in (connection.host, f"{connection.host}:{connection.port}") else f" to {address}"
    for attempt in range(access.connect_attempts):
        try:
            _try_to_log_in(connection, name, access)
            return
        except paramiko.BadHostKeyException as error:
            raise hostkeys.changed(name, error) from None
        except paramiko.PasswordRequiredException:
            raise ConnectionFailed(
                "the private key has a passphrase",
                where=name,
                hint="add it to the agent (ssh-add), or --prompt-for-passphrase",
            ) from None
        except paramiko.AuthenticationException as error:
            raise ConnectionFailed(
                f"{connection.user} is not let in ({_words(error)})",
                where=name,
                hint=f"can you log in by hand?  ssh -p {connection.port} {connection.user}@{connection.host}",
            ) from None
        except (paramiko.SSHException, EOFError, OSError) as error:
            connection.client.close()
            if attempt + 1 == access.connect_attempts or not handshakes.passing(error):
                raise NotReached(f"cannot connect{to} ({_words(error)})", where=name, hint="is the host up?") from None
        time.sleep(handshakes.pause_s(attempt))


def _try_to_log_in(connection: Connection, name: str, access: Access) -> None:
    client = connection.client
    client._system_host_keys = hostkeys.load(access.known_hosts)
    client.set_missing_host_key_policy(hostkeys.RefuseUnknown(name))
    # Fabric would log in to a gateway by itself, with any host key.
    if isinstance(connection.gateway, Connection) and not connection.gateway.is_connected:
        _log_in(connection.gateway, connection.gateway.host, access)
    server = connection.gateway if isinstance(connection.gateway, str) else connection.host
    with handshakes.gate(server):
        ours = isinstance(connection, _Connection)
        if not connection.gateway:
            if ours:
                connection.dial(access.connect_timeout_s)
            else:
                connection.connect_kwargs["sock"] = _socket(connection.host, connection.port, access.connect_timeout_s)
        connection.open()
    if ours:
        connection.watch(access.silence_timeout_s)
    else:
        connection.transport.set_keepalive(int(access.silence_timeout_s / 6))


def _socket(host: str, port: int, timeout_s: float) -> socket.socket:
    # Paramiko never sets TCP_NODELAY: without it each small request waits for the delayed acknowledgement of the last.
    connected = socket.create_connection((host.strip("[]"), port), timeout=timeout_s)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connected


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
