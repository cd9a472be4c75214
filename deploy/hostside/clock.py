"""The clock that a host counts from its own start: nobody sets it, and it goes on while the machine is suspended."""

from __future__ import annotations

import time

BOOT_ID = "/proc/sys/kernel/random/boot_id"


def boot() -> str:
    """What tells this start of the machine from all others; '' where it has no such clock (macOS)."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return ""
    try:
        with open(BOOT_ID, encoding="ascii") as stream:
            return stream.read().strip()
    except OSError:
        return ""


def since_boot() -> float:
    """Seconds; only where :func:`boot` says something."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
