"""Commands of the user's on a host: what they are given, how they are run, and how a person runs them again there."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping

from ..host.bootstrap import program
from ..host.connection import CommandResult, Host
from ..host.limits import GRACE_S, LATE, LEEWAY_S
from .run import Run


def environment(run: Run, host: Host, release: str) -> dict[str, str]:
    """The variables of a command that the deploy knows; on the host, `.env` and the release's venv come to them.

    Those of ``env:`` go before all but what the deploy says of itself.
    """
    known = {"DEPLOY_STAGE": run.stage, "DEPLOY_HOST": host.name, "DEPLOY_BASE": host.base_path}
    return {**run.settings.env, **known, **({"DEPLOY_RELEASE": release} if release else {})}


def execute(
    run: Run,
    host: Host,
    release: str,
    command: str,
    *,
    user: str = "",
    more: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> CommandResult:
    """Run a command of the user's in *release* ('' for the base path) on *host*, with its environment.

    :param user: '' for the deploy user.
    :param more: variables beside those of :func:`environment`, such as what a hook is told.
    :param timeout_s: it is ended after so many seconds, with all that it started.
    :param progress: is told each line of output as it comes.
    :returns: its exit status (-1 where it was ended) and its last lines, without secrets.
    :raises ConnectionFailed: the connection was lost; the command may go on there.
    :raises HostFailure: it could not be started.
    """
    env = {**environment(run, host, release), **(more or {})}
    return host.command(release, command, env, user=user, timeout_s=timeout_s, progress=progress)


def execute_as_root(
    host: Host, line: str, timeout_s: float, progress: Callable[[str], None] | None = None
) -> CommandResult:
    """Run a line of :func:`as_root` on *host*, through Fabric's sudo.

    :returns: as :func:`execute`; it may still run where it did not even end by itself.
    :raises ConnectionFailed: the connection was lost, or sudo refuses.
    """
    start = time.monotonic()
    result = host.run(line, user="root", timeout_s=timeout_s + GRACE_S + LEEWAY_S, say=progress)
    late = result.late or (result.exited in LATE and time.monotonic() - start >= timeout_s)
    return CommandResult(-1, result.output) if late else result


def problem(result: CommandResult, timeout_s: float | None) -> str:
    """What went wrong with a command, in words; '' where nothing did."""
    if result.ok:
        return ""
    return (
        f"took longer than {timeout_s:g} s" if result.exited == -1 and timeout_s else f"failed (exit {result.exited})"
    )


def by_hand(host: Host, release: str, more: Mapping[str, str] | None = None) -> list[str]:
    """The words that run a shell command, given as one more word, inside a release of *host*: for a person there.

    :param release: '' for the base path.
    :param more: further variables; no secrets.
    """
    path = f"{host.base_path}/.deploy/{program().file_name}"
    told = [word for name, value in (more or {}).items() for word in ("--set", f"{name}={value}")]
    return [host.python, "-I", "-S", path, "run", *told, host.base_path, release]


def as_root(host: Host, directory: str, command: str, timeout_s: float, variables: Mapping[str, str]) -> list[str]:
    """The words that run a shell command in *directory* of *host*, for root.

    By the system's own programs alone: what lies below the base path, the deploy user can change.
    """
    told = [f"{name}={value}" for name, value in {**variables, "DEPLOY_BASE": host.base_path}.items()]
    limited = ["timeout", "-k", f"{GRACE_S:g}", f"{timeout_s:g}", "sh", "-c", command]
    script = f"cd {shlex.quote(directory)} && exec env {shlex.join([*told, *limited])} </dev/null"
    return ["sh", "-c", script]


def again(run: Run, host: Host, release: str, command: str, more: Mapping[str, str] | None = None) -> str:
    """How to see again what a command does, as a hint."""
    line = shlex.join([*by_hand(host, release, more), command])
    names = ", ".join(run.settings.env)
    without = f"\n(deploy.env is not there by itself: set {names} before)" if names else ""
    who = f" (as {host.deploy_user})" if host.deploy_user != host.login else ""
    return f"to see it again there{who}: {line}{without}"


def names(run: Run) -> str:
    """`` with NAME, NAME of deploy.env``, for a dry run; '' where there are none."""
    return f" with {', '.join(run.settings.env)} of deploy.env" if run.settings.env else ""
