"""One Debian host: how it is furnished, switched on and off, looked at, and troubled."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from shlex import quote
from typing import TYPE_CHECKING, TypeVar

from tests.fleet import bases, network, trap
from tests.fleet.client import LOGIN_USER, ssh_keygen

if TYPE_CHECKING:
    from tests.fleet.machines import Fleet

Found = TypeVar("Found")

BOOT_TIMEOUT = 60.0
COMMAND_TIMEOUT = 120.0
RESOLVER = "# no name server\n"
ENVIRONMENT = [
    "env",
    "-i",
    "HOME=/root",
    "LANG=C.UTF-8",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
]

SSHD = "MaxStartups 100\nMaxSessions 50\nUseDNS no\n"
SSHD_ALONE = ["sh", "-c", "mkdir -p /run/sshd && exec /usr/sbin/sshd -D -e"]
# OpenSSH 9.8 and later shuts out an address for seconds after logins that failed: here all come from one address.
SSHD_PENALTIES = "PerSourcePenalties no\n"

# Nothing of the host's own may speak up while a test listens for outgoing connections.
MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "man-db.timer",
    "console-getty.service",
)


class CommandFailed(RuntimeError):
    """A command on a host ended with something else than 0."""


class Machine:
    """One host. What it is told to do is done as root from outside, not through the SSH under test."""

    def __init__(self, fleet: Fleet, suite: str, name: str, number: int, base: Path) -> None:
        self.fleet = fleet
        self.suite = suite
        self.name = name
        self.number = number
        self.base = base
        self.foreign = bool(bases.RECIPES[suite].architecture)
        self.address = fleet.slice.host_address(number)
        self.pid1 = 0
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._trapped = False
        self._directory = fleet.workdir / "hosts" / f"{number:02}-{name}"
        self.root = self._directory / "root"

    @property
    def is_running(self) -> bool:
        return self._nspawn is not None and self._nspawn.poll() is None

    @property
    def console(self) -> str:
        """What systemd said while it booted."""
        log = self._directory / "console.log"
        return log.read_text(errors="replace") if log.exists() else ""

    # --- look and touch ---

    def join(self, *others: Machine) -> None:
        """Let this host and *others* speak with each other, until one of them is booted again."""
        pids = {other.pid1: other.address for other in others}
        network.join(self.fleet.slice, self._interface, {self.pid1: self.address}, pids)

    def run(
        self,
        script: str,
        check: bool = True,
        user: str = "root",
        input: str | None = None,
        timeout: float = COMMAND_TIMEOUT,
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell script on the host; on its bare root directory while it is switched off."""
        enter = (
            ["nsenter", "--target", str(self.pid1), "--all", "--"] if self.is_running else ["chroot", str(self.root)]
        )
        shell = ["sh", "-c", script]
        if user != "root":
            shell = ["runuser", "--login", user, "--shell", "/bin/sh", "--command", script]
        done = subprocess.run(
            [*enter, *ENVIRONMENT, *shell],
            input=input or "",
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=timeout,
        )
        if check and done.returncode:
            raise CommandFailed(
                f"{self.name}: {script!r} ended with {done.returncode}\n{done.stdout}{done.stderr}".rstrip()
            )
        return done

    def read(self, path: str) -> str:
        return self.run(f"cat -- {quote(path)}").stdout

    def write(self, path: str, text: str, mode: int = 0o644, owner: str = "root:root") -> None:
        parent, target, fresh = quote(str(PurePosixPath(path).parent)), quote(path), quote(f"{path}.fresh")
        self.run(
            f"set -e; mkdir -p -- {parent}; umask 077; cat > {fresh}; "
            f"chown {quote(owner)} {fresh}; chmod {mode:o} {fresh}; mv -T -- {fresh} {target}",
            input=text,
        )

    def exists(self, path: str) -> bool:
        """Whether there is something of that name; a link that points nowhere is something."""
        return self.run(f"test -e {quote(path)} || test -L {quote(path)}", check=False).returncode == 0

    def host_keys(self) -> list[str]:
        files = sorted((self.root / "etc/ssh").glob("ssh_host_*_key.pub"))
        return [" ".join(file.read_text().split()[:2]) for file in files]

    # --- users ---

    def add_user(self, name: str, shell: str = "/bin/bash") -> None:
        self.run(f"useradd --create-home --user-group --shell {quote(shell)} {quote(name)}")

    def authorize(self, user: str) -> None:
        """Let the client's key log in as that user."""
        home = self.run(f"getent passwd {quote(user)} | cut -d: -f6").stdout.strip()
        self.run(f"install -d -m 0700 -o {quote(user)} -g {quote(user)} {quote(home)}/.ssh")
        self.write(f"{home}/.ssh/authorized_keys", self.fleet.client.public_key, 0o600, f"{user}:{user}")

    def sudoers(self, text: str) -> None:
        """Replace all that the fixture or an earlier call allowed; refused unless visudo accepts it."""
        path = "/etc/sudoers.d/fleet"
        self.write(f"{path}.new", text.rstrip("\n") + "\n", 0o440)
        self.run(f"visudo -cf {path}.new || {{ rm {path}.new; exit 1; }}; mv {path}.new {path}")

    def set_password(self, user: str, password: str) -> None:
        self.run("chpasswd", input=f"{user}:{password}\n")

    # --- power ---

    def boot_again(self) -> None:
        """Switch on what was switched off, with the files as they were left, and wait until sshd answers."""
        if self.is_running:
            raise RuntimeError(f"{self.name} is running")
        self._spawn()
        self.pid1 = self._wait("its first process", self._find_pid1)
        self._wait("its network", self._plug_in)
        self._wait("sshd", self._sshd_answers)

    def poweroff_hard(self) -> None:
        """Power cut: everything on the host stops at once, and nobody on the network is told.

        What was written stays, whether it was synced or not: the files are in this machine's page cache.
        """
        if self._nspawn is None:
            return
        if self.is_running:
            # First, or the dying processes' sockets would say goodbye.
            network.cut(self.fleet.slice, self._interface)
            self._kill()
        network.restore(self.fleet.slice, self._interface)
        # Otherwise the kernel takes its time, and the next boot would meet the old interface.
        subprocess.run(["ip", "link", "del", self._interface], stderr=subprocess.DEVNULL)
        self._nspawn = None
        self.pid1 = 0
        # The trap lives in the network namespace, which is gone.
        self._trapped = False

    def stop(self) -> None:
        """Switch off for good; the files go too."""
        self.poweroff_hard()
        if self.root.is_mount():
            network.unmount(self.root)
        for group in self._control_groups():
            network.remove_control_group(group)
        shutil.rmtree(self._directory, ignore_errors=True)
        self.fleet.machines.pop(self.name, None)

    # --- troubles ---

    def cut_network(self) -> None:
        """Packets from and to the host vanish; nobody is refused or told."""
        network.cut(self.fleet.slice, self._interface)

    def restore_network(self) -> None:
        network.restore(self.fleet.slice, self._interface)

    def mount_small_disk(self, path: str, size: int) -> None:
        """A disk of `size` bytes at `path`, made when missing; owner and mode stay. Gone after a power cut."""
        target = quote(path)
        self.run(
            f"set -e; mkdir -p -- {target}; like=$(stat -c 'uid=%u,gid=%g,mode=%a' {target}); "
            f"mount -t tmpfs -o size={size},$like smalldisk {target}"
        )

    def fill_disk(self, mountpoint: str, bytes_free: int = 0) -> None:
        """Leave that many bytes free on a small disk, rounded down to whole pages."""
        target = quote(mountpoint)
        self.run(
            f"set -e; test $(stat -f -c %T {target}) = tmpfs; rm -f {target}/.filler; "
            f"fill=$(( $(df --output=avail -B1 {target} | tail -n 1) - {bytes_free} )); "
            f'test "$fill" -le 0 || fallocate -l $fill {target}/.filler'
        )

    def free_disk(self, mountpoint: str) -> None:
        self.run(f"rm -f {quote(mountpoint)}/.filler")

    def listen_trap(self) -> None:
        """From now on count what tries to open a connection out of the host; see :mod:`tests.fleet.trap`."""
        if self._trapped:
            self.reset_trap()
            return
        self._trapped = True
        self.write("/etc/resolv.conf", trap.RESOLVER)
        trap.set_up(self.pid1, self.number)

    def outgoing_attempts(self) -> int:
        return trap.attempts(self.pid1)

    def outgoing_targets(self) -> list[str]:
        """Where to, as ``tcp 203.0.113.9 443``."""
        return trap.targets(self.pid1)

    def reset_trap(self) -> None:
        trap.reset(self.pid1)

    def remove_trap(self) -> None:
        trap.remove(self.pid1, self.number)
        self.write("/etc/resolv.conf", RESOLVER)
        self._trapped = False

    # --- how it is made ---

    @property
    def _nspawn_name(self) -> str:
        # Not the host's name: from this one the interface gets its own, of fifteen characters at most.
        return f"{self.fleet.slice.name}-{self.number}"

    @property
    def _interface(self) -> str:
        return f"vb-{self._nspawn_name}"

    def _control_groups(self) -> list[Path]:
        return [group / str(self.number) for group in network.control_groups(self.fleet.slice.name)]

    def _create(self) -> None:
        for layer in ("upper", "work", "root"):
            (self._directory / layer).mkdir(parents=True)
        layers = f"lowerdir={self.base},upperdir={self._directory / 'upper'},workdir={self._directory / 'work'}"
        subprocess.run(["mount", "-t", "overlay", self.fleet.slice.name, "-o", layers, self.root], check=True)
        if self.foreign:
            bases.run_foreign_programs()
        etc = self.root / "etc"
        (etc / "hostname").write_text(f"{self.name}\n")
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n::1 localhost\n{self.address} {self.name}\n")
        (etc / "resolv.conf").write_text(RESOLVER)
        (etc / "machine-id").write_text(f"{uuid.uuid4().hex}\n")
        for unit in () if self.foreign else MASKED:
            mask = etc / "systemd/system" / unit
            mask.unlink(missing_ok=True)
            mask.symlink_to("/dev/null")
        # Else systemd thinks that the system was upgraded and rebuilds its caches.
        for stamp in (etc / ".updated", self.root / "var/.updated"):
            stamp.touch()
        self._make_host_keys()
        knows_penalties = b"persourcepenalties" in (self.root / "usr/sbin/sshd").read_bytes().lower()
        (etc / "ssh/sshd_config.d/fleet.conf").write_text(SSHD + (SSHD_PENALTIES if knows_penalties else ""))
        self.add_user(LOGIN_USER)
        self.authorize(LOGIN_USER)
        self.sudoers(f"{LOGIN_USER} ALL=(ALL:ALL) NOPASSWD: ALL")
        self.add_user("guestbook", "/bin/sh")

    def _make_host_keys(self) -> None:
        directory = self.root / "etc/ssh"
        for old in directory.glob("ssh_host_*"):
            old.unlink()
        for kind in ("ed25519", "ecdsa"):
            ssh_keygen(kind, directory / f"ssh_host_{kind}_key", self.name)
        client = self.fleet.client
        with self.fleet._lock:
            client.forget_host(self.name, self.address)
            client.know_host(f"{self.name},{self.address}", self.host_keys())
            client.add_host(self.name, self.address)

    def _spawn(self) -> None:
        # A control group of its own, or the hosts' systemds would share theirs and wait for each other's processes.
        groups = self._control_groups()
        for group in groups:
            group.mkdir(parents=True, exist_ok=True)
        enter = [f"echo $$ > {quote(str(group / 'cgroup.procs'))}" for group in groups]
        nspawn = [
            "systemd-nspawn",
            f"--directory={self.root}",
            f"--machine={self._nspawn_name}",
            f"--hostname={self.name}",
            *(["--as-pid2"] if self.foreign else ["--boot"]),
            f"--network-bridge={self.fleet.bridge}",
            "--register=no",
            "--keep-unit",
            "--settings=no",
            "--link-journal=no",
            "--resolv-conf=off",
            "--timezone=off",
            # The last word is needed where the kernel's control groups are those of version 1, no harm elsewhere.
            *(SSHD_ALONE if self.foreign else ["SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"]),
        ]
        script = "; ".join(["set -e", *enter, 'exec "$@"'])
        with (self._directory / "console.log").open("ab") as console:
            self._nspawn = subprocess.Popen(
                ["sh", "-c", script, "sh", *nspawn],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _kill(self) -> None:
        assert self._nspawn is not None
        # The first process, and not nspawn: killed, that one leaves the host running.
        if self.pid1 and self._find_pid1() == self.pid1:
            os.kill(self.pid1, signal.SIGKILL)
        else:
            self._nspawn.terminate()
        try:
            self._nspawn.wait(10)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()

    def _wait(self, what: str, look: Callable[[], Found | None]) -> Found:
        deadline = time.monotonic() + BOOT_TIMEOUT
        while time.monotonic() < deadline:
            if found := look():
                return found
            if not self.is_running:
                break
            time.sleep(0.02)
        last = "\n".join(self.console.splitlines()[-15:])
        raise RuntimeError(f"{self.name} ({self.suite}) did not boot: {what} is missing\n{last}")

    def _find_pid1(self) -> int | None:
        assert self._nspawn is not None
        nspawn = self._nspawn.pid
        try:
            children = Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split()
            for child in children:
                lines = Path(f"/proc/{child}/status").read_text().splitlines()
                namespaces = next(line.split()[1:] for line in lines if line.startswith("NSpid:"))
                if len(namespaces) > 1 and namespaces[-1] == "1":
                    return int(child)
        except (FileNotFoundError, ProcessLookupError):
            pass
        return None

    def _plug_in(self) -> bool:
        try:
            network.plug_in(self.fleet.slice, self._interface, self.address, self.pid1)
        except RuntimeError:
            # nspawn moves the interface in a moment after the process is born.
            return False
        return True

    def _sshd_answers(self) -> bool:
        try:
            with socket.create_connection((self.address, 22), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False
