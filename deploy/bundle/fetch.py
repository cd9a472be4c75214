"""Wheels and source distributions from where they are into the wheelhouse: chosen for the target, each one once.

Several at a time; what was cut off goes on where it stopped; what does not have a hash of the lock file is refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, TypeVar

from ..errors import BuildError
from ..masking import masked
from .catalogue import Catalogue
from .choice import Choice, is_wheel
from .locks.model import File, Pin
from .manifest import Origin
from .sources import Sources
from .target import Target
from .web import Beyond, Missing, Passing, Unreached, Web, local_path
from .wheelhouse import Wheelhouse

T = TypeVar("T")

THREADS = 8
CHANGED = "a file is not the one that was locked: somebody changed it, or the lock file needs to be made again"


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that is in the wheelhouse now.

    :ivar passed_over: files that were better and had another hash than the lock file says.
    """

    pin: Pin
    file: File
    path: Path
    sha256: str
    passed_over: tuple[str, ...] = ()


class Fetcher:
    """One round of fetching; a context, as it holds connections."""

    def __init__(self, sources: Sources, target: Target, wheelhouse: Wheelhouse) -> None:
        self._target = target
        self._wheelhouse = wheelhouse
        self._web = Web(sources)
        self._catalogue = Catalogue(sources, self._web)

    def __enter__(self) -> Fetcher:
        return self

    def __exit__(self, *exception: object) -> None:
        self._web.close()

    def choose(self, pins: Sequence[Pin]) -> dict[Pin, Choice]:
        """What each requirement can take.

        :raises BuildError: naming every requirement that nothing can be found for, and why.
        """
        chosen: dict[Pin, Choice] = {}
        problems: dict[Pin, BuildError] = {}
        for pin, result in self._each(pins, lambda pin: self._catalogue.choose(pin, self._target)):
            if isinstance(result, BuildError):
                problems[pin] = result
            elif not result.files:
                problems[pin] = BuildError(result.reason)
            else:
                chosen[pin] = result
        _tell(pins, problems)
        return {pin: chosen[pin] for pin in pins}

    def download(self, choices: dict[Pin, Choice], progress: Callable[[str], None]) -> list[Fetched]:
        """Get the best file of each choice.

        :raises BuildError: naming every requirement whose file cannot be had, or is another one than was locked.
        """
        fetched: dict[Pin, Fetched] = {}
        problems: dict[Pin, BuildError] = {}
        for pin, result in self._each(list(choices), lambda pin: self._best(pin, choices[pin])):
            if isinstance(result, BuildError):
                problems[pin] = result
            else:
                fetched[pin] = result
                progress(f"{pin.label}: fetched")
        _tell(list(choices), problems)
        return [fetched[pin] for pin in choices]

    def _each(self, pins: Sequence[Pin], work: Callable[[Pin], T]) -> Iterator[tuple[Pin, T | BuildError]]:
        """*work* for every pin, as they are done; an interrupt does not wait for what goes on."""
        waiting: SimpleQueue[Pin] = SimpleQueue()
        done: SimpleQueue[tuple[Pin, T | BaseException]] = SimpleQueue()
        for pin in pins:
            waiting.put(pin)

        def worker() -> None:
            with contextlib.suppress(Empty):
                while not self._web.stopped.is_set():
                    pin = waiting.get_nowait()
                    try:
                        done.put((pin, work(pin)))
                    except BaseException as error:
                        done.put((pin, error))

        # Daemons: a process that was told to end must not wait for a server that says nothing.
        for _ in range(min(THREADS, len(pins))):
            threading.Thread(target=worker, daemon=True).start()
        try:
            for _ in pins:
                pin, result = done.get()
                if isinstance(result, BaseException) and not isinstance(result, BuildError):
                    raise result
                yield pin, result
        except BaseException:
            self._web.stopped.set()
            raise

    def _best(self, pin: Pin, choice: Choice) -> Fetched:
        others: list[str] = []
        for file in choice.files:
            path, value = self._have(file, pin.hashes)
            if not pin.hashes or value in pin.hashes:
                return Fetched(pin, file, path, value, tuple(others))
            path.unlink(missing_ok=True)
            others.append(f"{file.filename} has the hash {value}")
        raise BuildError("; ".join(others), hint=CHANGED)

    def _have(self, file: File, allowed: frozenset[str]) -> tuple[Path, str]:
        """The file, in the wheelhouse; or, where it has a hash that is not allowed, a part that is thrown away."""
        if file.sha256 and (known := self._wheelhouse.file(file.sha256, file.filename)):
            return known, file.sha256
        path = self._wheelhouse.part(file.sha256 or hashlib.sha256(file.url.encode()).hexdigest())
        with _alone(path) as stream:
            # Somebody else may have fetched it while we waited.
            if file.sha256 and (known := self._wheelhouse.file(file.sha256, file.filename)):
                path.unlink(missing_ok=True)
                return known, file.sha256
            part = _Part(stream)
            resumed = part.size > 0
            self._complete(part, file)
            right = {file.sha256} if file.sha256 else allowed
            if resumed and right and part.sha256 not in right:
                # What an older run left may have been another file's beginning: once more, from the start.
                part.restart()
                self._complete(part, file)
            if file.sha256 and part.sha256 != file.sha256:
                path.unlink(missing_ok=True)
                raise BuildError(f"{file.filename} has the hash {part.sha256}, not {file.sha256}", hint=CHANGED)
            if allowed and part.sha256 not in allowed:
                return path, part.sha256
            part.sync()
            kind = "index" if is_wheel(file) else "sdist"
            origin = Origin(kind, part.sha256, index=file.index, url=file.url)
            return self._wheelhouse.take(path, file.filename, part.sha256, origin), part.sha256

    def _complete(self, part: _Part, file: File) -> None:
        """Fetch what is lacking of *file*."""
        if file.sha256 and part.sha256 == file.sha256:
            return
        if file.url.startswith("file:"):
            part.copy(Path(local_path(file.url)))
            return

        def once() -> None:
            part.moved = False
            try:
                with self._web.file(file.url, part.size) as body:
                    if body.start != part.size:
                        part.restart()
                    for chunk in body.chunks:
                        part.write(chunk)
                    if body.whole is not None and part.size < body.whole:
                        raise Passing(f"cut off after {part.size} of {body.whole} bytes")
            except Beyond:
                part.restart()
                raise Passing("what was here already is longer than the file") from None

        try:
            self._web.patiently(file.url, once, lambda: part.moved)
        except Missing:
            raise BuildError(f"{masked(file.url)} is not there (HTTP 404)") from None


