"""Host keys are checked: unknown and changed ones are refused, with the fingerprint and what would accept them.

Fabric's own policy accepts any key and reads no known_hosts; this one reads the user's files (sshd(8), "SSH_KNOWN_HOSTS
FILE FORMAT") line by line, because one line that paramiko does not understand makes it drop a whole file.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import paramiko
from paramiko.hostkeys import HostKeyEntry, InvalidHostKey

from ..errors import ConnectionFailed

DEFAULT_FILES = (Path("~/.ssh/known_hosts"), Path("~/.ssh/known_hosts2"), Path("/etc/ssh/ssh_known_hosts"))


def load(files: Iterable[Path]) -> paramiko.HostKeys:
    """The keys of several known_hosts files; those that are lacking are empty."""
    keys = paramiko.HostKeys()
    for path in files:
        keys._entries += _entries(path.expanduser())  # type: ignore[attr-defined]  # add() would split hashed names
    return keys


def _entries(path: Path) -> list[HostKeyEntry]:
    try:
        status = path.stat()
    except OSError:
        return []
    # Who knows hundreds of hosts has hundreds of lines, and they are asked for at each login.
    with _mutex:
        return _parsed(path, status.st_ino, status.st_mtime_ns, status.st_size)


_mutex = threading.Lock()
"""Many hosts are logged in to at once, and one of them reads the file for all."""


@lru_cache(maxsize=16)
def _parsed(path: Path, *_version: int) -> list[HostKeyEntry]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [entry for number, line in enumerate(lines, 1) if (entry := _entry(line, number)) is not None]


def _entry(line: str, number: int) -> HostKeyEntry | None:
    # @revoked and @cert-authority lines are not keys of a host. A revoked key is therefore unknown: refused too.
    if not line.strip() or line.lstrip().startswith(("#", "@")):
        return None
    try:
        return HostKeyEntry.from_line(line, number)
    except (InvalidHostKey, paramiko.SSHException, ValueError):
        return None


def fingerprint(key: paramiko.PKey) -> str:
    """As ssh-keygen -l prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")


class RefuseUnknown(paramiko.MissingHostKeyPolicy):
    """Refuse a host without a known key."""

    def __init__(self, host: str) -> None:
        self.host = host

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        raise ConnectionFailed(
            f"its host key is not known: {key.get_name()} {fingerprint(key)}",
            where=self.host,
            hint="compare the fingerprint with the server's (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub there),\n"
            f"then accept it: {_keyscan(hostname)} >> ~/.ssh/known_hosts",
        )


def changed(host: str, error: paramiko.BadHostKeyException) -> ConnectionFailed:
    """What to say when the key is not the known one."""
    name = error.hostname
    return ConnectionFailed(
        f"its host key has changed: it shows {error.key.get_name()} {fingerprint(error.key)}, "
        f"known is {fingerprint(error.expected_key)}",
        where=host,
        hint=f"somebody may be listening in; if the server was made anew: ssh-keygen -R '{name}', "
        f"then accept it: {_keyscan(name)} >> ~/.ssh/known_hosts",
    )


def _keyscan(hostname: str) -> str:
    if hostname.startswith("["):
        host, _, port = hostname[1:].partition("]:")
        return f"ssh-keyscan -p {port} {host}"
    return f"ssh-keyscan {hostname}"
