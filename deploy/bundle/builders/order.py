"""The trying of one builder after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...errors import BuildError
from .job import Builder, Job, Made


def attempt(job: Job, builders: Sequence[Builder], check: Callable[[Made], Made], hear: Callable[[str], None]) -> Made:
    """Build with the first builder that can.

    :param check: looks at a wheel that was built, and may refuse it; then the next builder is tried.
    :param hear: told of each builder that begins, and of each that failed.
    :raises BuildError: none could; what each said, in order.
    """
    said: list[BuildError] = []
    for builder in builders:
        if reason := builder.unfit(job.target):
            said.append(BuildError(reason, where=builder.name))
            continue
        hear(f"building with {builder.name}")
        try:
            return check(builder.build(job))
        except BuildError as error:
            error.where = builder.name
            said.append(error)
            hear(f"{builder.name}: {error.what}")
    raise refused(f"{job.sdist.name} could not be built for {job.target.name}", said)


def refused(what: str, said: Sequence[BuildError]) -> BuildError:
    """One error that tells of all builders, in their order."""
    tried = any(error.output for error in said)
    hint = (
        "they have to be built from source: run fab create-bundle on a machine like the hosts,\n"
        "configure another builder (deploy.builders), or lock versions that have wheels"
    )
    return BuildError(what, parts=tuple(said), hint="" if tried else hint)
