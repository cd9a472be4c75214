"""What the places have of a project: index pages, pages with links, directories; each is read once in a run."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path

from ..errors import BuildError
from . import simple
from .choice import Choice, choose, is_wheel
from .locks.model import File, Pin
from .sources import Sources, plain
from .target import Target
from .web import Missing, Web, local_path


class Catalogue:
    """Asks the places for a requirement's files: directories of this machine first, as they cost nothing."""

    def __init__(self, sources: Sources, web: Web) -> None:
        self._web = web
        everything = [*sources.find_links, *sources.indexes]
        self._near = [place for place in everything if _is_local(place)]
        self._far = [place for place in everything if not _is_local(place)]
        self._links = set(sources.find_links)
        self._pages: dict[str, Future[list[File]]] = {}
        self._mutex = threading.Lock()

    def choose(self, pin: Pin, target: Target) -> Choice:
        """The files that *pin* can take.

        :raises BuildError: there is none, and a place could not be asked.
        """
        if isinstance(pin.source, File):
            return Choice((pin.source,))
        files = [file for place in self._near for file in self._files(place, pin.name)]
        chosen = choose(pin, files, target)
        if chosen.files and is_wheel(chosen.files[0]) and chosen.files[0].sha256 in pin.hashes:
            return chosen
        failures: list[BuildError] = []
        for place in self._far:
            try:
                files += self._files(place, pin.name)
            except BuildError as error:
                failures.append(error)
        chosen = choose(pin, files, target)
        if failures and not chosen.files:
            raise failures[0]
        return chosen

    def _files(self, place: str, name: str) -> list[File]:
        page = place if place in self._links else f"{place.rstrip('/')}/{name}/"
        with self._mutex:
            known = self._pages.get(page)
            future = known or self._pages.setdefault(page, Future())
        if known is None:
            try:
                future.set_result(self._read(page, place))
            except BaseException as error:
                future.set_exception(error)
        return future.result()

    def _read(self, page: str, place: str) -> list[File]:
        if _is_local(place):
            return _directory(Path(local_path(page) if page.startswith("file:") else page), place)
        try:
            got = self._web.page(page, simple.ACCEPT)
            return simple.files(got.content, got.content_type, got.url, plain(place))
        except Missing:
            return []
        except ValueError as error:
            raise BuildError(f"{plain(page)} is no page of an index: {error}") from None


def _is_local(place: str) -> bool:
    return place.startswith(("/", "file:"))


def _directory(path: Path, place: str) -> list[File]:
    """A directory of files, or the `index.html` that a copy of an index has in it."""
    page = path if path.is_file() else path / "index.html"
    if page.is_file():
        return simple.files(page.read_bytes(), "text/html", page.as_uri(), place)
    try:
        return [File(each.name, each.absolute().as_uri(), index=place) for each in sorted(path.iterdir())]
    except OSError:
        return []
