"""What many hosts say alike, told once: a hundred hosts are one line, and the one that differs is another."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

MANY = 20
"""From so many hosts on, nobody reads a line for each."""

NAMED = 3
"""So many are told by name; more are counted."""

DIFFERENT = 8
"""So many lines a phase has at most, whatever its hosts have to tell of it."""

HEARD = ""
"""The phase of what belongs to none: lines that hosts say while a phase lasts."""


@dataclass(frozen=True, slots=True)
class Alike:
    """One line, and the hosts that it is true of.

    :ivar who: their names, or how many they are.
    :ivar kind: ``ended``, ``said`` or ``warned``.
    """

    who: str
    text: str
    kind: str


@dataclass(slots=True)
class _Hosts:
    names: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


class Tally:
    """What was said since it was last taken. One instance is used from many threads.

    :param hosts: names of those whose lines are gathered; what others say is nothing to it.
    """

    def __init__(self, hosts: Collection[str]) -> None:
        self.hosts = frozenset(hosts)
        self._mutex = threading.Lock()
        self._alike: dict[tuple[str, str, str], _Hosts] = {}
        self._done: dict[str, int] = {}

    def ended(self, phase: str, host: str, outcome: str, seconds: float) -> bool:
        """A step ended well; whether it was the last of that phase.

        :param outcome: '' where it is not worth a line.
        """
        with self._mutex:
            self._done[phase] = self._done.get(phase, 0) + 1
            if outcome:
                alike = self._alike.setdefault((phase, outcome, "ended"), _Hosts())
                alike.names.append(host)
                alike.seconds.append(seconds)
            return self._done[phase] % len(self.hosts) == 0

    def said(self, host: str, text: str, kind: str) -> None:
        with self._mutex:
            names = self._alike.setdefault((HEARD, text, kind), _Hosts()).names
            if host not in names:
                names.append(host)

    def done(self, phase: str) -> int:
        """How many hosts have that phase behind them."""
        with self._mutex:
            return self._done.get(phase, 0)

    def take(self, only: str | None = None) -> Sequence[Alike]:
        """What was said, in the order in which it was first said; of a phase, what most hosts said comes first.

        :param only: the phase; None for all.
        """
        with self._mutex:
            taken = {key: alike for key, alike in self._alike.items() if only in (None, key[0])}
            self._alike = {key: alike for key, alike in self._alike.items() if key not in taken}
        told = []
        for phase in dict.fromkeys(phase for phase, _, _ in taken):
            its = [(text, kind, alike) for (of, text, kind), alike in taken.items() if of == phase]
            told += [
                Alike(who(alike.names), text + _span(alike.seconds), kind) for text, kind, alike in _few(phase, its)
            ]
        return told


def _few(phase: str, lines: list[tuple[str, str, _Hosts]]) -> list[tuple[str, str, _Hosts]]:
    """What most hosts said first; the rest, where that is in too many words, as one example."""
    if phase == HEARD:
        return lines
    lines.sort(key=lambda line: -len(line[2].names))
    if len(lines) <= DIFFERENT:
        return lines
    rest = lines[DIFFERENT - 1 :]
    text, kind, _ = rest[0]
    names = [name for *_, alike in rest for name in alike.names]
    seconds = [spent for *_, alike in rest for spent in alike.seconds]
    return [*lines[: DIFFERENT - 1], (f"in {len(rest)} ways, such as: {text}", kind, _Hosts(names, seconds))]


def who(names: Sequence[str]) -> str:
    """A few by name, many by number."""
    return ", ".join(names) if len(names) <= NAMED else f"{len(names)} hosts"


def _span(seconds: Sequence[float]) -> str:
    if not seconds:
        return ""
    least, most = f"{min(seconds):.1f}", f"{max(seconds):.1f}"
    return f" ({least} s)" if least == most else f" ({least} to {most} s)"


def some(names: Sequence[str], most: int = MANY) -> str:
    """The names, where they are not too many to be read; else the first few and how many more."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:NAMED])} and {len(names) - NAMED} more"
