"""Every error a user can meet: what happened, where, what to do next, and the exit code of its kind.

Raised anywhere, caught once, at the top (:class:`deploy.executor.FleetTask`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum

from .masking import masked


class ExitCode(IntEnum):
    """What ``fab`` ends with; documented in ``docs/exit-codes.rst``."""

    OK = 0
    UNEXPECTED = 1
    CONFIGURATION = 2
    BUILD = 3
    CONNECTION = 4
    CHECK = 5
    ROLLED_BACK = 6
    NOT_ROLLED_BACK = 7
    LOCKED = 8
    STAGING = 9
    MIGRATION = 10
    HOOK = 11
    INTERRUPTED = 130


SHOWN_LINES = 15
"""How much of a command's output is shown."""


class DeployError(Exception):
    """Base of all expected failures.

    :param what: what happened, one sentence without a full stop at its end.
    :param where: the file, key or host that it happened at.
    :param hint: what to do next; the command to type where there is one.
    :param output: the last lines of output of the command that failed, where one did.
    :param parts: the failures that this one consists of, where hosts failed in different ways.
    """

    exit_code = ExitCode.UNEXPECTED

    def __init__(
        self, what: str, *, where: str = "", hint: str = "", output: str = "", parts: tuple[DeployError, ...] = ()
    ) -> None:
        # Here, because nobody can say which of a tool's words hold the URL of an index with its password.
        what = _shown(masked(what))
        super().__init__(what)
        self.what = what
        self.where = _shown(masked(where))
        self.hint = _shown(masked(hint))
        self.output = masked(output)
        self.parts = parts

    def __str__(self) -> str:
        lines = [self._head]
        lines += [f"  | {line}" for line in self.output.rstrip().splitlines()[-SHOWN_LINES:]]
        lines += [f"  {line}" for part in self.parts for line in str(part).splitlines()]
        lines += [f"  {line}" for line in self.hint.splitlines()]
        return "\n".join(lines)

    @property
    def line(self) -> str:
        """The failure and its parts in one line, without output and hint: for journals."""
        head = " ".join(self._head.split())
        return f"{head}: {'; '.join(part.line for part in self.parts)}" if self.parts else head

    @property
    def _head(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


def _shown(text: str) -> str:
    """*text* without what plays with a terminal, or cannot be written to one: it may quote anybody's words."""
    if text.translate({10: None, 9: None}).isprintable():
        return text
    return "".join(each if each.isprintable() or each in "\n\t" else ascii(each)[1:-1] for each in text)


class ConfigurationError(DeployError):
    """The configuration or the command line does not say what to do."""

    exit_code = ExitCode.CONFIGURATION


class BuildError(DeployError):
    """Something that is made locally could not be made: a bundle, a wheel, a snapshot of the code."""

    exit_code = ExitCode.BUILD


class ConnectionFailed(DeployError):
    """A host cannot be reached, its key is not the known one, or it does not let us in."""

    exit_code = ExitCode.CONNECTION


class NotReached(ConnectionFailed):
    """Nobody answers, or the connection was lost: the host may be down. A host that refuses us is reached."""


class CheckFailed(DeployError):
    """A host cannot take the release, or an audit did not pass; nothing was changed."""

    exit_code = ExitCode.CHECK


class StagingFailed(DeployError):
    """A release could not be staged (pushed, installed); nothing that serves was touched."""

    exit_code = ExitCode.STAGING


class MigrationFailed(DeployError):
    """A migration, or a downgrade, failed; what served before it serves on."""

    exit_code = ExitCode.MIGRATION


class RolledBack(DeployError):
    """The new release failed after activation, and the former one serves again where hosts had to go back."""

    exit_code = ExitCode.ROLLED_BACK


class NotRolledBack(DeployError):
    """The new release failed after activation, and the former one could not be brought back, or was not to be."""

    exit_code = ExitCode.NOT_ROLLED_BACK


class HookFailed(DeployError):
    """A hook failed when all was done: the release serves, and is recorded as good."""

    exit_code = ExitCode.HOOK


class Locked(DeployError):
    """Another deploy of this stage holds the deploy lock."""

    exit_code = ExitCode.LOCKED


class Interrupted(DeployError):
    """Ctrl-C or SIGTERM."""

    exit_code = ExitCode.INTERRUPTED


def combine(errors: Sequence[DeployError]) -> DeployError:
    """One error that tells of all of them; of the kind of the first.

    Hosts that failed in the same way are told of once; different ways are parts of the error.
    """
    alike: dict[str, list[DeployError]] = {}
    for error in errors:
        alike.setdefault(error.what, []).append(error)
    parts = tuple(_together(same) for same in alike.values())
    if len(parts) == 1:
        return parts[0]
    combined = _copied(errors[0])
    DeployError.__init__(combined, f"{len(errors)} hosts failed", parts=parts)
    return combined


def _together(errors: Sequence[DeployError]) -> DeployError:
    """The same failure of several hosts, with the output and the hint of the first."""
    first = _copied(errors[0])
    first.where = ", ".join(error.where for error in errors)
    if any(error.output != first.output for error in errors):
        said = first.output.rstrip().splitlines()[1 - SHOWN_LINES :]
        first.output = "\n".join([f"{errors[0].where} says:", *said])
    return first


def _copied(error: DeployError) -> DeployError:
    # Some kinds want more than a sentence to be made, and keep it.
    twin = type(error).__new__(type(error), error.what)
    twin.__dict__.update(error.__dict__)
    return twin


def by_host(found: Iterable[tuple[str, str]]) -> str:
    """Pairs of a host and what is wrong there, as lines: each problem once, behind the hosts that have it."""
    hosts: dict[str, list[str]] = {}
    for host, problem in found:
        hosts.setdefault(problem, []).append(host)
    return "\n".join(f"  {', '.join(names)}: {problem}" for problem, names in hosts.items())


def as_kind(kind: type[DeployError], error: DeployError) -> DeployError:
    """*error* with the exit code of *kind*; a lost connection and an interrupt stay what they are."""
    if isinstance(error, kind | ConnectionFailed | Interrupted | Locked | ConfigurationError):
        return error
    return because(kind, error.what, error)


def because(kind: type[DeployError], what: str, cause: DeployError, *, hint: str = "") -> DeployError:
    """An error of *kind* that tells all that *cause* tells, in other words, and *hint* besides."""
    hints = "\n".join(filter(None, (cause.hint, hint)))
    return kind(what, where=cause.where, output=cause.output, hint=hints, parts=cause.parts)
