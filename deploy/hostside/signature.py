"""Who may sign what this host installs: the allowed signers, put here by `fab setup`, and asked before an install.

Where nobody put a list, nothing is asked. The format of list and signature is ssh-keygen(1)'s.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

from . import disk
from .failure import Failure
from .layout import Layout

if TYPE_CHECKING:
    import subprocess

NAMESPACE = "bundle@fabric-wheelhouse"
FILE = "allowed_signers"

# Root's lists lie where the deploy user can neither write, nor rename or remove what is there.
ROOT = "/etc/fabric-wheelhouse"

# Not the environment's: the login user's own programs have no say in this.
PROGRAMS = "/usr/bin:/usr/local/bin:/bin"


def places(layout: Layout) -> list[str]:
    """Where a list may be; the first that is there counts."""
    # By both names, so that a link in the place of the base path leads to no other list.
    below_root = [os.path.join(ROOT, path.lstrip("/"), FILE) for path in (layout.base, os.path.realpath(layout.base))]
    return [*dict.fromkeys(below_root), layout.path(".deploy", FILE)]


def list_path(layout: Layout) -> str:
    """The list that counts, '' where there is none."""
    return next((path for path in places(layout) if os.path.lexists(path)), "")


def put(layout: Layout, text: str, owner: str) -> dict[str, Any]:
    """Write the list of allowed signers.

    :param owner: ``root``: where only root can write (this runs as root, then); ``deploy``: into ``.deploy/``.
    :returns: ``changed``, one sentence for each change.
    :raises Failure: a list of root's says something else.
    """
    path = places(layout)[0 if owner == "root" else -1]
    counts = list_path(layout)
    if _read(counts or path) == text and (counts == path or owner != "root"):
        return {"changed": []}
    if counts not in ("", path) and owner != "root":
        raise Failure(
            f"{counts} is root's list of allowed signers and says something else",
            "set deploy.bundle.signers_owner to root, or let root remove that file",
            "refused",
        )
    if owner == "root":
        disk.make_way(os.path.dirname(path))
    disk.write_atomically(path, text)
    return {"changed": [f"wrote {path}"]}


def known(layout: Layout) -> dict[str, str]:
    """The list that counts and the SHA-256 of its text; '' and '' where there is none."""
    path = list_path(layout)
    return {"path": path, "sha256": hashlib.sha256(_read(path).encode()).hexdigest() if path else ""}


def _read(path: str) -> str:
    try:
        with open(disk.open_file(path), encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except FileNotFoundError:
        return ""


def statement(digest: str, lock: str, manifest: str) -> bytes:
    """What is signed: the digest that this host computed itself, and two hashes that nothing here depends on."""
    words = {"bundle": digest, "lock": lock, "manifest": manifest}
    return json.dumps(words, sort_keys=True, separators=(",", ":")).encode()


def check(layout: Layout, digest: str, lock: str, manifest: str, signature: str) -> None:
    """Refuse a bundle that no allowed signer signed, where this host has a list of them.

    :param digest: of the bundle, as computed from what is to be installed.
    :param lock: the lock file's hash, as the laptop says.
    :param manifest: the hash of the whole manifest, as the laptop says.
    :param signature: armored, '' where there is none.
    :raises Failure: kind ``refused``.
    """
    allowed = list_path(layout)
    if not allowed:
        return
    if not signature:
        raise Failure(
            f"the bundle is not signed, and this host takes signed ones only ({allowed})",
            "set deploy.bundle.sign",
            "refused",
        )
    os.close(disk.open_file(allowed))  # ssh-keygen would wait for what a pipe brings
    import tempfile

    content = statement(digest, lock, manifest)
    # Not where others may write, who could exchange it; swept like all that is unfinished there.
    place, ending = layout.path(".deploy"), f".{os.getpid()}"
    with tempfile.NamedTemporaryFile("w", dir=place, prefix=f"{disk.PARTIAL}signature-", suffix=ending) as stream:
        stream.write(signature)
        stream.flush()
        fits = _ssh_keygen(["check-novalidate", "-n", NAMESPACE, "-s", stream.name], content)
        if fits.returncode:
            raise Failure(
                f"the bundle's signature does not fit its manifest: one of them was altered ({_words(fits)})",
                "create the bundle and sign it again, or import it again",
                "refused",
            )
        found = _ssh_keygen(["find-principals", "-f", allowed, "-s", stream.name], content)
        # A principal is a pattern list; each that has this key is asked whether it may sign in our namespace.
        for principal in found.stdout.decode(errors="replace").splitlines():
            question = ["verify", "-f", allowed, "-I", principal, "-n", NAMESPACE, "-s", stream.name]
            if _ssh_keygen(question, content).returncode == 0:
                return
    raise Failure(
        f"the bundle's signer is not among the allowed signers of this host ({allowed}): {_words(fits)}",
        "let an allowed signer sign it; or add the key to deploy.bundle.allowed_signers, then run fab setup",
        "refused",
    )


def _ssh_keygen(arguments: list[str], content: bytes) -> subprocess.CompletedProcess[bytes]:
    import subprocess

    try:
        done = subprocess.run(
            ["ssh-keygen", "-Y", *arguments],
            input=content,
            capture_output=True,
            env={**os.environ, "PATH": PROGRAMS, "LC_ALL": "C"},
            check=False,
        )
    except FileNotFoundError:
        raise Failure(
            "signed bundles only, and there is no ssh-keygen on this host that could verify one",
            "install it (Debian: apt install openssh-client)",
            "refused",
        ) from None
    if any(words in done.stderr for words in (b"option -- Y", b"Unsupported operation")):
        raise Failure(
            "signed bundles only, and this host's ssh-keygen is too old to verify one",
            "OpenSSH 8.2 or newer is needed",
            "refused",
        )
    return done


def _words(done: subprocess.CompletedProcess[bytes]) -> str:
    said = (done.stdout + done.stderr).decode(errors="replace")
    return " ".join(said.split()) or f"ssh-keygen ended with {done.returncode}"
