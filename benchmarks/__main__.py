"""Us against what a team would use instead: the same hosts, the same application, in turn, in one run.

    python -m benchmarks [--hosts 1,3] [--runs 5] [--write]

As root on Debian, from the top of the repository. Figures are medians of whole processes, seen from outside; what
counts is the ratio.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.fleet.machines import Fleet

from . import bundling, figures, works
from .rivals import Rivals


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ours, plain Fabric and Capistrano.")
    parser.add_argument("--hosts", default="1,3", help="how many hosts get new code (default 1,3)")
    parser.add_argument("--runs", type=int, default=5, help="deploys of each kind (default 5; the slow works get 3)")
    parser.add_argument("--write", action="store_true", help=f"put the table into {figures.PAGE.name}")
    arguments = parser.parse_args()
    counts = [int(word) for word in arguments.hosts.split(",")]
    rows: list[figures.Row] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as temporary, Fleet.start(Path(temporary) / "fleet") as fleet:
        directory = Path(temporary)
        _measure(fleet, directory, counts, arguments.runs, rows, notes)
    one, five, _ = os.getloadavg()
    print(f"\n{figures.text(rows)}\n\n" + "\n".join(notes) + f"\nload average at the end: {one:.1f} {five:.1f}")
    if arguments.write:
        figures.write(figures.PAGE, figures.rst(rows, notes))


def _measure(
    fleet: Fleet,
    directory: Path,
    counts: Sequence[int],
    runs: int,
    rows: list[figures.Row],
    notes: list[str],
) -> None:
    few = min(runs, 3)
    names = [("bookworm", f"web{number}") for number in range(1, max(counts) + 1)]
    rivals = Rivals(directory, fleet, fleet.boot_all(names))
    rivals.change()
    for work in rivals.everybody([machine.address for machine in rivals.machines]).values():
        work()  # the first deploy is not measured
    rows += _shown(works.nothing(rivals, runs))
    for hosts in counts:
        rows += _shown(works.code_only(rivals, hosts, runs if hosts == 1 else few))
    rows += _shown(*works.far_away(rivals, fleet, few))
    rows += _shown(works.first_install(rivals, few, notes))
    rows += _shown(*works.one_wheel(rivals, fleet, notes))
    rows += _shown(works.bundle_again(rivals, notes))
    rows += _shown(works.listing(rivals, directory))
    bundles = directory / "bundles"
    bundles.mkdir()
    rows += _shown(*bundling.making(bundles, few, notes))


def _shown(*rows: figures.Row) -> Sequence[figures.Row]:
    for row in rows:
        print("  ".join(cell for cell in row.cells("MISSED") if cell), flush=True)
    return rows


if __name__ == "__main__":
    main()
