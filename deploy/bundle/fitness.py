"""Whether the wheels of a bundle are what their names say and fit its target: all of them, wherever they came from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from packaging.utils import canonicalize_name

from ..errors import BuildError
from . import inspect
from .inspect import Contents
from .manifest import Wheel
from .target import Target


def assert_all_fit(
    wheels: Iterable[tuple[Wheel, Contents]],
    target: Target,
    accept: Collection[str] = (),
    warn: Callable[[str], None] = lambda text: None,
) -> None:
    """Judge every wheel by what was read of it.

    :param accept: projects that are only warned about.
    :raises BuildError: naming every package, file and reason.
    """
    accepted = {canonicalize_name(name) for name in accept}
    refused = []
    for wheel, contents in wheels:
        for problem in inspect.problems(contents, target):
            line = f"{wheel.name} {wheel.version}: {problem}"
            if wheel.name in accepted:
                warn(f"{line}; accepted by deploy.accept_wheels")
            else:
                refused.append(line)
    if refused:
        raise BuildError(
            f"wheels that do not fit {target.name}, or are not what their names say:\n  " + "\n  ".join(refused),
            hint="lock another version, or name the project in deploy.accept_wheels where you know better",
        )
