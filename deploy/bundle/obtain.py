"""The wheels that the wheelhouse lacks: fetched where there are any, and built from source where there are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import BuildError
from . import ambient, build, fetch, pip, purity, sources, trees
from .build import Building
from .builders.native import Native
from .interpreters import find
from .locks.model import File, Git, Pin, Tree
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
                for fetched in self._fetched(published, Path(space)):
                    wheels[fetched.pin] = self._wheel(fetched, Path(space))
            for number, pin in enumerate(pin for pin in pins if pin not in wheels):
                assert isinstance(pin.source, Git | Tree)
                wheels[pin] = self._from_tree(pin, pin.source, Path(space) / f"tree{number}")
        return wheels

    def _fetched(self, pins: Sequence[Pin], space: Path) -> list[fetch.Fetched]:
        """One file of each of *pins*: a wheel where there is one for the target."""
        environment = sources.environment(self._sources, space)
        python = self._own_pip()
        command = python or pip.local_pip()
        fits = [] if python else pip.wheels_for(self._target)
        # No tag chooses among source; and whether it runs on the target is not for the Python of this machine to say.
        any_source = [] if python else ["--no-binary=:all:", "--ignore-requires-python"]
        from_source = [pin for pin in pins if isinstance(pin.source, File) and not pin.source.filename.endswith(".whl")]
        others = [pin for pin in pins if pin not in from_source]
        round_ = fetch.fetch(others, command, fits, environment, space / "wheels")
        # An index may have a wheel where nothing but the source is locked.
        unlocked: dict[Pin, str] = {}
        if python is None:
            unlocked = {pin: said for pin, said in round_.said.items() if pip.is_not_locked(said)}
            from_source += [pin for pin, said in round_.said.items() if pip.nothing_fits(said) or pin in unlocked]
        if from_source:
            sdists = fetch.fetch(from_source, command, any_source, environment, space / "sdists")
            self._assert_able(sdists.fetched)
            round_.fetched |= sdists.fetched
            round_.said = {pin: said for pin, said in round_.said.items() if pin not in from_source} | sdists.said
            round_.said |= {pin: said for pin, said in unlocked.items() if pin in sdists.said}
        if round_.said:
            problems = {
                pin: fetch.reason(pin, round_.said[pin], self._target.name) for pin in pins if pin in round_.said
            }
            error = fetch.lacking(problems)
            if not self._places.ambient and ambient.read().says:
                elsewhere = (
                    "pip's or uv's own configuration names more places; index: {ambient: true} in fabric.yaml asks them"
                )
                error.hint = "\n".join(filter(None, (error.hint, elsewhere)))
            raise error
        fetched = [round_.fetched[pin] for pin in pins]
        for each in fetched:
            self._tell(each)
        return fetched

    def _assert_able(self, sdists: Mapping[Pin, fetch.Fetched]) -> None:
        """:raises BuildError: some have to be compiled, and nobody can for the target; naming all of them."""
        if self._building.able(self._target):
            return
        found = {pin.label: purity.to_compile(each.path) for pin, each in sdists.items() if not each.is_wheel}
        if compiled := {label: file for label, file in found.items() if file}:
            raise build.cannot(self._target, compiled, self._building)

    def _own_pip(self) -> list[str] | None:
        """pip's words for a Python of this machine whose wheels fit the target; None where there is none."""
        target = self._target
        python = find(target.python)
        # A machine like the target that may not build natively still fetches as a foreign one does.
        unfit = Native().unfit(target) or "native" not in self._building.names or not pip.supports(target.python)
        if python is None or unfit:
            return None
        return pip.local_pip() if target.python == Target.local().python else pip.for_interpreter(python)

    def _tell(self, fetched: fetch.Fetched) -> None:
        pin, file = fetched.pin, fetched.path.name
        self._hear.progress(f"{pin.label}: fetched")
        if not pin.hashes:
            self._hear.warn(f"{pin.text}: no hash was locked; {file} has --hash=sha256:{fetched.sha256}")
        if fetched.yanked is not None:
            self._hear.warn(f"{file} was withdrawn by its authors: {fetched.yanked or 'no reason given'}")

    def _wheel(self, fetched: fetch.Fetched, space: Path) -> Wheel:
        pin = fetched.pin
        if pin.hashes and fetched.sha256 not in pin.hashes:
            raise BuildError(f"{fetched.path.name} has a hash that is not in the lock file: {fetched.sha256}")
        kind = "index" if fetched.is_wheel else "sdist"
        origin = Origin(kind, fetched.sha256, index=fetched.index, url=sources.plain(fetched.url))
        if not fetched.is_wheel:
            return self._built(fetched.path, pin, fetched.sha256, space / pin.name, origin)
        if not self._target.fits(fetched.path.name):
            raise BuildError(f"{fetched.path.name} does not fit {self._target.name}")
        value = self._wheelhouse.add(fetched.path, origin)
        return self._wheelhouse.described(self._wheelhouse.root / "wheels" / value / fetched.path.name, kind, value)

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

        What is Python alone needs none that is for the target: it is built for this machine, and inspected as all
        wheels are.
        """
        target, building = self._target, self._building
        if not building.able(target):
            if found := purity.to_compile(source):
                raise build.cannot(target, {pin.label: found}, building)
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
            raise build.cannot(self._target, {pin.label: made.wheel.name}, self._building)
        builder = made.builder.partition(" ")[0]
        value = self._wheelhouse.add(
            made.wheel, replace(origin, builder=builder, tools=dict(made.tools), grafted=made.grafted)
        )
        self._wheelhouse.remember_built(key, self._target, value)
        grafted = f"; grafted: {', '.join(Path(each).name for each in made.grafted)}" if made.grafted else ""
        self._hear.say(f"{pin.label}: built from source by {made.builder}{grafted}")
        path = self._wheelhouse.root / "wheels" / value / made.wheel.name
        return self._wheelhouse.described(path, origin.kind, origin.sha256)
