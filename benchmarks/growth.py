"""How a deploy grows with the number of hosts: wall time, the laptop's processor and memory.

    python -m benchmarks.growth [--hosts 1,3,10,30,100,300] [--write]

One machine plays the laptop and all hosts, on addresses of loopback: the wall time is that of two roles, the processor
and the memory are those of `fab` alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fab import FAB
from tests.local.many import Many

from . import figures

BEGIN = ".. The growth begins (python -m benchmarks.growth --write)"
END = ".. The growth ends"
HEADINGS = ("hosts", "wall", "wall, a host", "processor", "processor, a host", "memory")
WIDTHS = (6, 10, 13, 10, 18, 10)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one `fab deploy` took.

    :ivar wall_s: from start to end.
    :ivar processor_s: user and system time of the process.
    :ivar memory_mb: its largest resident set.
    """

    hosts: int
    wall_s: float
    processor_s: float
    memory_mb: float

    def cells(self) -> tuple[str, ...]:
        return (
            str(self.hosts),
            figures.seconds(self.wall_s),
            figures.seconds(self.wall_s / self.hosts),
            figures.seconds(self.processor_s),
            figures.seconds(self.processor_s / self.hosts),
            f"{self.memory_mb:.0f} MiB",
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth", description="One deploy to more and more hosts."
    )
    parser.add_argument("--hosts", default="1,3,10,30,100,300", help="how many (default 1,3,10,30,100,300)")
    parser.add_argument("--write", action="store_true", help=f"put the table into {figures.PAGE.name}")
    arguments = parser.parse_args()
    costs = []
    for word in arguments.hosts.split(","):
        with tempfile.TemporaryDirectory() as temporary:
            costs.append(_measured(Path(temporary), int(word)))
        print("  ".join(costs[-1].cells()), flush=True)
    if arguments.write:
        figures.write(figures.PAGE, _rst(costs), BEGIN, END)


def _measured(directory: Path, hosts: int) -> Cost:
    """A deploy of one changed file to *hosts* hosts that serve a release already."""
    many = Many(directory, hosts)
    many.server.start()
    try:
        _deploy(many)
        (many.directory / "version.txt").write_text("two\n")
        return _deploy(many)
    finally:
        many.server.stop()


def _deploy(many: Many) -> Cost:
    start = time.perf_counter()
    with (many.directory.parent / "said").open("w+b") as said:
        process = subprocess.Popen(
            [FAB, "deploy"], cwd=many.directory, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall_s = time.perf_counter() - start
        said.seek(0)
        if process.returncode:
            raise SystemExit(said.read().decode())
    return Cost(len(many.hosts), wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def _rst(costs: Sequence[Cost]) -> str:
    return figures.listed(HEADINGS, WIDTHS, [cost.cells() for cost in costs])


if __name__ == "__main__":
    main()
