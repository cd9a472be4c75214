"""Hooks: what a project runs of its own at points of a deploy, commands of the configuration and functions alike."""

from __future__ import annotations

import contextlib
import shlex
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from invoke.context import Context
from invoke.exceptions import CommandTimedOut, Exit, UnexpectedExit

from .. import hooks
from ..config import Hook
from ..errors import (
    ConnectionFailed,
    DeployError,
    ExitCode,
    HookFailed,
    Interrupted,
    Locked,
    StagingFailed,
    as_kind,
    because,
    combine,
)
from ..fleet import parallel
from ..hooks import FunctionHook, Release
from ..host import limits
from ..host.connection import Host
from ..host.hearing import Heard, Say
from ..masking import masked
from . import commands, here
from .run import Run

Releases = Mapping[Host, str]

WITHOUT_A_RELEASE = ("before_push", "on_failure")
"""Points at which the release has no directory yet, or none any more."""

BY_BATCH = ("after_activate", "before_restart", "after_restart")
"""Points that each batch reaches by itself."""

ERROR_AT_MOST = 500
"""How much of the error a hook is told."""


class _Here(Heard, Context):
    """What a function that runs locally gets for a connection; its commands begin in *directory*."""

    def __init__(self, directory: Path, say: Say, timeout_s: float | None) -> None:
        super().__init__()
        self.config.runners.local = limits.Here
        limit = None if timeout_s is None else limits.Limit(timeout_s)
        self._set(say=say, limit=limit, start=shlex.quote(str(directory)))

    def _prefix_commands(self, command: str) -> str:
        # Context.cd() quotes nothing but spaces.
        inner: str = super()._prefix_commands(command)
        return f"cd {self.start} && {inner}"


def any_at(run: Run, *points: str) -> bool:
    """Whether anything is to run at one of *points*."""
    return any(_at(run, point) for point in points)


def _at(run: Run, point: str) -> Sequence[Hook | FunctionHook]:
    configured: list[Hook] = getattr(run.settings.hooks, point)
    return [*configured, *hooks.functions(point)]


def reach(
    run: Run,
    point: str,
    releases: Releases,
    kind: type[DeployError],
    also: Mapping[str, str] | None = None,
    alone: Releases | None = None,
) -> None:
    """Run what is to run at *point*, one after another: first the configured commands, then functions.

    Each has ended on all its hosts before the next begins. A dry run shows them.

    :param releases: the hosts, and the release that it is about on each.
    :param kind: what a failure is.
    :param also: further variables for commands.
    :param alone: hosts that had it before and are left alone: what is for the primary host alone runs there, too.
    :raises DeployError: of *kind*; one failed, and those after it did not run. A lost connection is told as such.
    """
    run.begun.update(releases)
    for hook in _at(run, point):
        its = {**(alone or {}), **releases} if hook.where == "primary" else releases
        if run.options.dry:
            _show(run, point, hook, its)
        elif hook.where == "local":
            _here(run, point, hook, its, kind, also or {})
        else:
            _there(run, point, hook, its, kind, also or {})


def _there(
    run: Run,
    point: str,
    hook: Hook | FunctionHook,
    releases: Releases,
    kind: type[DeployError],
    also: Mapping[str, str],
) -> None:
    hosts = _hosts(run, point, hook, releases)

    def one(host: Host) -> None:
        with run.report.step(point, host.name) as step:
            release = replace(about(run, host, point, releases[host]), error=also.get("DEPLOY_ERROR", ""))
            if isinstance(hook, Hook):
                _command_there(run, host, point, hook, {**variables(release, point), **also}, release, kind)
            else:
                with host.lent(lambda line: run.report.say(line, host.name), hook.timeout) as connection:
                    _call(hook, connection, point, release, kind)
            step.outcome = f"{point}: {_short(hook)}"

    _, failures = parallel.attempt(hosts, one)
    if failures:
        raise combine([as_kind(kind, error) for error in failures.values()])


