"""The wheels that the wheelhouse lacks: fetched where there are any, and built from source where there are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from ..errors import BuildError
from . import ambient, build, sources, trees
from .choice import is_wheel
from .fetch import Fetched, Fetcher
from .locks.model import Git, LockFile, Pin, Tree
from .manifest import Origin, Wheel
from .pip import local_pip
from .sources import Places
from .target import Target
from .wheelhouse import Wheelhouse

Hear = Callable[[str], None]


class Obtaining:
    """One bundle's way to what is lacking.

    :param source_key: what a wheel built from a repository or a directory is remembered under.
    """

    def __init__(
        self,
        locked: LockFile,
        target: Target,
        wheelhouse: Wheelhouse,
        places: Places,
        source_key: Callable[[Git | Tree], str],
        progress: Hear,
        warn: Hear,
    ) -> None:
        self._locked = locked
        self._target = target
        self._wheelhouse = wheelhouse
        self._places = places
        self._source_key = source_key
        self._progress = progress
        self._warn = warn
        self._sources = sources.resolve(places, locked.options, locked.path.absolute().parent)
        self._pip = build.interpreter(target)

    def obtain(self, pins: Sequence[Pin]) -> dict[Pin, Wheel]:
        """A wheel for each of *pins*.

        :raises BuildError: naming those that there is none for.
        """
        published = [pin for pin in pins if not isinstance(pin.source, Git | Tree)]
        wheels: dict[Pin, Wheel] = {}
        with self._wheelhouse.workspace() as space:
            if published:
                for fetched in self._fetched(published):
                    wheels[fetched.pin] = self._wheel(fetched, Path(space))
            for number, pin in enumerate(pin for pin in pins if pin not in wheels):
                assert isinstance(pin.source, Git | Tree)
                wheels[pin] = self._from_tree(pin, pin.source, Path(space) / f"tree{number}")
        return wheels

    def _fetched(self, pins: Sequence[Pin]) -> list[Fetched]:
        try:
            with Fetcher(self._sources, self._target, self._wheelhouse) as fetcher:
                choices = fetcher.choose(pins)
                from_source = [pin.label for pin in choices if not is_wheel(choices[pin].files[0])]
                if from_source and self._pip is None:
                    raise build.cannot(self._target, from_source)
                fetched = fetcher.download(choices, self._progress)
        except BuildError as error:
            if not self._places.ambient and ambient.read().says:
                elsewhere = (
                    "pip's or uv's own configuration names more places; index: {ambient: true} in fabric.yaml asks them"
                )
                error.hint = "\n".join(filter(None, (error.hint, elsewhere)))
            raise
        for each in fetched:
            self._tell(each)
        return fetched

    def _tell(self, fetched: Fetched) -> None:
        pin, file = fetched.pin, fetched.file
        for other in fetched.passed_over:
            self._warn(f"{pin.text}: {other}, which is not in the lock file; {file.filename} was taken instead")
        if not pin.hashes:
            self._warn(f"{pin.text}: no hash was locked; {file.filename} has --hash=sha256:{fetched.sha256}")
        if file.yanked is not None:
            self._warn(f"{file.filename} was withdrawn by its authors: {file.yanked or 'no reason given'}")

    def _wheel(self, fetched: Fetched, space: Path) -> Wheel:
        file, pin = fetched.file, fetched.pin
        if is_wheel(file):
            if not self._target.fits(file.filename):
                raise BuildError(f"{file.filename} does not fit {self._target.name}")
            return self._wheelhouse.described(fetched.path, "index", fetched.sha256)
        if self._pip is None:
            raise build.cannot(self._target, [pin.label])
        self._progress(f"{pin.label}: building from source")
        origin = Origin("sdist", fetched.sha256, index=file.index, url=file.url)
        made = self._built(fetched.path, fetched.sha256, self._pip, space / pin.name, origin, "")
        self._progress(f"{pin.label}: built from source")
        return made

    def _from_tree(self, pin: Pin, source: Git | Tree, space: Path) -> Wheel:
        """A wheel of a repository or a directory; with nothing here like the target, only one that fits everywhere."""
        pip = self._pip or local_pip()
        key = self._source_key(source)
        self._progress(f"{pin.label}: building from source")
        if isinstance(source, Tree):
            copy = trees.copy(source.path, space / "source")
            return self._built(copy, key, pip, space, Origin("path", key), pin.label)
        commit = trees.resolve(source)
        if commit != source.reference:
            self._warn(f"{pin.text}: no commit was locked; {source.reference} is {commit}")
            key = self._source_key(replace(source, reference=commit))
        directory = trees.checkout(source, commit, space / "source")
        trees.assert_package(directory)
        origin = Origin("vcs", trees.digest(directory), url=source.url, revision=commit)
        return self._built(directory, key, pip, space, origin, pin.label)

    def _built(self, source: Path, key: str, pip: Sequence[str], space: Path, origin: Origin, label: str) -> Wheel:
        space.mkdir(exist_ok=True)
        environment = sources.environment(self._sources, space)
        made = build.build(source, self._target, space / "wheel", pip, environment, label)
        tools = {"pip": metadata.version("pip"), "python": self._target.python}
        value = self._wheelhouse.add(made, replace(origin, builder="native", tools=tools))
        self._wheelhouse.remember_built(key, self._target, value)
        path = self._wheelhouse.root / "wheels" / value / made.name
        return self._wheelhouse.described(path, origin.kind, origin.sha256)
