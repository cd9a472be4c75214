"""Every error a user can meet: what happened, where, what to do next, and the exit code of its kind.

Raised anywhere, caught once, at the top (:class:`deploy.executor.FleetTask`).
"""

from __future__ import annotations

from enum import IntEnum


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
    INTERRUPTED = 130


class DeployError(Exception):
    """Base of all expected failures.

    :param what: what happened, one sentence without a full stop at its end.
    :param where: the file, key or host that it happened at.
    :param hint: what to do next; the command to type where there is one.
    :param output: the last lines of output of the command that failed, where one did.
    """

    exit_code = ExitCode.UNEXPECTED

    def __init__(self, what: str, *, where: str = "", hint: str = "", output: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint
        self.output = output

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        lines += [f"  | {line}" for line in self.output.rstrip().splitlines()[-15:]]
        lines += [f"  {line}" for line in self.hint.splitlines()]
        return "\n".join(lines)


class ConfigurationError(DeployError):
    """The configuration or the command line does not say what to do."""

    exit_code = ExitCode.CONFIGURATION


class BuildError(DeployError):
    """Something that is made locally could not be made: a bundle, a wheel, a snapshot of the code."""

    exit_code = ExitCode.BUILD


class ConnectionFailed(DeployError):
    """A host cannot be reached, its key is not the known one, or it does not let us in."""

    exit_code = ExitCode.CONNECTION


class CheckFailed(DeployError):
    """A host cannot take the release; nothing was changed."""

    exit_code = ExitCode.CHECK


class StagingFailed(DeployError):
    """A release could not be staged (pushed, installed); nothing that serves was touched."""

    exit_code = ExitCode.STAGING


class MigrationFailed(DeployError):
    """The migration command failed; the former release still serves."""

    exit_code = ExitCode.MIGRATION


class RolledBack(DeployError):
    """The new release failed after activation and the former one serves again."""

    exit_code = ExitCode.ROLLED_BACK


class NotRolledBack(DeployError):
    """The new release failed after activation and the former one could not be brought back."""

    exit_code = ExitCode.NOT_ROLLED_BACK


class Locked(DeployError):
    """Another deploy of this stage holds the deploy lock."""

    exit_code = ExitCode.LOCKED


class Interrupted(DeployError):
    """Ctrl-C or SIGTERM."""

    exit_code = ExitCode.INTERRUPTED


def combine(errors: list[DeployError]) -> DeployError:
    """One error that tells of all of them; of the kind of the first."""
    if len(errors) == 1:
        return errors[0]
    combined = type(errors[0]).__new__(type(errors[0]))
    DeployError.__init__(combined, f"{len(errors)} hosts failed\n" + "\n".join(str(error) for error in errors))
    return combined


def as_kind(kind: type[DeployError], error: DeployError) -> DeployError:
    """*error* with the exit code of *kind*; a lost connection and an interrupt stay what they are."""
    if isinstance(error, kind | ConnectionFailed | Interrupted | Locked | ConfigurationError):
        return error
    return kind(error.what, where=error.where, hint=error.hint, output=error.output)