def _command_there(
    run: Run, host: Host, point: str, hook: Hook, told: Mapping[str, str], release: Release, kind: type[DeployError]
) -> None:
    def say(line: str) -> None:
        run.report.say(clean(line), host.name)

    clean = here.Cleaner({})
    identifier = release.identifier if release.path else ""
    if hook.sudo:
        line = _line(host, hook, told, release)
        result = commands.execute_as_root(host, line, hook.timeout, say)
        hint = f"to see it again there (as root): {line}"
    else:
        result = commands.execute(run, host, identifier, hook.command, more=told, timeout_s=hook.timeout, progress=say)
        hint = commands.again(run, host, identifier, hook.command, told)
    if problem := commands.problem(result, hook.timeout):
        raise kind(
            f"the hook {point} {problem}: {hook.command}", where=host.name, output=clean.text(result.output), hint=hint
        )


def _line(host: Host, hook: Hook, told: Mapping[str, str], release: Release) -> str:
    """A command as a line for *host*: what root runs, and what a person may run there as the deploy user."""
    if hook.sudo:
        return shlex.join(commands.as_root(host, release.path or host.base_path, hook.command, hook.timeout, told))
    return shlex.join([*commands.by_hand(host, release.identifier if release.path else "", told), hook.command])


def _here(
    run: Run,
    point: str,
    hook: Hook | FunctionHook,
    releases: Releases,
    kind: type[DeployError],
    also: Mapping[str, str],
) -> None:
    release = replace(_about_all(run, point, releases), error=also.get("DEPLOY_ERROR", ""))

    def say(line: str) -> None:
        run.report.say(line, "here")

    with run.report.step(point, "here") as step:
        if isinstance(hook, Hook):
            names = ",".join(host.name for host in releases or run.hosts)
            told = {**run.settings.env, **variables(release, point), **also, "DEPLOY_HOSTS": names}
            ended = here.run(hook.command, run.directory, told, hook.timeout, say)
            if ended.problem:
                raise kind(f"the hook {point} {ended.problem}: {hook.command}", where="here", output=ended.output)
        else:
            _call(hook, _Here(run.directory, say, hook.timeout), point, release, kind)
        step.outcome = f"{point}: {_short(hook)}"


def _call(hook: FunctionHook, connection: Any, point: str, release: Release, kind: type[DeployError]) -> None:
    """Call a function; whatever it raises means that the hook failed.

    :raises DeployError: of *kind*.
    """
    where = release.host or "here"
    failed = f"the hook {point} failed: {hook}"
    try:
        hook.function(connection, release)
    except UnexpectedExit as error:
        said = error.result.stdout + error.result.stderr
        what = f"{failed}: exit {error.result.exited} of {error.result.command}"
        raise kind(what, where=where, output=said) from None
    except CommandTimedOut as error:
        said = error.result.stdout + error.result.stderr
        what = f"the hook {point} took longer than {error.timeout:g} s: {hook}: {error.result.command}"
        raise kind(what, where=where, output=said) from None
    except (ConnectionFailed, Interrupted):
        raise
    except DeployError as error:
        raise because(kind, f"{failed}: {error.what}", error) from None
    except Exit as error:
        raise kind(f"{failed}: {error}", where=where) from None
    except Exception as error:
        # Theirs begins behind our call of it.
        frames = traceback.format_tb(error.__traceback__)[1:]
        told = " ".join(str(error).split())
        raise kind(f"{failed}: {type(error).__name__}: {told}", where=where, output="".join(frames)) from None


def about(run: Run, host: Host, point: str, identifier: str) -> Release:
    """What a hook on *host* is told."""
    facts = run.facts.get(host, {})
    live = str(facts.get("live", ""))
    path = f"{host.base_path}/releases/{identifier}" if identifier and point not in WITHOUT_A_RELEASE else ""
    return Release(
        app=run.settings.app,
        stage=run.stage,
        host=host.name,
        identifier=identifier,
        path=path,
        venv=f"{path}/.venv" if path else "",
        revision=facts.get("releases", {}).get(identifier, {}).get("revision", run.revision),
        former="" if live == identifier else live,
    )


