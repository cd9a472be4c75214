"""Where things lie below the base path, and the records that say what each release is.

A release's state is recorded, never guessed from file times; `current` alone says what serves.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import Any, NamedTuple

from . import disk, looking
from .failure import Failure

SCHEMA = 1


class Layout(NamedTuple):
    """The directories of one application on this host (design, part 4)."""

    base: str

    def path(self, *parts: str) -> str:
        return os.path.join(self.base, *parts)

    @property
    def directories(self) -> list[str]:
        return [self.base] + [self.path(name) for name in ("releases", "venvs", "wheels", "shared", ".deploy")]

    def release(self, identifier: str) -> str:
        return self.path("releases", as_name(identifier))

    def partial(self, identifier: str) -> str:
        return self.path("releases", disk.PARTIAL + as_name(identifier))

    def has(self, identifier: str) -> bool:
        """Whether there is a release of that name.

        :raises OSError: that cannot be looked at.
        """
        return looking.is_directory(self.release(identifier))

    def linked(self, name: str) -> str:
        """The release that the link *name* (`current` or `staged`) points at; '' where it points at none.

        :raises OSError: that cannot be looked at.
        """
        try:
            target = os.readlink(self.path(name))
        except (FileNotFoundError, NotADirectoryError):
            return ""
        except OSError as error:
            if error.errno == errno.EINVAL:  # no link
                return ""
            raise
        identifier = os.path.basename(target)
        ours = os.path.normpath(self.path(target)) == os.path.normpath(self.path("releases", identifier))
        return identifier if ours and is_name(identifier) and self.has(identifier) else ""

    def assert_plain(self) -> None:
        """Refuse links in the place of the directories that are this program's own: what is done in them would be done
        elsewhere.

        :raises Failure: kind ``refused``.
        """
        for path in [*self.directories[1:], self.path("repo"), self.path(".deploy", "units")]:
            if looking.kind(path) == stat.S_IFLNK:
                raise Failure(f"{path} is a link, not a directory", "move it out of the way, then fab setup", "refused")


def is_name(text: str) -> bool:
    """Whether *text* can name a release or a venv: one part of a path, and nothing unfinished."""
    return text not in ("", ".", "..") and "/" not in text and "\0" not in text and not text.startswith(disk.PARTIAL)


def as_name(text: str) -> str:
    """
    :raises Failure: it names nothing here.
    """
    if not is_name(text):
        raise Failure(f"{text!a} is no name of a release or a venv", kind="refused")
    return text


class Records:
    """`.deploy/releases.json`: every release this host knows, its state and its activation number."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._path = layout.path(".deploy", "releases.json")
        new = {"schema": SCHEMA, "activations": 0, "releases": {}}
        document: dict[str, Any] = disk.read_json(self._path, "Records", SCHEMA) or new
        self._document = document
        self.releases: dict[str, dict[str, Any]] = document["releases"]
        self._reconcile()

    def _reconcile(self) -> None:
        # A run may have died between the switch of `current` and its record: the link is what counts.
        live = self.live
        if live and self.releases.get(live, {}).get("state") not in ("live", "good", "bad"):
            self.set_live(live)
        for identifier in list(self.releases):
            if not is_name(identifier) or not self.layout.has(identifier):
                del self.releases[identifier]

    @property
    def live(self) -> str:
        return self.layout.linked("current")

    @property
    def staged(self) -> str:
        return self.layout.linked("staged")

    def get(self, identifier: str) -> dict[str, Any]:
        return self.releases.get(identifier, {})

    def state(self, identifier: str) -> str:
        return str(self.get(identifier).get("state", ""))

    def update(self, identifier: str, **fields: Any) -> None:
        self.releases.setdefault(identifier, {}).update(fields)

    def set_live(self, identifier: str, **fields: Any) -> int:
        """Count one more activation and give it to *identifier*."""
        self._document["activations"] += 1
        number: int = self._document["activations"]
        self.update(identifier, state="live", activation=number, **fields)
        return number

    def rollback_target(self) -> str:
        """The last good release before the live one; '' where there is none."""
        good = [
            (record.get("activation", 0), identifier)
            for identifier, record in self.releases.items()
            if record.get("state") == "good" and identifier != self.live
        ]
        return max(good)[1] if good else ""

    def save(self, then: Callable[[], None] = lambda: None) -> None:
        """
        :param then: see :func:`disk.write_atomically`.
        """
        disk.write_json(self._path, self._document, then=then)

    def summary(self) -> dict[str, Any]:
        return {
            "live": self.live,
            "staged": self.staged,
            "rollback": self.rollback_target(),
            "releases": self.releases,
        }


def summary(layout: Layout) -> dict[str, Any]:
    """What is live, staged, to be rolled back to, and every release's record; read-only."""
    return Records(layout).summary()