class _Part:
    """A file that is not complete, and the hash of what is there.

    :ivar moved: something was written since somebody set it to False.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self.size = 0
        self.moved = False
        stream.seek(0)
        while block := stream.read(1 << 20):
            self._digest.update(block)
            self.size += len(block)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, chunk: bytes) -> None:
        self._stream.write(chunk)
        self._digest.update(chunk)
        self.size += len(chunk)
        self.moved = True

    def restart(self) -> None:
        self._stream.flush()
        self._stream.truncate(0)
        self._digest = hashlib.sha256()
        self.size = 0

    def copy(self, source: Path) -> None:
        self.restart()
        try:
            with source.open("rb") as stream:
                while block := stream.read(1 << 20):
                    self.write(block)
        except OSError as error:
            raise BuildError(f"{source}: {error.strerror}") from None

    def sync(self) -> None:
        self._stream.flush()
        os.fsync(self._stream.fileno())


@contextlib.contextmanager
def _alone(part: Path) -> Iterator[IO[bytes]]:
    """A part, for one process and one thread: who comes second waits, and finds the file."""
    part.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with part.open("ab+") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            try:
                same = os.path.samestat(part.stat(), os.fstat(stream.fileno()))
            except FileNotFoundError:
                same = False
            if same:
                yield stream
                return


def _tell(pins: Sequence[Pin], problems: dict[Pin, BuildError]) -> None:
    if not problems:
        return
    if all(isinstance(error, Unreached) for error in problems.values()):
        names = ", ".join(pin.label for pin in pins if pin in problems)
        raise BuildError(
            f"not in the wheelhouse, and no index is in reach: {names}",
            output="\n".join(f"{pin.text}: {problems[pin].what}" for pin in pins if pin in problems),
            hint="is the index in reach? Without one: fab bundle.import FILE, of a bundle made for this lock file",
        )
    if len(problems) == 1:
        ((pin, error),) = problems.items()
        raise BuildError(f"{pin.text}: {error.what}", hint=error.hint, output=error.output)
    lines = [f"  {pin.text}: {problems[pin].what}" for pin in pins if pin in problems]
    hints = dict.fromkeys(error.hint for error in problems.values() if error.hint)
    raise BuildError(f"{len(problems)} requirements cannot be fetched:\n" + "\n".join(lines), hint="\n".join(hints))
