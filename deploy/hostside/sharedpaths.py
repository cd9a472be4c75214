"""What is wrong with the things in `shared/` that releases link to: read-only, and nothing of their content is told."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from . import dotenv
from .layout import Layout

ENVIRONMENT = ".env"
"""The file whose variables the commands of a deploy are given."""


def missing(layout: Layout, files: Sequence[str]) -> list[str]:
    """Which of *files* are not in `shared/`; what may not be looked at is not missing, see :func:`wrong`."""
    return [name for name in files if _is_missing(layout.path("shared", name))]


def wrong(layout: Layout, files: Sequence[str], dirs: Sequence[str]) -> list[tuple[str, str]]:
    """Paths below `shared/` that no release could use, each with what is the matter; not those that are missing."""
    return [*_wrong(layout, files, directory=False), *_wrong(layout, dirs, directory=True)]


def doubtful(layout: Layout, files: Sequence[str]) -> list[tuple[str, str]]:
    """What does not stop a deploy, and may not be meant."""
    return [(name, doubt) for name in files for doubt in _doubts(layout.path("shared", name), name)]


def _doubts(path: str, name: str) -> Iterator[str]:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return
    if name == ENVIRONMENT:
        if mode & 0o007:
            yield f"is open to every user of the host (mode {stat.S_IMODE(mode):04o}); chmod o= takes that away"
        if stat.S_ISREG(mode) and os.access(path, os.R_OK) and (wrong := dotenv.read(path).wrong):
            yield f"has lines that are not NAME=value, or quotes that do not end: {', '.join(map(str, wrong))}"
    elif stat.S_ISREG(mode) and not os.access(path, os.R_OK):
        # A service of another user may well read it.
        yield "cannot be read by the deploy user"


def _is_missing(path: str) -> bool:
    try:
        os.stat(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _wrong(layout: Layout, names: Sequence[str], directory: bool) -> Iterator[tuple[str, str]]:
    for name in names:
        path = layout.path("shared", name)
        try:
            mode = os.stat(path).st_mode
        except FileNotFoundError:
            if directory and os.path.islink(path):
                yield name, "is a link to nothing, and is to be a directory"
        except NotADirectoryError:
            yield name, "lies below something that is not a directory"
        except OSError as error:
            yield name, f"cannot be looked at ({error.strerror})"
        else:
            if directory and not stat.S_ISDIR(mode):
                yield name, "is not a directory, and deploy.shared.dirs names it"
            elif not directory and stat.S_ISDIR(mode):
                yield name, "is a directory, and deploy.shared.files names it"
            elif name == ENVIRONMENT and not directory and not stat.S_ISREG(mode):
                yield name, "is not a file"
            # What the service's own user keeps to itself is left in peace: a release only links to it.
            elif name == ENVIRONMENT and not os.access(path, os.R_OK):
                yield name, "cannot be read by the deploy user, whose commands need it"
