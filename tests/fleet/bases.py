"""Debian root file systems that hosts are made from: built once by debootstrap, cached, never changed.

Also says whether this machine can boot hosts at all, and installs the Debian packages that doing so takes.
``python -m tests.fleet.bases`` makes all of them beforehand, where one can see it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO

SUITES = ("bullseye", "bookworm", "trixie")

# What a plain server has, and no compiler: a host that needs one must fail here too.
PACKAGES = (
    "openssh-server",
    "python3",
    "python3-venv",
    "sudo",
    "rsync",
    "git",
    "systemd",
    "systemd-sysv",
    "iproute2",
    "dbus",
    "curl",
    "supervisor",
)

# program on this machine -> the Debian package that brings it
TOOLS = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "nft": "nftables",
    "ip": "iproute2",
    "ssh-keygen": "openssh-client",
}

CAP_SYS_ADMIN = 21


@dataclass(frozen=True, slots=True)
class Base:
    """A cached root, and the shared lock that keeps it from being rebuilt while hosts stand on it."""

    suite: str
    root: Path
    hold: IO[str]

    def release(self) -> None:
        self.hold.close()


def why_not() -> str | None:
    """Why hosts cannot be booted here, in two or three words; None where they can."""
    if os.geteuid() != 0:
        return "needs root"
    if not _is_debian():
        return "needs Debian"
    effective = next(
        line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff")
    )
    if not int(effective, 16) >> CAP_SYS_ADMIN & 1:
        return "needs root that may mount"
    return None


def install_tools() -> None:
    """Install the Debian packages whose programs are missing."""
    packages = [package for program, package in TOOLS.items() if shutil.which(program) is None]
    if not packages:
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "--yes", "--no-install-recommends", "debian-archive-keyring", *packages]
    for command in (["apt-get", "update"], install):
        subprocess.run(command, check=True, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "fabric-wheelhouse" / "fleet"


def hold(suite: str) -> Base:
    """The base of a suite, built where it is missing or its package list changed.

    The lock is shared while hosts stand on the base and exclusive while it is built, so that two runs
    neither build it twice nor pull it from under each other. The caller releases it.
    """
    if suite not in SUITES:
        raise ValueError(f"no such suite: {suite}; there are {', '.join(SUITES)}")
    cache().mkdir(parents=True, exist_ok=True)
    lock = (cache() / f"proto-{suite}.lock").open("w")
    root = cache() / f"proto-{suite}"
    fcntl.flock(lock, fcntl.LOCK_SH)
    while not _is_current(suite, root):
        # Changing the kind of a flock lets go of it in between: look again before building.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_current(suite, root):
            _build(suite, root)
        fcntl.flock(lock, fcntl.LOCK_SH)
    return Base(suite, root, lock)


def main() -> int:
    if reason := why_not():
        sys.stderr.write(f"fleet bases not made: {reason}\n")
        return 1
    install_tools()
    for suite in SUITES:
        sys.stdout.write(f"{suite}: ")
        sys.stdout.flush()
        base = hold(suite)
        sys.stdout.write(f"{base.root}\n")
        base.release()
    return 0


def _is_current(suite: str, root: Path) -> bool:
    stamp = _stamp(suite)
    if not root.is_dir():
        return False
    if not stamp.exists() and _installed(root) >= set(PACKAGES):
        stamp.write_text(_stamp_text())
    return stamp.exists() and stamp.read_text() == _stamp_text()


def _build(suite: str, root: Path) -> None:
    partial = root.with_name(f"{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", suite, str(partial)]
    if mirror := os.environ.get("FLEET_MIRROR"):
        command.append(mirror)
    log = root.with_name(f"{root.name}.log")
    with log.open("w") as output:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    if done.returncode:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise RuntimeError(f"debootstrap {suite} failed with {done.returncode}:\n{last}")
    for archive in (partial / "var/cache/apt/archives").glob("*.deb"):
        archive.unlink()
    _stamp(suite).unlink(missing_ok=True)
    if root.exists():
        shutil.rmtree(root)
    partial.rename(root)
    _stamp(suite).write_text(_stamp_text())


# Beside the base and not in it, for a base is never changed.
def _stamp(suite: str) -> Path:
    return cache() / f"proto-{suite}.packages"


def _stamp_text() -> str:
    return ",".join(PACKAGES) + "\n"


def _installed(root: Path) -> set[str]:
    names = set()
    name = ""
    for line in (root / "var/lib/dpkg/status").read_text().splitlines():
        if line.startswith("Package: "):
            name = line.removeprefix("Package: ")
        elif line == "Status: install ok installed":
            names.add(name)
    return names


def _is_debian() -> bool:
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except FileNotFoundError:
        return False
    values = [line.partition("=")[2].strip('"') for line in lines if line.startswith(("ID=", "ID_LIKE="))]
    return any("debian" in value.split() for value in values)


if __name__ == "__main__":
    sys.exit(main())
