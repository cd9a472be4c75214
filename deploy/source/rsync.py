"""Push a snapshot with rsync: only what changed travels, and only that takes space on the host."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence

from ..errors import StagingFailed
from ..host.connection import Host
from ..host.relay import relay
from .snapshot import Snapshot

# The release is the same whatever the umask of the laptop: 0755 for directories and executables, 0644 for the rest.
MODES = "--chmod=Du=rwx,Dgo=rx,Fu=rwX,Fgo=rX"


def available() -> bool:
    """Whether this machine has an rsync that understands the options we need (3.0 or newer)."""
    if shutil.which("rsync") is None:
        return False
    said = subprocess.run(["rsync", "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    version = re.search(r"^rsync\s+version\s+(\d+)\.", said.stdout)
    return version is not None and int(version[1]) >= 3


def command(
    root: str, destination: str, *, reference: str, shell: str, checksum: bool = False, all_differ: bool = False
) -> list[str]:
    """The rsync command line; the paths to send are read from standard input, NUL-terminated.

    :param reference: a directory on the host; its files are linked where they are the same.
    :param shell: the remote shell.
    :param checksum: compare contents; else size and modification time.
    :param all_differ: compare nothing: what is named is known to differ from the reference.
    """
    return [
        "rsync",
        "--links",
        "--perms",
        "--times",
        "--omit-dir-times",
        MODES,
        "--protect-args",
        "--from0",
        "--files-from=-",
        *(["--checksum"] if checksum else []),
        *(["--ignore-times"] if all_differ else []),
        *([f"--link-dest={reference}"] if reference else []),
        f"--rsh={shell}",
        f"{root}/",
        f"host:{destination}/",
    ]


def push(
    host: Host,
    snapshot: Snapshot,
    destination: str,
    reference: str,
    *,
    only: Sequence[str] | None = None,
    checksum: bool = False,
) -> int:
    """Fill *destination* on *host*; the bytes that were sent.

    :param only: the paths that are known to be lacking there; all when None.
    :raises HostFailure: the host could not write something: its disk is full, or the like.
    :raises StagingFailed: rsync failed; with its last lines.
    """
    wanted = [item.path for item in snapshot.entries] if only is None else only
    paths = b"".join(os.fsencode(path) + b"\0" for path in wanted)
    with relay(host) as rides:
        line = command(
            str(snapshot.root),
            destination,
            reference=reference,
            shell=rides.shell,
            checksum=checksum,
            all_differ=only is not None,
        )
        result = subprocess.run(line, input=paths, capture_output=True, check=False)
        if result.returncode:
            if rides.error is not None:
                raise rides.error
            # A file that vanishes while we look (24) is found by the digest.
            if result.returncode != 24:
                said = os.fsdecode(result.stderr)
                if found := _refused_by_host(said, destination):
                    host.call("explain", path=found["path"], number=int(found["errno"]))
                raise StagingFailed(f"rsync failed (exit {result.returncode})", where=host.name, output=said)
        return rides.sent


def _refused_by_host(said: str, destination: str) -> re.Match[str] | None:
    """The first line of rsync's that tells what the host's system said of a path below *destination*."""
    path = rf'"(?P<path>{re.escape(destination)}(?:/[^"]*)?)"'
    return re.search(rf"^rsync: .*{path}.*: .* \((?P<errno>\d+)\)$", said, re.MULTILINE)
