"""Ask the application for its health, on the host itself."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from typing import Any

from .failure import Failure
from .layout import Layout


class _StayHere(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any, **keywords: Any) -> None:
        """A redirect is an answer: health is what this URL says, not what another says."""
        return


def ask(url: str, timeout: float, host: str | None = None) -> str:
    """One request; '' when it answered 2xx, else what went wrong."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _StayHere())
    request = urllib.request.Request(
        url, headers={"User-Agent": "fabric-wheelhouse", **({"Host": host} if host else {})}
    )
    try:
        with opener.open(request, timeout=timeout) as answer:
            return judged(answer.status, b"")
    except urllib.error.HTTPError as error:
        return judged(error.code, error.read(300))
    except (OSError, ValueError, http.client.HTTPException) as error:
        return str(getattr(error, "reason", error)) or type(error).__name__


def judged(status: int, body: bytes) -> str:
    """What an answer says of health: '' where it is good, else what is wrong, with the first line of *body*."""
    if 200 <= status < 300:
        return ""
    said = body.decode("utf-8", "replace").strip()
    return f"HTTP {status}" + (f": {said.splitlines()[0]}" if said else "")


def wait(layout: Layout, url: str, timeout: float, interval: float, host: str | None = None) -> dict[str, Any]:
    """Ask until it answers 2xx or *timeout* seconds are over.

    :returns: ``healthy``, ``seconds`` waited, ``last`` (what the last answer was, '' when it was good).
    """
    if not url.startswith(("http://", "https://")):
        raise Failure(f"{url!a} is no URL of an application", kind="refused")
    start = time.monotonic()
    pause = 0.05
    while True:
        left = timeout - (time.monotonic() - start)
        last = ask(url, max(0.5, min(left, 10)), host)
        waited = time.monotonic() - start
        if not last or waited + pause > timeout:
            return {"healthy": not last, "seconds": round(waited, 3), "last": last}
        time.sleep(pause)
        pause = min(pause * 1.5, interval)
