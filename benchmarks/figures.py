"""Times, ratios and tables: what is done with the figures, whatever was measured."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

Work = Callable[[], object]

PAGE = Path(__file__).resolve().parent.parent / "docs/benchmarks.rst"
BEGIN = ".. The figures begin (python -m benchmarks --write)"
END = ".. The figures end"
HEADINGS = ("work", "ours", "plain Fabric", "Capistrano", "compared", "budget")
WIDTHS = (30, 12, 14, 13, 18, 18)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    :ivar compared: the figure that the budget speaks of, in words.
    :ivar met: whether it is within the budget; None where there is none.
    """

    work: str
    ours: str
    plain: str
    capistrano: str
    compared: str
    budget: str
    met: bool | None

    def cells(self, miss: str) -> tuple[str, ...]:
        verdict = {True: ", met", False: f", {miss}", None: ""}[self.met]
        return (self.work, self.ours, self.plain, self.capistrano, self.compared, self.budget + verdict)


def timed(work: Work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turn(
    ways: Mapping[str, Work], runs: int, before: Work = lambda: None, before_each: Work = lambda: None
) -> dict[str, float]:
    """The median of each way, measured A B C A B C ..., so that noise meets all of them.

    :param before: done before each round, and *before_each* before each way; neither is measured.
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        before()
        for name, work in ways.items():
            before_each()
            times[name].append(timed(work))
    return {name: median(values) for name, values in times.items()}


def seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 0.2 else f"{value:.2f} s"


def against(work: str, times: Mapping[str, float], rival: str, limit: float) -> Row:
    """A row whose budget is a part of what *rival* needs."""
    ratio = times["ours"] / times[rival]
    return Row(
        work,
        seconds(times["ours"]),
        seconds(times["plain Fabric"]) if "plain Fabric" in times else "",
        seconds(times["Capistrano"]) if "Capistrano" in times else "",
        f"{ratio:.2f} × {rival}",
        f"{limit:g} ×",
        ratio <= limit,
    )


def text(rows: Iterable[Row]) -> str:
    """The table for a terminal."""
    return aligned(HEADINGS, [row.cells("MISSED") for row in rows])


def aligned(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def rst(rows: Iterable[Row], notes: Sequence[str]) -> str:
    """The same for the documentation."""
    table = listed(HEADINGS, WIDTHS, [row.cells("**missed**") for row in rows])
    return f"{table}\n\n{noted(notes)}"


def noted(notes: Sequence[str]) -> str:
    return "\n".join(["Seen in the same run:", "", *(f"- {note}" for note in notes)])


def listed(headings: Sequence[str], widths: Sequence[int], rows: Iterable[Sequence[str]]) -> str:
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {' '.join(map(str, widths))}", ""]
    for cells in (headings, *rows):
        lines += [f"   {'* -' if not number else '  -'} {cell}".rstrip() for number, cell in enumerate(cells)]
    return "\n".join(lines)


def write(page: Path, content: str, begin: str = BEGIN, end: str = END) -> None:
    """Replace what stands between two lines of *page*."""
    around = re.compile(f"({re.escape(begin)}\n).*?(\n{re.escape(end)})", re.DOTALL)
    text, count = around.subn(lambda found: f"{found[1]}\n{content}\n{found[2]}", page.read_text())
    if count != 1:
        raise SystemExit(f"{page} lacks the lines between which the figures belong:\n{begin}\n{end}")
    page.write_text(text)