def _about_all(run: Run, point: str, releases: Releases) -> Release:
    """What a hook that runs here is told: what is the same on all hosts."""
    if not releases:
        return Release(run.settings.app, run.stage, revision=run.revision)
    each = [about(run, host, point, identifier) for host, identifier in releases.items()]
    names = ("identifier", "path", "venv", "revision", "former")
    same = {name: getattr(each[0], name) for name in names if len({getattr(one, name) for one in each}) == 1}
    return Release(run.settings.app, run.stage, **same)


def variables(release: Release, point: str) -> dict[str, str]:
    """The same as the environment of a command."""
    return {
        "DEPLOY_HOOK": point,
        "DEPLOY_APP": release.app,
        "DEPLOY_STAGE": release.stage,
        "DEPLOY_HOST": release.host,
        "DEPLOY_RELEASE": release.identifier,
        "DEPLOY_RELEASE_PATH": release.path,
        "DEPLOY_REVISION": release.revision,
        "DEPLOY_FORMER_RELEASE": release.former,
    }


def _hosts(run: Run, point: str, hook: Hook | FunctionHook, releases: Releases) -> list[Host]:
    if hook.where == "hosts":
        return list(releases)
    if point in BY_BATCH and run.primary in run.hosts and run.primary not in releases:
        return []  # it is in another batch, or is left alone
    if run.primary not in releases:
        run.report.warn(f"{point} is not run: the primary host {run.primary.name} takes no part in this run")
        return []
    return [run.primary]


def _show(run: Run, point: str, hook: Hook | FunctionHook, releases: Releases) -> None:
    if isinstance(hook, FunctionHook):
        where = "here" if hook.where == "local" else ""
        for name in [where] if where else [host.name for host in _hosts(run, point, hook, releases)]:
            run.report.say(f"would call at {point}: {hook}", name)
    elif hook.where == "local":
        run.report.say(f"would run here at {point}: {masked(hook.command)}")
    else:
        for host in _hosts(run, point, hook, releases):
            release = about(run, host, point, releases[host])
            user = "root" if hook.sudo else f"{host.deploy_user}{commands.names(run)}"
            line = _line(host, hook, variables(release, point), release)
            run.report.say(f"would run at {point} as {user}: {masked(line)}", host.name)


def _short(hook: Hook | FunctionHook) -> str:
    if isinstance(hook, FunctionHook):
        return str(hook)
    lines = masked(hook.command.strip()).splitlines()
    return f"{lines[0]} ..." if len(lines) > 1 else lines[0]


@contextlib.contextmanager
def on_failure(run: Run) -> Iterator[None]:
    """Run the hooks of a failure where the block fails; the error is what it was, whatever comes of them.

    Not where somebody else deploys, and not where the release serves and only a hook after it failed.
    """
    try:
        yield
    except (Locked, HookFailed):
        raise
    except (Exception, KeyboardInterrupt) as error:
        if not run.options.dry and any_at(run, "on_failure"):
            with _quietly(run):
                _tell(run, error)
        raise


def _tell(run: Run, error: BaseException) -> None:
    code = error.exit_code if isinstance(error, DeployError) else ExitCode.UNEXPECTED
    if isinstance(error, KeyboardInterrupt):
        code = ExitCode.INTERRUPTED
    told = error.line if isinstance(error, DeployError) else str(error) or type(error).__name__
    also = {"DEPLOY_ERROR": told[:ERROR_AT_MOST], "DEPLOY_EXIT_CODE": str(int(code))}
    releases = {host: run.begun.get(host, "") for host in run.hosts if host in run.facts}
    # One by one: those after a hook that fails are not less needed.
    for hook in _at(run, "on_failure"):
        with _quietly(run):
            act: Callable[..., None] = _here if hook.where == "local" else _there
            act(run, "on_failure", hook, releases, StagingFailed, also)


@contextlib.contextmanager
def _quietly(run: Run) -> Iterator[None]:
    try:
        yield
    except (DeployError, KeyboardInterrupt) as error:
        told = "interrupted" if isinstance(error, KeyboardInterrupt | Interrupted) else str(error)
        run.report.warn(f"the hooks of the failure failed, too: {told}")
