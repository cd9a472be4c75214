"""What is made on this machine before it is pushed: the commands of ``build``, once for all hosts."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections import deque

from fabric import Config

from ..config import Build
from ..errors import SHOWN_LINES, BuildError
from .run import Options, Run, opened


def build(config: Config, options: Options) -> None:
    """Run the commands of ``build``, and touch no host."""
    with opened(config, options) as run:
        if not run.settings.build:
            run.report.say("nothing to build: deploy.build is empty")
        make(run)


def make(run: Run) -> None:
    """Run the commands in order; a dry run shows them.

    :raises BuildError: one did not exit with 0, or took too long; those after it did not run.
    """
    for each in run.settings.build:
        if run.options.dry:
            run.report.say(f"would run here: {each.command}")
        else:
            _run(run, each)


def _run(run: Run, build: Build) -> None:
    last: deque[str] = deque(maxlen=SHOWN_LINES)
    late = threading.Event()
    with run.report.step("build", "here") as step:
        child = subprocess.Popen(
            ["/bin/sh", "-c", build.command],
            cwd=run.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # so that it can be ended with all that it started
        )

        def expire() -> None:
            late.set()
            _end(child)

        timer = threading.Timer(build.timeout, expire) if build.timeout else None
        try:
            if timer:
                timer.start()
            assert child.stdout is not None
            for line in child.stdout:
                last.append(line.rstrip())
                run.report.say(line.rstrip(), "here")
            status = child.wait()
        except BaseException:
            _end(child)
            child.wait()
            raise
        finally:
            if timer:
                timer.cancel()
        if late.is_set() or status:
            why = f"took longer than {build.timeout:g} s" if late.is_set() else f"failed (exit {status})"
            raise BuildError(
                f"the command {why}; no host was touched: {build.command}",
                where="deploy.build",
                output="\n".join(last),
            )
        step.outcome = f"built: {build.command}"


def _end(child: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
