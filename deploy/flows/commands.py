"""Commands of the user's on a host: what they are given, how they are run, and how a person runs them again there."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping

from ..host.bootstrap import program
from ..host.connection import CommandResult, Host
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


def by_hand(host: Host, release: str) -> list[str]:
    """The words that run a shell command, given as one more word, inside a release of *host*: for a person there."""
    path = f"{host.base_path}/.deploy/{program().file_name}"
    return [host.python, "-I", "-S", path, "run", host.base_path, release]


def again(run: Run, host: Host, release: str, command: str) -> str:
    """How to see again what a command does, as a hint."""
    line = shlex.join([*by_hand(host, release), command])
    names = ", ".join(run.settings.env)
    without = f"\n(deploy.env is not there by itself: set {names} before)" if names else ""
    who = f" (as {host.deploy_user})" if host.deploy_user != host.login else ""
    return f"to see it again there{who}: {line}{without}"


def names(run: Run) -> str:
    """`` with NAME, NAME of deploy.env``, for a dry run; '' where there are none."""
    return f" with {', '.join(run.settings.env)} of deploy.env" if run.settings.env else ""
