"""Index pages and pages with links, read (PyPA, "Simple repository API": PEP 503, 592, 691). Pure."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from .locks.direct import fragment_sha256
from .locks.model import File

JSON = "application/vnd.pypi.simple.v1+json"
ACCEPT = f"{JSON}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"


def files(content: bytes, content_type: str, url: str, index: str) -> list[File]:
    """The files of a page.

    :param url: of the page, which relative links start at.
    :param index: what to call the place.
    :raises ValueError: it is no such page.
    """
    if content_type.partition(";")[0].strip().lower() in (JSON, "application/json"):
        return _json(json.loads(content), url, index)
    return _html(content.decode(errors="replace"), url, index)


def _json(document: Any, url: str, index: str) -> list[File]:
    try:
        return [
            File(
                item["filename"],
                urljoin(url, item["url"]),
                item.get("hashes", {}).get("sha256", ""),
                item.get("requires-python") or "",
                _yanked(item.get("yanked", False)),
                index,
            )
            for item in document["files"]
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no project page ({error!r})") from None


def _yanked(value: Any) -> str | None:
    return None if value is False or value is None else value if isinstance(value, str) else ""


class _Links(HTMLParser):
    """The anchors of a page, and the URL that they start at."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.base = ""
        self.anchors: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.anchors.append(dict(attributes))
        elif tag == "base" and not self.base:
            self.base = dict(attributes).get("href") or ""


def _html(text: str, url: str, index: str) -> list[File]:
    page = _Links()
    page.feed(text)
    base = urljoin(url, page.base) if page.base else url
    found = []
    for anchor in page.anchors:
        if not (link := anchor.get("href")):
            continue
        parts = urlsplit(urljoin(base, link))
        name = unquote(parts.path.rpartition("/")[2])
        yanked = (anchor["data-yanked"] or "") if "data-yanked" in anchor else None
        bare = urlunsplit(parts._replace(fragment=""))
        found.append(
            File(name, bare, fragment_sha256(parts.fragment), anchor.get("data-requires-python") or "", yanked, index)
        )
    return found
