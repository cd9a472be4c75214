"""A wheel from source, by ``pip wheel`` in isolation, with an interpreter that is the target's."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import BuildError
from .choice import project
from .pip import QUIET, local_pip, run
from .target import Target

# The same source gives the same wheel on any day: zip files cannot hold times before 1980.
SOURCE_DATE_EPOCH = "315532800"


def interpreter(target: Target) -> list[str] | None:
    """pip's words for a local Python whose wheels fit *target*; None where there is none.

    A wheel that is built here needs this machine's libc, so the target's must be as new.
    """
    here = Target.local()
    same = (here.system, here.machine, here.libc) == (target.system, target.machine, target.libc)
    if not same or here.version > target.version:
        return None
    if (here.python, here.abis) == (target.python, target.abis):
        return local_pip()
    found = shutil.which(f"python{target.python}")
    return [*local_pip(), "--python", found] if found and _version(found) == target.python else None


def _version(python: str) -> str:
    # The name may be a version manager's, which answers only for versions that are switched on.
    ask = [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    said = subprocess.run(ask, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return said.stdout.strip()


def wheel(pip: Sequence[str], source: str, destination: Path) -> list[str]:
    """The command line that builds *source*."""
    return [*pip, "wheel", *QUIET, "--no-deps", "--wheel-dir", str(destination), source]


def build(
    source: Path, target: Target, destination: Path, pip: Sequence[str], environment: Mapping[str, str], label: str = ""
) -> Path:
    """Build *source*; the wheel.

    :param source: a source distribution, or a directory that may be written to.
    :param environment: the child's, which says where what the build itself needs comes from.
    :param label: what to call the source; default: its file name.
    :raises BuildError: with the end of what the build said.
    """
    label = label or source.name
    environment = {
        **environment, "SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH, "PYTHONHASHSEED": "0", "GIT_OPTIONAL_LOCKS": "0",
    }  # fmt: skip
    destination.mkdir(parents=True, exist_ok=True)
    # pip calls by its name what it is told the name of.
    found = project(source.name) if source.is_file() else None
    what = f"{found[0]} @ {source.as_uri()}" if found else str(source)
    run(wheel(pip, what, destination), f"{label} could not be built for {target.name}", environment)
    made = next(destination.glob("*.whl"))
    if not target.fits(made.name):
        raise BuildError(f"what was built from {label} does not fit {target.name}: {made.name}")
    return made


def cannot(target: Target, names: Sequence[str]) -> BuildError:
    """No wheel, and nothing here that could build one."""
    here = Target.local()
    reason = f"python{target.python} is not installed here"
    if (here.system, here.machine, here.libc) != (target.system, target.machine, target.libc):
        reason = f"this machine is {here.platforms()[0]}"
    elif here.version > target.version:
        reason = f"this machine's {here.libc} {_dotted(here)} is newer than the target's {_dotted(target)}"
    return BuildError(
        f"no wheel for {target.name}: {', '.join(names)}",
        hint=f"they have to be built from source, and {reason};\n"
        f"run fab create-bundle on a machine like the hosts, or lock versions that have wheels",
    )


def _dotted(target: Target) -> str:
    return ".".join(map(str, target.version))
