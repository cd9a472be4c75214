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

# What a server of another architecture has. systemd starts under qemu and then can start no service, so there is none.
FOREIGN_PACKAGES = ("openssh-server", "python3", "python3-venv", "sudo", "rsync", "curl")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a base is made of.

    :ivar suite: Debian's name of the release; of a base that stands on another, that one's.
    :ivar packages: those named to debootstrap, or installed beside what the base below has.
    :ivar architecture: Debian's name of a foreign one, whose programs qemu runs; '' for this machine's. A host of it
        runs sshd and no systemd.
    :ivar below: the base that this one begins as a copy of, which takes a fraction of debootstrap's time; '' for none.
    """

    suite: str
    packages: tuple[str, ...] = PACKAGES
    architecture: str = ""
    below: str = ""

    @property
    def all_packages(self) -> tuple[str, ...]:
        return (*RECIPES[self.below].all_packages, *self.packages) if self.below else self.packages


def _on(suite: str, *packages: str) -> Recipe:
    """A plain server of *suite* with more packages."""
    return Recipe(suite, packages, below=suite)


RECIPES = {
    "bullseye": Recipe("bullseye"),
    "bookworm": Recipe("bookworm"),
    "trixie": Recipe("trixie"),
    # What few servers have: Mercurial and Subversion.
    "bookworm-vcs": _on("bookworm", "mercurial", "subversion"),
    "bookworm-uwsgi": _on("bookworm", "uwsgi-core", "uwsgi-plugin-python3"),
    # A stand-in for a server of the RPM family: its tools, without its packages. Tests take apt away from it.
    "bookworm-dnf": _on("bookworm", "dnf", "rpm", "createrepo-c"),
    # A balancer of each kind.
    "bookworm-balancers": _on("bookworm", "haproxy", "nginx"),
    # Build hosts: like production, and a compiler beside.
    "bullseye-build": _on("bullseye", "g++", "libpython3-dev"),
    "bookworm-build": _on("bookworm", "g++", "libpython3-dev"),
    "trixie-build": _on("trixie", "g++", "libpython3-dev"),
    # A server of another architecture, and a root to run its programs in.
    "trixie-arm64-host": Recipe("trixie", FOREIGN_PACKAGES, "arm64"),
}

# program on this machine -> the Debian package that brings it
TOOLS = {
    "debootstrap": "debootstrap",
    "systemd-nspawn": "systemd-container",
    "nft": "nftables",
    "ip": "iproute2",
    "ssh-keygen": "openssh-client",
    "qemu-aarch64-static": "qemu-user-static",
    "update-binfmts": "binfmt-support",
    "git": "git",
    "hg": "mercurial",
    "svn": "subversion",
}

CAP_SYS_ADMIN = 21


@dataclass(frozen=True, slots=True)
class Base:
    """A cached root, and the shared lock that keeps it from being rebuilt while hosts stand on it."""

    name: str
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


def run_foreign_programs() -> None:
    """Have the kernel hand aarch64 programs to qemu, in a chroot too; lasts until the machine is started again."""
    formats = Path("/proc/sys/fs/binfmt_misc")
    if not (formats / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(formats)], check=True)
    if not (formats / "qemu-aarch64").exists():
        subprocess.run(["update-binfmts", "--enable", "qemu-aarch64"], check=True)


def cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "fabric-wheelhouse" / "fleet"


def hold(name: str) -> Base:
    """The base of that name, built where it is missing or its package list changed.

    The lock is shared while hosts stand on the base and exclusive while it is built, so that two runs
    neither build it twice nor pull it from under each other. The caller releases it.
    """
    if name not in RECIPES:
        raise ValueError(f"no such base: {name}; there are {', '.join(RECIPES)}")
    cache().mkdir(parents=True, exist_ok=True)
    lock = (cache() / f"proto-{name}.lock").open("w")
    root = cache() / f"proto-{name}"
    fcntl.flock(lock, fcntl.LOCK_SH)
    while not _is_current(name, root):
        # Changing the kind of a flock lets go of it in between: look again before building.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_current(name, root):
            _build(name, root)
        fcntl.flock(lock, fcntl.LOCK_SH)
    return Base(name, root, lock)


def main() -> int:
    if reason := why_not():
        sys.stderr.write(f"fleet bases not made: {reason}\n")
        return 1
    install_tools()
    for name in RECIPES:
        sys.stdout.write(f"{name}: ")
        sys.stdout.flush()
        base = hold(name)
        sys.stdout.write(f"{base.root}\n")
        base.release()
    return 0


def _is_current(name: str, root: Path) -> bool:
    stamp = _stamp(name)
    if not root.is_dir():
        return False
    if not stamp.exists() and _installed(root) >= set(RECIPES[name].all_packages):
        stamp.write_text(_stamp_text(name))
    return stamp.exists() and stamp.read_text() == _stamp_text(name)


def _build(name: str, root: Path) -> None:
    partial = root.with_name(f"{root.name}.partial")
    _remove(partial)
    with root.with_name(f"{root.name}.log").open("w") as log:
        if RECIPES[name].below:
            _build_on(RECIPES[name], partial, log)
        else:
            _bootstrap(RECIPES[name], partial, log)
    for archive in (partial / "var/cache/apt/archives").glob("*.deb"):
        archive.unlink()
    _stamp(name).unlink(missing_ok=True)
    if root.exists():
        shutil.rmtree(root)
    partial.rename(root)
    _stamp(name).write_text(_stamp_text(name))


def _bootstrap(recipe: Recipe, partial: Path, log: IO[str]) -> None:
    if recipe.architecture:
        run_foreign_programs()
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(recipe.packages)}"]
    if recipe.architecture:
        command.append(f"--arch={recipe.architecture}")
    command += [recipe.suite, str(partial)]
    if mirror := os.environ.get("FLEET_MIRROR"):
        command.append(mirror)
    _logged(command, log)


def _build_on(recipe: Recipe, partial: Path, log: IO[str]) -> None:
    base = hold(recipe.below)
    try:
        _logged(["cp", "-a", "--reflink=auto", str(base.root), str(partial)], log)
    finally:
        base.release()
    # No service may be started here: it would be one of this machine.
    policy = partial / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    inside = ["chroot", str(partial), "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--yes", "--quiet"]
    _logged([*inside, "update"], log)
    _logged([*inside, "install", "--no-install-recommends", *recipe.packages], log)
    policy.unlink()


def _logged(command: list[str], log: IO[str]) -> None:
    """:raises RuntimeError: it failed; with the last lines of what was said."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    if done.returncode:
        last = "\n".join(Path(log.name).read_text(errors="replace").splitlines()[-15:])
        raise RuntimeError(f"{' '.join(command)} failed with {done.returncode}:\n{last}")


def _remove(partial: Path) -> None:
    """Remove what a run that died left. debootstrap may have had this machine's /proc and /sys in it."""
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        place = line.split()[1]
        if place.startswith(f"{partial}/"):
            subprocess.run(["umount", "--lazy", place], check=True)
    shutil.rmtree(partial, ignore_errors=True)


# Beside the base and not in it, for a base is never changed.
def _stamp(name: str) -> Path:
    return cache() / f"proto-{name}.packages"


def _stamp_text(name: str) -> str:
    return ",".join(RECIPES[name].all_packages) + "\n"


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
