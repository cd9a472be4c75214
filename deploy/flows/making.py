"""What is made on this machine before it is pushed: the commands of ``build``, once for all hosts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from fabric import Config

from ..bundle.wheelhouse import default_root
from ..config import Build
from ..errors import BuildError
from ..masking import masked
from ..source import freshness
from . import committed, here, hooking, pushing
from .run import Options, Run, opened

LOGS = 20
"""How many logs of a project are kept."""


def build(config: Config, options: Options, *, force: bool) -> None:
    """Run the commands of ``build``, and touch no host.

    :param force: those too that have nothing to do.
    """
    with opened(config, options) as run, hooking.on_failure(run):
        if not run.settings.build and not hooking.any_at(run, "before_build", "after_build"):
            run.report.say("nothing to build: deploy.build is empty")
        make(run, force=force)


def make(run: Run, *, force: bool = False) -> None:
    """Run the commands in order, but for those whose inputs and outputs are as their last good run left them.

    A dry run shows them.

    :raises ConfigurationError: they would build another commit than the one that is to be deployed.
    :raises BuildError: one, or a hook, did not exit with 0, took too long, or did not make what it says; those after it
        did not run, and no host was touched.
    """
    if not run.settings.build and not hooking.any_at(run, "before_build", "after_build"):
        return
    if run.options.source:
        run.report.say("nothing is built: --from names what is ready")
        return
    run.revision = pushing.revision(run)
    if run.settings.build and run.settings.source.committed:
        committed.assert_checked_out(run)
    hooking.reach(run, "before_build", {}, BuildError)
    _run_all(run, force=force)
    hooking.reach(run, "after_build", {}, BuildError)


def _run_all(run: Run, *, force: bool) -> None:
    folder = default_root() / "builds" / _name(run.directory)
    log = Log(folder, run.stage)
    variables = {"DEPLOY_STAGE": run.stage, "DEPLOY_APP": run.settings.app, "DEPLOY_REVISION": run.revision}
    for number, each in enumerate(run.settings.build):
        memory = freshness.Memory(folder, run.stage, each)
        found = _look(run, number, each)
        if found and not force and memory.is_fresh(found):
            run.report.say(
                f"nothing changed, so it {'would not run' if run.options.dry else 'is not run'}: {_short(each)}"
            )
        elif run.options.dry:
            run.report.say(f"would run here: {masked(each.command)}")
        else:
            memory.forget()
            _run(run, number, each, variables, log)
            if found:
                memory.remember(freshness.Look(found.inputs, freshness.look(run.directory, each).outputs))


def _look(run: Run, number: int, build: Build) -> freshness.Look | None:
    """What it reads and makes, None where it always runs."""
    if not build.inputs:
        return None
    if lacking := freshness.lacking(run.directory, build.inputs):
        run.report.warn(f"deploy.build[{number}].inputs: nothing matches {_list(lacking)}, so it always runs")
    return freshness.look(run.directory, build)


def _run(run: Run, number: int, build: Build, variables: dict[str, str], log: Log) -> None:
    with run.report.step("build", "here") as step, log:
        log.write(f"$ {build.command}")

        def say(line: str) -> None:
            log.write(line)
            run.report.say(line, "here")

        ended = here.run(build.command, run.directory, variables, build.timeout, say)
        problem = f"the command {ended.problem}" if ended.problem else ""
        if not problem and (lacking := freshness.lacking(run.directory, build.outputs)):
            problem = f"the command went well, but did not make {_list(lacking)}"
        if problem:
            log.write(f"# {problem}")
            raise BuildError(
                f"{problem}; no host was touched: {build.command}",
                where=f"deploy.build[{number}]",
                output=ended.output,
                hint=f"all that it said: {log.path}",
            )
        step.outcome = f"built: {_short(build)}"


def _short(build: Build) -> str:
    lines = masked(build.command.strip()).splitlines()
    return f"{lines[0]} ..." if len(lines) > 1 else lines[0]


def _list(patterns: Sequence[str]) -> str:
    return ", ".join(patterns)


def _name(directory: Path) -> str:
    """For the project's folder in the cache: told apart by where it lies, and readable."""
    return f"{directory.name}-{hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]}"


class Log:
    """All that the commands of one run said; the file begins with the first line."""

    def __init__(self, folder: Path, stage: str) -> None:
        self.path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}-{stage}.log"

    def __enter__(self) -> Log:
        folder = self.path.parent
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Only for who deploys: nobody knows what a command says.
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise BuildError(f"cannot be written: {error.strerror}", where=str(self.path)) from None
        self._stream = os.fdopen(descriptor, "w", encoding="utf-8", errors="replace", buffering=1)
        freshness.keep_newest(folder, "*.log", LOGS)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stream.close()

    def write(self, line: str) -> None:
        self._stream.write(masked(line) + "\n")
