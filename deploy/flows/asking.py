"""What the configuration asks of a bundle: which lock file, read how, with files from where."""

from __future__ import annotations

from pathlib import Path

from ..bundle import Places, Terms, Wanted, Wheelhouse, wanted
from ..config import Settings, relative_to
from .run import Run


def asked(settings: Settings, directory: Path, lock: Path | None = None) -> Wanted:
    """What the bundles of a stage are asked for; by another lock file of the same project where one is given."""
    path = lock or relative_to(directory, settings.requirements)
    return wanted(path, terms(settings, directory), Wheelhouse())


def wanted_by(run: Run) -> Wanted:
    """What the bundles of a run are asked for."""
    return wanted(lock_file(run), terms_of(run), Wheelhouse())


def lock_file(run: Run) -> Path:
    return run.own(run.settings.requirements)


def terms_of(run: Run) -> Terms:
    """How the lock file of a run is to be read."""
    return terms(run.settings, run.committed or run.directory)


def terms(settings: Settings, directory: Path) -> Terms:
    """How the lock file is to be read."""
    package = relative_to(directory, settings.source.path).resolve() if settings.package else None
    return Terms(tuple(settings.extras), tuple(settings.groups), settings.hashes == "require", package)


def places(run: Run) -> Places:
    """Where files are to come from."""
    index = run.settings.index
    links = tuple(index.find_links)
    return Places(index.url, tuple(index.extra_urls), links, index.ca, index.proxy, index.ambient, run.directory)
