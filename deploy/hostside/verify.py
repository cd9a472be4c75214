"""Is what runs now the new release, and is it well?"""

from __future__ import annotations

import time
from typing import Any

from . import commands, processes
from . import health as health_questions
from .layout import Layout
from .shapes import Health, Service


def verify(
    layout: Layout,
    identifier: str,
    health: Health | None,
    service: Service | None,
    timeout: float,
) -> dict[str, Any]:
    """Wait until the application is healthy and its processes run *identifier*.

    Health alone proves nothing: after a reload that failed, old workers answer as well as ever.

    :param health: ``url``, ``timeout``, ``interval``, ``host``, or None.
    :param service: the service as the laptop describes it, or None.
    :param timeout: seconds to wait for old processes to go.
    :returns: ``healthy``, ``last`` (the last answer where it was not 2xx), ``verdict`` and ``detail`` (see
        :func:`processes.prove`), ``seconds``.
    """
    start = time.monotonic()
    answer: dict[str, Any] = {"healthy": True, "last": "", "verdict": "unknown", "detail": "no service is configured"}
    if health:
        answer.update(health_questions.wait(layout, **health))
    if service and answer["healthy"]:
        looked = time.monotonic()
        answer.update(processes.prove(layout, service, identifier, timeout))
        if health and time.monotonic() - looked > 0.1:
            # Old processes were there while health was asked, so it may have been they who answered.
            answer.update(health_questions.wait(layout, **health))
    if answer.get("last"):
        answer["last"] = commands.mask(layout, [answer["last"]])["texts"][0]
    answer["seconds"] = round(time.monotonic() - start, 3)
    return answer
