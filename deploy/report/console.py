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
from .tally import MANY, Tally


class Report:
    """Plain lines: no colour, no cursor, a time stamp each; what cron and CI get.

    One instance is used from many threads.
    """

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream or sys.stdout
        self._mutex = threading.Lock()
        self.timeline: dict[str, dict[str, float]] = {}
        """Seconds by host and phase."""
        self._tally: Tally | None = None

    def gather(self, hosts: Sequence[str]) -> None:
        """From now on, where *hosts* are many, what they say alike is told once."""
        if len(hosts) >= MANY:
            self._tally = Tally(hosts)

    def __enter__(self) -> Report:
        return self

    def __exit__(self, *exception: object) -> None:
        self._tell()

    def phase(self, name: str) -> None:
        """A phase of the flow begins."""
        self._tell()
        self._show_phase(name)

    def say(self, text: str, host: str = "") -> None:
        """Something worth knowing."""
        if not self._gathered(host, text, "said"):
            self._show("said", text, host)

    def warn(self, text: str, host: str = "") -> None:
        """Something that does not stop the run."""
        if not self._gathered(host, text, "warned"):
            self._show("warned", text, host)

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
            self._show("failed", f"{phase} failed" if isinstance(error, Exception) else f"{phase} interrupted", host)
            raise
        seconds = self._record(phase, host, start)
        if self._tally and host in self._tally.hosts:
            if self._tally.ended(phase, host, step.outcome, seconds):
                self._tell(phase)
        elif step.outcome:
            detail = f" ({step.detail})" if step.detail else ""
            self._show("ended", f"{step.outcome}{detail} ({seconds:.1f} s)", host)

    def _gathered(self, host: str, text: str, kind: str) -> bool:
        """Whether it is told later, with what others say."""
        if self._tally and host in self._tally.hosts:
            self._tally.said(host, text, kind)
            return True
        self._tell()
        return False

    def _tell(self, only: str | None = None) -> None:
        """Tell what was gathered: of one phase, or all."""
        for alike in self._tally.take(only) if self._tally else ():
            self._show(alike.kind, alike.text, alike.who)

    def _record(self, phase: str, host: str, start: float) -> float:
        seconds = time.monotonic() - start
        with self._mutex:
            phases = self.timeline.setdefault(host, {})
            phases[phase] = phases.get(phase, 0.0) + seconds
        return seconds

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Columns of text."""
        self._tell()
        self._show_table(headers, rows)

    def _show_phase(self, name: str) -> None:
        self._line(f"== {name}")

    def _show(self, kind: str, text: str, host: str) -> None:
        """One line: of a step that ``ended`` or ``failed``, or of what was ``said`` or ``warned`` of."""
        text = f"warning: {text}" if kind == "warned" else text
        self._line(f"{host}: {text}" if host else text)

    def _show_table(self, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        widths = [max(len(row[index]) for row in [headers, *rows]) for index in range(len(headers))]
        for row in [headers, *rows]:
            self._write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

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
    :ivar detail: what differs from host to host, and of many hosts nobody wants to read; '' for nothing.
    """

    def __init__(self, report: Report, host: str) -> None:
        self._report = report
        self._host = host
        self.outcome = ""
        self.detail = ""

    def progress(self, text: str) -> None:
        self._report.progress(text, self._host)


class LiveReport(Report):
    """With a terminal: finished steps stay as lines, what goes on now is drawn below them."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.live import Live

        self._console = Console(highlight=False)
        self._now: dict[str, tuple[str, str, float]] = {}
        self._live = Live(console=self._console, get_renderable=self._draw, refresh_per_second=8, transient=True)

    def __enter__(self) -> Report:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        self._live.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._live.stop()
        try:
            yield
        finally:
            self._live.start()

    def _show_phase(self, name: str) -> None:
        from rich.text import Text

        self._console.print(Text(masked(name), style="bold"))

    def _show(self, kind: str, text: str, host: str) -> None:
        from rich.text import Text

        line = Text("  ").append(*_MARKS[kind]).append(f"{host}  " if host else "", style="cyan")
        self._console.print(line.append(masked(text)))

    def progress(self, text: str, host: str = "") -> None:
        phase, _, since = self._now.get(host, ("", "", time.monotonic()))
        self._now[host] = (phase, masked(text), since)

    @contextmanager
    def step(self, phase: str, host: str) -> Iterator[Step]:
        self._now[host] = (phase, phase, time.monotonic())
        try:
            with super().step(phase, host) as step:
                yield step
        finally:
            self._now.pop(host, None)

    def _show_table(self, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
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

    def _draw(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        lines = []
        for who, text, since in self._phases() if self._tally else self._steps():
            seconds = time.monotonic() - since
            lines.append(Text("  … ").append(f"{who}  ", style="cyan").append(f"{text}  {seconds:.0f} s"))
        return Group(*lines)

    def _steps(self) -> Iterator[tuple[str, str, float]]:
        for host, (_, text, since) in list(self._now.items()):
            yield host, text, since

    def _phases(self) -> Iterator[tuple[str, str, float]]:
        """A line for each phase, with the host that has been in it for longest."""
        assert self._tally
        phases: dict[str, list[tuple[float, str]]] = {}
        for host, (phase, _, since) in list(self._now.items()):
            phases.setdefault(phase, []).append((since, host))
        for phase, hosts in phases.items():
            since, longest = min(hosts)
            done = f"{self._tally.done(phase)} of {len(self._tally.hosts)} done"
            yield phase, f"{done}, {len(hosts)} at work, longest {longest}", since


_MARKS = {"said": ("",), "warned": ("! ", "yellow"), "ended": ("✓ ", "green"), "failed": ("✗ ", "red")}


def make() -> Report:
    """The report that fits: live with a terminal, plain without."""
    return LiveReport() if sys.stdout.isatty() else Report()
