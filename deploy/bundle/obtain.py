"""The wheels that the wheelhouse lacks: fetched where there are any, and built from source where there are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import BuildError
from . import ambient, build, sources, trees
from .build import Building
from .builders.native import Native
from .choice import is_wheel
from .fetch import Fetched, Fetcher
from .locks.model import Git, Pin, Tree
from .manifest import Origin, Wheel
from .sources import Places
from .target import Target
from .wanted import Wanted
from .wheelhouse import Wheelhouse

Hear = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Hearers:
    """Who is told: of what goes on, of what was built and how, and of what is not as it should be."""

    progress: Hear
    say: Hear
    warn: Hear


class Obtaining:
    """One bundle's way to what is lacking."""

    def __init__(
        self, asked: Wanted, target: Target, wheelhouse: Wheelhouse, places: Places, building: Building, hear: Hearers
    ) -> None:
        self._asked = asked
        self._target = target
        self._wheelhouse = wheelhouse
        self._places = places
        self._building = building
        self._hear = hear
        locked = asked.locked
        self._sources = sources.resolve(places, locked.options, locked.path.absolute().parent)

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
                if from_source and not self._building.able(self._target):
                    raise build.cannot(self._target, from_source, self._building)
                fetched = fetcher.download(choices, self._hear.progress)
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
            self._hear.warn(f"{pin.text}: {other}, which is not in the lock file; {file.filename} was taken instead")
        if not pin.hashes:
            self._hear.warn(f"{pin.text}: no hash was locked; {file.filename} has --hash=sha256:{fetched.sha256}")
        if file.yanked is not None:
            self._hear.warn(f"{file.filename} was withdrawn by its authors: {file.yanked or 'no reason given'}")

    def _wheel(self, fetched: Fetched, space: Path) -> Wheel:
        file, pin = fetched.file, fetched.pin
        if is_wheel(file):
            if not self._target.fits(file.filename):
                raise BuildError(f"{file.filename} does not fit {self._target.name}")
            return self._wheelhouse.described(fetched.path, "index", fetched.sha256)
        origin = Origin("sdist", fetched.sha256, index=file.index, url=file.url)
        return self._built(fetched.path, pin, fetched.sha256, space / pin.name, origin)

    def _from_tree(self, pin: Pin, source: Git | Tree, space: Path) -> Wheel:
        """A wheel of a repository or a directory."""
        key = self._asked.source_key(source)
        # Builders call the source by its directory's name.
        place = space / "source" / (pin.name or "source")
        if isinstance(source, Tree):
            return self._built(trees.copy(source.path, place), pin, key, space, Origin("path", key))
        commit = trees.resolve(source)
        if commit != source.reference:
            self._hear.warn(f"{pin.text}: no commit was locked; {source.reference} is {commit}")
            key = self._asked.source_key(replace(source, reference=commit))
        directory = trees.checkout(source, commit, place)
        trees.assert_package(directory)
        origin = Origin("vcs", trees.digest(directory), url=source.url, revision=commit)
        return self._built(directory, pin, key, space, origin)

    def _built(self, source: Path, pin: Pin, key: str, space: Path, origin: Origin) -> Wheel:
        """Build with the configured builders.

        Source of one's own is mostly Python alone: where no builder is for the target, it is built for this machine,
        and inspected as all wheels are.
        """
        target, building = self._target, self._building
        if not building.able(target):
            if origin.kind == "sdist":
                raise build.cannot(target, [pin.label], building)
            target, building = Target.local(), Building((Native(),))
        self._hear.progress(f"{pin.label}: building from source")
        space.mkdir(parents=True, exist_ok=True)
        made = build.build(
            source,
            target,
            space / "built",
            building,
            environment=sources.environment(self._sources, space),
            hear=lambda text: self._hear.progress(f"{pin.label}: {text}"),
        )
        if not self._target.fits(made.wheel.name):
            raise build.cannot(self._target, [pin.label], self._building)
        builder = made.builder.partition(" ")[0]
        value = self._wheelhouse.add(
            made.wheel, replace(origin, builder=builder, tools=dict(made.tools), grafted=made.grafted)
        )
        self._wheelhouse.remember_built(key, self._target, value)
        grafted = f"; grafted: {', '.join(Path(each).name for each in made.grafted)}" if made.grafted else ""
        self._hear.say(f"{pin.label}: built from source by {made.builder}{grafted}")
        path = self._wheelhouse.root / "wheels" / value / made.wheel.name
        return self._wheelhouse.described(path, origin.kind, origin.sha256)
