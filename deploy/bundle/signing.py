"""Signatures of bundles with SSH keys, by ``ssh-keygen -Y`` (ssh-keygen(1), OpenSSH 8.2 and newer).

What is signed is the :func:`statement`: the bundle's digest, the lock file's hash, and the hash of the whole manifest.
A host computes the digest from what it is asked to install and builds the statement anew
(``deploy/hostside/signature.py``), so a signature fits that bundle and no other.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import BuildError, ConfigurationError
from .manifest import Manifest

NAMESPACE = "bundle@fabric-wheelhouse"

_KEY = re.compile(r"with (\S+) key (SHA256:\S+)")
_DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_ed25519_sk", "id_ecdsa_sk", "id_rsa")


def statement(manifest: Manifest) -> bytes:
    """What is signed, as canonical JSON."""
    words = {"bundle": manifest.digest, "lock": manifest.lock_sha256, "manifest": manifest.sha256}
    return json.dumps(words, sort_keys=True, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signed.

    :ivar key: kind and fingerprint of the key: ``ED25519 SHA256:...``.
    :ivar principal: the name that the allowed signers file gives it, '' where it was not looked up or is not in there.
    """

    key: str
    principal: str = ""

    def __str__(self) -> str:
        return f"{self.principal} ({self.key})" if self.principal else self.key


def sign_command(key: Path) -> list[str]:
    return ["ssh-keygen", "-Y", "sign", "-n", NAMESPACE, "-f", str(key)]


def sign(manifest: Manifest, key: Path) -> str:
    """The signature, armored; *key* is a private key, or a public one whose private half the agent has.

    :raises ConfigurationError: the key cannot be used.
    """
    # In a session of its own ssh-keygen finds no terminal, so that it fails where it would ask for a passphrase.
    done = _run(sign_command(_usable(key)), statement(manifest), new_session=True)
    if done.returncode or not done.stdout.startswith(b"-----BEGIN SSH SIGNATURE-----"):
        raise ConfigurationError(
            f"the bundle cannot be signed with {key}",
            where="deploy.bundle.sign",
            output=_words(done.stderr),
            hint=f"a key with a passphrase has to be in the agent: ssh-add {str(key).removesuffix('.pub')}",
        )
    return done.stdout.decode()


def default_key(home: Path) -> Path:
    """The key that ``sign: true`` means where no identity is configured.

    :raises ConfigurationError: there is none.
    """
    for name in _DEFAULT_KEYS:
        for path in (home / ".ssh" / name, home / ".ssh" / f"{name}.pub"):
            if path.is_file():
                return path
    raise ConfigurationError(
        "there is no SSH key to sign with",
        where="deploy.bundle.sign",
        hint="name one (bundle: {sign: ~/.ssh/key.pub}), or make one: ssh-keygen -t ed25519",
    )


def fingerprint(key: Path) -> str:
    """``SHA256:...`` of a key file.

    :raises ConfigurationError: there is no such key.
    """
    done = _run(["ssh-keygen", "-l", "-E", "sha256", "-f", str(key)])
    found = re.search(rb"SHA256:\S+", done.stdout)
    if done.returncode or not found:
        raise ConfigurationError(
            f"{key} is no SSH key that can be read", where="deploy.bundle.sign", output=_words(done.stderr)
        )
    return found[0].decode()


def examine(manifest: Manifest, signature: str) -> Signer:
    """Whose key signed *manifest*; whether it may is not asked.

    :raises BuildError: the signature does not fit the manifest.
    """
    with _as_file(signature) as path:
        done = _run(["ssh-keygen", "-Y", "check-novalidate", "-n", NAMESPACE, "-s", path], statement(manifest))
    found = _KEY.search((done.stdout + done.stderr).decode(errors="replace"))
    if done.returncode or not found:
        raise BuildError(
            "the signature does not fit the manifest: one of them was altered",
            output=_words(done.stderr + done.stdout),
            hint="get the bundle again from whoever made it, or create and sign it anew",
        )
    return Signer(f"{found[1]} {found[2]}")


def verify(manifest: Manifest, signature: str, allowed: Path) -> Signer:
    """Who signed *manifest*, by the allowed signers file *allowed* (ssh-keygen(1), "ALLOWED SIGNERS").

    :raises BuildError: the signature does not fit, or the signer is not allowed.
    """
    signer = examine(manifest, signature)
    with _as_file(signature) as path:
        found = _run(["ssh-keygen", "-Y", "find-principals", "-f", str(allowed), "-s", path])
        for principal in found.stdout.decode(errors="replace").splitlines():
            done = _run(
                ["ssh-keygen", "-Y", "verify", "-f", str(allowed), "-I", principal, "-n", NAMESPACE, "-s", path],
                statement(manifest),
            )
            if done.returncode == 0:
                return Signer(signer.key, principal)
    raise BuildError(
        f"it is signed with {signer.key}, which is not among the allowed signers",
        where=str(allowed),
        output=_words(found.stderr),
        hint="if that signer is to be trusted, add the key to that file",
    )


def _usable(key: Path) -> Path:
    """The public half where the agent has the private one, so that nobody is asked for a passphrase."""
    public = Path(f"{key}.pub")
    try:
        blob = public.read_text().split()[1]
    except (OSError, IndexError, UnicodeDecodeError):
        return key
    agent = shutil.which("ssh-add")
    if agent is None:
        return key
    listed = subprocess.run([agent, "-L"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return public if blob in listed.stdout.split() else key


def _run(
    command: Sequence[str], content: bytes = b"", *, new_session: bool = False
) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, input=content, capture_output=True, start_new_session=new_session, check=False)
    except FileNotFoundError:
        raise ConfigurationError(
            "ssh-keygen is not installed here, and signatures are made and read with it",
            hint="install OpenSSH 8.2 or newer (Debian: apt install openssh-client)",
        ) from None


@contextmanager
def _as_file(signature: str) -> Iterator[str]:
    """A signature as a file, while it is looked at: ssh-keygen takes it in no other way."""
    with tempfile.NamedTemporaryFile("w", suffix=".sig") as stream:
        stream.write(signature)
        stream.flush()
        yield stream.name


def _words(said: bytes) -> str:
    lines = said.decode(errors="replace").strip().splitlines()
    return "\n".join(line for line in lines if not line.startswith("Signing data"))
