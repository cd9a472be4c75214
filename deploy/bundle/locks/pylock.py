"""`pylock.toml` (PyPA specification "pylock.toml", PEP 751): it names every file, its URL and its hash."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from packaging.pylock import (
    Package,
    PackageArchive,
    PackageDirectory,
    PackageSdist,
    PackageVcs,
    PackageWheel,
    Pylock,
    PylockSelectError,
    PylockValidationError,
)

from ...errors import BuildError, ConfigurationError
from ..target import Target
from . import direct, model
from .model import File, Git, Pin, Terms, Tree

_HEADER = re.compile(r"^\s*\[\[\s*packages\s*\]\]")


@dataclass(frozen=True, slots=True)
class PylockFile:
    """The packages of a `pylock.toml`, and which extras and groups of it are wanted."""

    path: Path
    lock: Pylock
    terms: Terms
    sha256: str
    warnings: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def trees(self) -> tuple[Path, ...]:
        directories = [package.directory for package in self.lock.packages if package.directory]
        return tuple(_tree(directory, self.path.parent).path for directory in directories)

    def select(self, target: Target) -> tuple[Pin, ...]:
        """One file, repository or directory for each package whose marker holds for *target*."""
        groups = frozenset(self._groups)
        settled = {**target.markers(), "extras": frozenset(self.terms.extras), "dependency_groups": groups}
        for package in self.lock.packages:
            if package.marker is not None:
                model.holds(package.marker, settled, self.path, "lock_file")
        try:
            chosen = list(self._select(self.lock, target))
        except PylockSelectError as error:
            lacking = self._lacking(target)
            if not lacking:
                raise BuildError(f"it is not for {target.name}: {error}", where=str(self.path)) from None
            raise BuildError(
                f"no wheel for {target.name}: {', '.join(lacking)}",
                where=str(self.path),
                hint="the lock file names no source distribution of them either; lock again for this target\n"
                "(fab lock-requirements), or lock versions that have wheels",
            ) from None
        return tuple(_pin(package, source, self.path.parent) for package, source in chosen)

    def _select(self, lock: Pylock, target: Target) -> Iterator[tuple[Package, Any]]:
        environment: Any = target.markers()
        return lock.select(
            environment=environment, tags=target.tags(), extras=self.terms.extras, dependency_groups=self._groups
        )

    @property
    def _groups(self) -> tuple[str, ...]:
        return (*(self.lock.default_groups or ()), *self.terms.groups)

    def _lacking(self, target: Target) -> list[str]:
        """The packages that nothing fits of: a selection stops at the first, and people want to know all of them."""
        lacking = []
        for package in self.lock.packages:
            if not (package.wheels and package.sdist is None):
                continue
            try:
                list(self._select(replace_packages(self.lock, package), target))
            except PylockSelectError as error:
                if "No wheel found" in str(error):
                    lacking.append(f"{package.name} {package.version or ''}".strip())
        return lacking


def replace_packages(lock: Pylock, package: Package) -> Pylock:
    """*lock* with one package only."""
    return replace(lock, packages=[package])


def read(path: Path, terms: Terms, text: str | None = None) -> PylockFile:
    """Read a `pylock.toml`.

    :param text: its text, where an exporter wrote it; paths in it start at *path*'s directory.
    :raises ConfigurationError: there is no such file, or it is none, or lacks an extra or a group that is asked for.
    :raises BuildError: naming every package that has no SHA-256.
    """
    text = model.text(path) if text is None else text
    try:
        document = tomllib.loads(text)
        lock = Pylock.from_dict(document)
    except (tomllib.TOMLDecodeError, PylockValidationError, RecursionError) as error:
        raise ConfigurationError(f"it is no pylock.toml: {error}", where=str(path)) from None
    _assert_known("extras", terms.extras, lock.extras or (), path)
    _assert_known("groups", terms.groups, lock.dependency_groups or (), path)
    problems: list[str] = []
    warnings: list[str] = []
    for where, package in _numbered(path, text, lock):
        for problem, passable in _problems(package):
            (warnings if passable and not terms.require_hashes else problems).append(f"{where}: {problem}")
    model.refuse(path, problems)
    # By its meaning, without comments and times; a date is of no matter to what is installed.
    meaning = {**document, "terms": [sorted(terms.extras), sorted(terms.groups)]}
    value = hashlib.sha256(json.dumps(meaning, sort_keys=True, default=str).encode()).hexdigest()
    return PylockFile(path, lock, terms, value, tuple(warnings))


def _assert_known(key: str, wanted: tuple[str, ...], known: Any, path: Path) -> None:
    unknown = [name for name in wanted if name not in known]
    if unknown:
        there = f"it knows: {', '.join(known)}" if known else f"it was locked without any {key}"
        raise ConfigurationError(f"the lock file has no {', '.join(unknown)}; {there}", where=f"deploy.{key} ({path})")


def _numbered(path: Path, text: str, lock: Pylock) -> Iterator[tuple[str, Package]]:
    lines = [number for number, line in enumerate(text.splitlines(), 1) if _HEADER.match(line)]
    for index, package in enumerate(lock.packages):
        yield f"{path.name}:{lines[index]}" if len(lines) == len(lock.packages) else path.name, package


def _problems(package: Package) -> Iterator[tuple[str, bool]]:
    """What is wrong with a package, and whether `hashes: warn` lets it pass."""
    label = f"{package.name} {package.version or ''}".strip()
    if package.vcs is not None:
        if package.vcs.type != "git":
            yield f"{label}: of version-control systems only git can be bundled, not {package.vcs.type}", False
        elif not direct.COMMIT.fullmatch(package.vcs.commit_id):
            yield f"{label}: {package.vcs.commit_id} is no commit; a whole commit hash is needed", True
    elif package.archive is not None:
        if package.archive.subdirectory:
            yield f"{label}: a subdirectory of an archive cannot be bundled", False
        if "sha256" not in package.archive.hashes:
            yield f"{label}: no SHA-256", True
    elif package.directory is None:
        files = [*(package.wheels or ()), *([package.sdist] if package.sdist else ())]
        without = [file for file in files if "sha256" not in file.hashes]
        if without:
            yield f"{label}: no SHA-256 for {len(without)} of its {len(files)} files", True


def _pin(package: Package, source: Any, directory: Path) -> Pin:
    return _PINS[type(source)](package, source, directory)


def _file_pin(package: Package, file: PackageWheel | PackageSdist | PackageArchive, directory: Path) -> Pin:
    url = file.url or (directory / str(file.path)).resolve().as_uri()
    name = url.partition("#")[0].rpartition("/")[2] if isinstance(file, PackageArchive) else file.filename
    value = file.hashes.get("sha256", "")
    listed = File(name, url, value, index=package.index or "")
    return _made(package, listed, frozenset({value} - {""}))


def _made(package: Package, source: File | Git | Tree, hashes: frozenset[str] = frozenset()) -> Pin:
    version = str(package.version or "")
    text = f"{package.name}=={version}" if version else str(package.name)
    return Pin(package.name, version, hashes, text, None, source)


def _git_pin(package: Package, vcs: PackageVcs, directory: Path) -> Pin:
    url = vcs.url or (directory / str(vcs.path)).resolve().as_uri()
    return _made(package, Git(url.removeprefix("git+"), vcs.commit_id, vcs.subdirectory or ""))


def _tree_pin(package: Package, tree: PackageDirectory, directory: Path) -> Pin:
    return _made(package, _tree(tree, directory))


def _tree(tree: PackageDirectory, directory: Path) -> Tree:
    return Tree((directory / tree.path / (tree.subdirectory or "")).resolve())


_PINS: dict[type, Callable[[Package, Any, Path], Pin]] = {
    PackageWheel: _file_pin, PackageSdist: _file_pin, PackageArchive: _file_pin, PackageVcs: _git_pin,
    PackageDirectory: _tree_pin,
}  # fmt: skip
