"""Who opens, makes or writes what in some directories of a booted host: inotify tells."""

from __future__ import annotations

import subprocess

from tests.fleet.machines import Machine

SCRIPT = """
import ctypes, os, select, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
watching = libc.inotify_init1(os.O_NONBLOCK)
for place in map(os.fsencode, sys.argv[1:]):
    assert libc.inotify_add_watch(watching, place, 0x20 | 0x100 | 0x80 | 0x2) > 0  # opened, created, moved to, written
print("watching", flush=True)
sys.stdin.read()
try:
    seen = os.read(watching, 1 << 20)
except BlockingIOError:
    seen = b""
at = 0
while at < len(seen):
    _, mask, _, length = struct.unpack_from("iIII", seen, at)
    name = seen[at + 16 : at + 16 + length].rstrip(b"\\0").decode()
    if name:
        print(hex(mask), name)
    at += 16 + length
"""


class Watch:
    """Watches *places* from now on."""

    def __init__(self, machine: Machine, *places: str) -> None:
        enter = ["nsenter", "--target", str(machine.pid1), "--all", "--", "python3", "-I", "-c", SCRIPT, *places]
        self._process = subprocess.Popen(enter, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "watching\n"

    def end(self) -> str:
        """What was seen: a line for each event."""
        seen, _ = self._process.communicate("")
        return seen
