"""One server: authenticated once, by Fabric; everything else rides on that connection.

The rest of the house knows neither Fabric's nor Paramiko's habits; what they need is here.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import paramiko
from fabric import Config, Connection
from invoke.exceptions import CommandTimedOut, Failure

from ..errors import ConnectionFailed, NotReached
from . import limits, privilege
from .bootstrap import quoted
from .hearing import Say
from .login import Access, log_in, prepare, words
from .places import Places
from .session import Answer, Operations, Session
from .spare import SpareChannel


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
    :param places: of which its connection takes one.
    :ivar stays: its connection is needed all the time, whether it is worked on or not.
    """

    def __init__(
        self,
        address: str,
        *,
        name: str,
        base_path: str,
        deploy_user: str,
        python: str,
        config: Config,
        access: Access,
        places: Places | None = None,
    ) -> None:
        self.address = address
        self.name = name
        self.base_path = base_path
        self.python = python
        self._access = access
        self.places = places or Places(access.parallel)
        self.stays = False
        self._config = config
        self._connection = prepare(address, config, access)
        self._spare: SpareChannel = self._connection.spare
        self.deploy_user = deploy_user or self._connection.user
        self._sessions: dict[str, Session] = {}
        self._mutex = threading.Lock()
        self._stopping = False
        self._no_command = threading.Event()
        self._no_command.set()

    def __repr__(self) -> str:
        return f"<Host {self.name}>"

    def beside(self, address: str, python: str = "") -> Host:
        """Another server, reached in the same way: with the same keys, known hosts and time limits.

        :param python: the interpreter for the host program, which is kept nowhere there; '' where it is not needed.
        """
        name = address.rpartition("@")[2]
        return Host(
            address, name=name, base_path="", deploy_user="", python=python, config=self._config, access=self._access
        )

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Its connection makes no room for another one meanwhile."""
        self.places.begin(self)
        try:
            yield
        finally:
            self.places.end(self)

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
                self.places.take(self)
                log_in(self._connection, self.name, self._access)

    def close(self) -> None:
        self._sessions.clear()
        self._connection.cut()
        with contextlib.suppress(Exception):
            self._connection.close()
        with contextlib.suppress(Exception):
            self._connection.close_gateway()
        self.places.free(self)

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
            channel.settimeout(self._access.patience_s)
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
        folder = f"{self.base_path}/.deploy" if self.base_path and user == self.deploy_user else ""
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
        asked = {"identifier": release, "command": command, "env": dict(env), "timeout": timeout_s}
        result = self.perform("run", asked, user=user, progress=progress)
        return CommandResult(result["exited"], result["output"].strip())

    def perform(
        self, name: str, arguments: dict[str, Any], *, user: str = "", progress: Callable[[str], None] | None = None
    ) -> Any:
        """An operation of the host program that runs a command of the user's; where the run is interrupted, it is
        waited for. Its result.

        :param user: '' for the deploy user.
        """
        if self._stopping:
            raise ConnectionFailed("interrupted", where=self.name)
        self._no_command.clear()
        try:
            with self.lost_means_failed():
                return self.session(user).batch([(name, arguments)], progress)[0]
        finally:
            self._no_command.set()

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
        if silent_s := self._connection.silent_s:
            return NotReached(f"no sign of life for {silent_s:.0f} s", where=self.name, hint="is the host up?")
        if isinstance(error, TimeoutError):
            what = f"its SSH server lives, but nothing else was heard for {self._access.patience_s:g} s"
            return NotReached(what, where=self.name, hint="is the host too busy, or a file system gone?")
        return NotReached(f"the connection was lost ({words(error)})", where=self.name, hint="deploy again")
