"""Logging in: how a host is reached, with checked host keys, again where that may help; and the watch from then on."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko
from fabric import Config, Connection

from ..errors import ConnectionFailed, NotReached
from . import handshakes, hostkeys, limits
from .hearing import Heard
from .lifeline import HeardSocket, Lifeline
from .spare import SpareChannel
from .transport import make_transport, open_socket

# Paramiko logs tracebacks of its own thread, which Python prints where nobody handles them; we say what happened.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class Access:
    """How hosts are reached; the same for all of a run.

    :ivar parallel: how many hosts are worked on, and how many connections are open, at once.
    """

    connect_timeout_s: float = 15
    silence_timeout_s: float = 30
    known_hosts: tuple[Path, ...] = hostkeys.DEFAULT_FILES
    identity: str = ""
    connect_attempts: int = 3
    parallel: int = 30

    @property
    def patience_s(self) -> float:
        """How long what runs on a host that lives may say nothing, where it should: a busy host takes long to begin."""
        return 4 * self.silence_timeout_s


def prepare(address: str, config: Config, access: Access) -> WatchedConnection:
    """Fabric's connection to *address*, not yet opened, that shares no list of keys with another one.

    :param address: ``[user@]host[:port]`` or a name of ssh_config.
    """
    own = config.clone(into=Config)
    keys: dict[str, Any] = {**own.connect_kwargs}
    keys.setdefault("channel_timeout", access.patience_s)
    keys.setdefault("banner_timeout", access.connect_timeout_s)
    keys.setdefault("auth_timeout", max(access.connect_timeout_s, 30))
    keys.setdefault("transport_factory", make_transport)
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
        return WatchedConnection(host, user=user, port=int(port) if port else None, **more)
    return WatchedConnection(address, **more)


_BRACKETED = re.compile(r"(?:(.+)@)?\[(.+)\](?::(\d+))?")


class WatchedConnection(Heard, Connection):  # type: ignore[misc]  # Fabric has no types
    """Fabric's connection, whose commands find their channel open already, and which notices when its host is dead."""

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

    def close_gateway(self) -> None:
        """Close what was opened for this connection alone; a gateway of the configuration may be shared."""
        if isinstance(self.gateway, Connection) and self.gateway is not self.config.gateway:
            self.gateway.close()

    def dial(self, timeout_s: float) -> None:
        """Connect, without logging in, where no gateway does it."""
        self._set(heard=HeardSocket(open_socket(self.host, self.port, timeout_s)))
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


def log_in(connection: Connection, name: str, access: Access) -> None:
    """Open *connection* with checked host keys; attempts that may succeed a moment later are repeated.

    :raises ConnectionFailed: unknown or changed key, or not let in.
    :raises NotReached: nobody answers as an SSH server does.
    """
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
        except (paramiko.SSHException, EOFError, OSError) as error:
            connection.client.close()
            if attempt + 1 == access.connect_attempts or not handshakes.passing(error):
                raise _failed(error, connection, name) from None
        time.sleep(handshakes.pause_s(attempt))


def _failed(error: Exception, connection: Connection, name: str) -> ConnectionFailed:
    """What to tell of a login that will not succeed."""
    address = f"{connection.host} port {connection.port}"
    if handshakes.unanswered(error):
        to = "" if name.strip("[]") in (connection.host, f"{connection.host}:{connection.port}") else f" to {address}"
        return NotReached(f"cannot connect{to} ({words(error)})", where=name, hint="is the host up?")
    by_hand = f"can you log in by hand?  ssh -p {connection.port} {connection.user}@{connection.host}"
    return ConnectionFailed(f"{connection.user} is not let in ({words(error)})", where=name, hint=by_hand)


def _try_to_log_in(connection: Connection, name: str, access: Access) -> None:
    client = connection.client
    client._system_host_keys = hostkeys.load(access.known_hosts)
    client.set_missing_host_key_policy(hostkeys.RefuseUnknown(name))
    # Fabric would log in to a gateway by itself, with any host key.
    if isinstance(connection.gateway, Connection) and not connection.gateway.is_connected:
        log_in(connection.gateway, connection.gateway.host, access)
    server = connection.gateway if isinstance(connection.gateway, str) else connection.host
    with handshakes.gate(server):
        ours = isinstance(connection, WatchedConnection)
        if not connection.gateway:
            if ours:
                connection.dial(access.connect_timeout_s)
            else:
                connection.connect_kwargs["sock"] = open_socket(
                    connection.host, connection.port, access.connect_timeout_s
                )
        connection.open()
    if ours:
        connection.watch(access.silence_timeout_s)
    else:
        connection.transport.set_keepalive(int(access.silence_timeout_s / 6))


def words(error: BaseException) -> str:
    """*error* as a part of a sentence."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
