"""A wheel from a source distribution: by the builders that the application configures, looked at, and packed anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.utils import parse_wheel_filename

from ..errors import BuildError
from . import inspect
from .builders.job import Builder, Job, Made
from .builders.native import Native
from .builders.order import attempt, refused
from .builders.zig import Zig
from .repack import repack
from .target import Target


@dataclass(frozen=True, slots=True)
class Building:
    """How the application has its wheels built.

    :ivar builders: in the order in which they are tried.
    :ivar constraints: a file that pins the build requirements, where there is one.
    """

    builders: Sequence[Builder] = (Native(), Zig())
    constraints: Path | None = None

    @property
    def names(self) -> list[str]:
        return [builder.name for builder in self.builders]

    def able(self, target: Target) -> bool:
        """Whether any of them can build for *target*."""
        return not all(builder.unfit(target) for builder in self.builders)


def build(
    sdist: Path,
    target: Target,
    destination: Path,
    building: Building,
    *,
    environment: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
    hear: Callable[[str], None] = lambda _: None,
) -> Made:
    """Build *sdist* for *target* into *destination*.

    :param sdist: a source distribution, or a directory of source.
    :param environment: pip's, which says where build requirements come from.
    :param options: of pip besides, which say the same.
    :param hear: told of each builder that begins, and of each that failed.
    :raises BuildError: no builder could; what each said.
    """
    job = Job(sdist, target, destination / "space", environment or {}, options, building.constraints)

    def finished(made: Made) -> Made:
        path = repack(made.wheel, destination, target)
        name = parse_wheel_filename(path.name)[0]
        if not target.fits(path.name):
            raise BuildError(f"what was built does not fit: {path.name}")
        if found := inspect.problems(inspect.read(path), target):
            raise BuildError(f"what was built of {name} does not fit:\n" + "\n".join(f"  {each}" for each in found))
        return replace(made, wheel=path)

    return attempt(job, building.builders, finished, hear)


def cannot(target: Target, found: Mapping[str, str], building: Building) -> BuildError:
    """No wheel, and no builder that could build one: why each cannot.

    :param found: each project, and the file in it that has to be compiled.
    """
    said = [BuildError(builder.unfit(target), where=builder.name) for builder in building.builders]
    names = ", ".join(f"{name} ({file} is to be compiled)" for name, file in found.items())
    return refused(f"no wheel for {target.name}: {names}", said)
