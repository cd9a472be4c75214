"""What a person sees of a run: one line a step. Live with a terminal; plain, time-stamped lines without one."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

from ..masking import masked


class Report:
    """Plain lines: no colour, no cursor, a time stamp each; what cron and CI get.

    One instance is used from many threads.
    """

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream or sys.stdout
        self._mutex = threading.Lock()
        self.timeline: dict[str, dict[str, float]] = {}
        """Seconds by host and phase."""

    def __enter__(self) -> Report:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def phase(self, name: str) -> None:
        """A phase of the flow begins."""
        self._line(f"== {name}")

    def say(self, text: str, host: str = "") -> None:
        """Something worth knowing."""
        self._line(f"{host}: {text}" if host else text)

    def warn(self, text: str, host: str = "") -> None:
        """Something that does not stop the run."""
        self.say(f"warning: {text}", host)

    def progress(self, text: str, host: str = "") -> None:
        """Something that is only of interest while it lasts."""

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The terminal is somebody else's for a while."""
        yield

    @contextmanager
    def step(self, phase: str, host: str) -> Iterator[Step]:
        """The work of one phase on one host; told when it ends, with its seconds."""
        step = Step(self, host)
        start = time.monotonic()
        try:
            yield step
        except BaseException as error:
            self._record(phase, host, start)
            self._ended(host, f"{phase} failed" if isinstance(error, Exception) else f"{phase} interrupted", False)
            raise
        seconds = self._record(phase, host, start)
        if step.outcome:
            self._ended(host, f"{step.outcome} ({seconds:.1f} s)", True)

    def _record(self, phase: str, host: str, start: float) -> float:
        seconds = time.monotonic() - start
        with self._mutex:
            phases = self.timeline.setdefault(host, {})
            phases[phase] = phases.get(phase, 0.0) + seconds
        return seconds

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Columns of text."""
        widths = [max(len(row[index]) for row in [headers, *rows]) for index in range(len(headers))]
        for row in [headers, *rows]:
            self._write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def _ended(self, host: str, text: str, ok: bool) -> None:
        self.say(text, host)

    def _line(self, text: str) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        for line in masked(text).splitlines():  # here, because a secret may have several lines
            self._write(f"{stamp} {line}")

    def _write(self, line: str) -> None:
        line = masked(line)
        with self._mutex:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except BrokenPipeError:
                # Who read us has gone (`| head`); that is no reason to stop in the middle of a deploy.
                nobody = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nobody, self._stream.fileno())
                os.close(nobody)


class Step:
    """One phase on one host, while it lasts.

    :ivar outcome: what to say when it ends well; nothing is said of an empty one.
    """

    def __init__(self, report: Report, host: str) -> None:
        self._report = report
        self._host = host
        self.outcome = ""

    def progress(self, text: str) -> None:
        self._report.progress(text, self._host)


class LiveReport(Report):
    """With a terminal: finished steps stay as lines, what goes on now is drawn below them."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.live import Live

        self._console = Console(highlight=False)
        self._now: dict[str, tuple[str, float]] = {}
        self._live = Live(console=self._console, get_renderable=self._draw, refresh_per_second=8, transient=True)

    def __enter__(self) -> Report:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._live.stop()
        try:
            yield
        finally:
            self._live.start()

    def phase(self, name: str) -> None:
        from rich.text import Text

        self._console.print(Text(masked(name), style="bold"))

    def say(self, text: str, host: str = "") -> None:
        from rich.text import Text

        line = Text("  ")
        if host:
            line.append(f"{host}  ", style="cyan")
        self._console.print(line.append(masked(text)))

    def warn(self, text: str, host: str = "") -> None:
        from rich.text import Text

        line = Text("  ").append("! ", style="yellow").append(f"{host}  " if host else "", style="cyan")
        self._console.print(line.append(masked(text)))

    def progress(self, text: str, host: str = "") -> None:
        _, since = self._now.get(host, ("", time.monotonic()))
        self._now[host] = (masked(text), since)

    @contextmanager
    def step(self, phase: str, host: str) -> Iterator[Step]:
        self._now[host] = (phase, time.monotonic())
        try:
            with super().step(phase, host) as step:
                yield step
        finally:
            self._now.pop(host, None)

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD)
        for index, header in enumerate(headers):
            # What somebody may want to copy is never cut; the last column may take more lines.
            table.add_column(header, no_wrap=index < len(headers) - 1, overflow="fold")
        for row in rows:
            table.add_row(*(Text(masked(cell)) for cell in row))
        self._console.print(table)

    def _ended(self, host: str, text: str, ok: bool) -> None:
        from rich.text import Text

        line = Text("  ").append("✓ " if ok else "✗ ", style="green" if ok else "red")
        self._console.print(line.append(f"{host}  ", style="cyan").append(masked(text)))

    def _draw(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        lines = []
        for host, (text, since) in list(self._now.items()):
            seconds = time.monotonic() - since
            lines.append(Text("  … ").append(f"{host}  ", style="cyan").append(f"{text}  {seconds:.0f} s"))
        return Group(*lines)


def make() -> Report:
    """The report that fits: live with a terminal, plain without."""
    return LiveReport() if sys.stdout.isatty() else Report()
