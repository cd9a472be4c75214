"""How the application has its wheels built: the builders of its configuration, those on other machines included."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..bundle import Target
from ..bundle.build import Building
from ..bundle.builders import container
from ..bundle.builders.elsewhere import Elsewhere
from ..bundle.builders.job import Builder
from ..bundle.builders.native import Native
from ..bundle.builders.zig import Zig
from ..config import BuildContainer, BuildHost, relative_to
from ..errors import ConfigurationError
from .run import Run


def building(run: Run, target: Target) -> Building:
    """What the configuration says, for one target.

    :raises ConfigurationError: the file of constraints is not there.
    """
    builders: list[Builder] = []
    for each in run.settings.builders:
        if each.native is not None:
            builders.append(Native())
        elif each.zig is not None:
            builders.append(Zig())
        elif each.host is not None:
            builders.append(_host(run, each.host))
        elif each.container is not None:
            builders.append(_container(each.container, target))
    constraints = None
    if run.settings.build_constraints:
        constraints = relative_to(run.directory, run.settings.build_constraints)
        if not constraints.is_file():
            raise ConfigurationError(f"there is no file {constraints}", where="deploy.build_constraints")
    return Building(tuple(builders), constraints)


def _host(run: Run, settings: BuildHost) -> Elsewhere:
    from ..host.exchange import exchange

    def work(command: Sequence[str], content: Iterator[bytes]) -> tuple[int, bytes, str]:
        host = run.primary.beside(settings.address)
        try:
            return exchange(host, command, content)
        finally:
            host.close()

    return Elsewhere(f"host {settings.address}", work, settings.python)


def _container(settings: BuildContainer, target: Target) -> Elsewhere:
    return container.container(target, settings.engine or "", settings.image, settings.python, settings.options)
