"""The laptop's side of SSH: a key pair, a configuration, and the host keys that it knows."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LOGIN_USER = "deploy"


@dataclass(frozen=True, slots=True)
class Client:
    """The laptop's SSH identity: a home directory with ``.ssh`` in it, and the files in that by name.

    Fabric and paramiko find them through HOME; OpenSSH asks the password database, so give it ``-F config``.
    """

    home: Path

    @property
    def directory(self) -> Path:
        return self.home / ".ssh"

    @property
    def key(self) -> Path:
        return self.directory / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    @property
    def config(self) -> Path:
        return self.directory / "config"

    @property
    def public_key(self) -> str:
        return self.key.with_suffix(".pub").read_text()

    def create(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True)
        ssh_keygen("ed25519", self.key, "laptop")
        self.known_hosts.touch(0o600)
        self.config.write_text(
            f"Host *\n    User {LOGIN_USER}\n    IdentityFile {self.key}\n    IdentitiesOnly yes\n"
            f"    UserKnownHostsFile {self.known_hosts}\n    StrictHostKeyChecking yes\n"
        )

    def add_host(self, name: str, address: str) -> None:
        with self.config.open("a") as config:
            config.write(f"Host {name}\n    HostName {address}\n")

    def forget_host(self, *names: str) -> None:
        lines = self.known_hosts.read_text().splitlines(keepends=True)
        kept = [line for line in lines if not set(line.split()[0].split(",")) & set(names)]
        self.known_hosts.write_text("".join(kept))

    def know_host(self, names: str, public_keys: Sequence[str]) -> None:
        with self.known_hosts.open("a") as known:
            known.writelines(f"{names} {key}\n" for key in public_keys)


def ssh_keygen(kind: str, path: Path, comment: str) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", comment, "-f", path], check=True)
