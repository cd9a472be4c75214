"""The lock file, written from what a person wrote: by pip-compile where the target is like this machine, else by uv."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from ..errors import BuildError, ConfigurationError
from . import sources
from .locks import exported, requirements
from .pip import last_words
from .sources import Places
from .target import Target

ITS_NAME = "fab lock-requirements"
# The floors that uv knows by name (uv, "--python-platform"); between two of them, the lower one holds as well.
_UV_GLIBC = (17, 28, *range(31, 41))


@dataclass(frozen=True, slots=True)
class Wish:
    """What the lock file is to be.

    :ivar upgrade: newer versions of everything; otherwise what is locked stays as long as it fits.
    :ivar packages: newer versions of these alone.
    """

    lock: Path
    targets: tuple[Target, ...]
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    upgrade: bool = False
    packages: tuple[str, ...] = ()

    @property
    def is_pylock(self) -> bool:
        return self.lock.suffix == ".toml"

    @property
    def tool(self) -> str:
        """pip-compile resolves for the Python and the machine that it runs on, and knows neither groups nor pylock."""
        here = Target.local()
        kinds = {_kind(target) for target in self.targets}
        return "pip-compile" if kinds == {_kind(here)} and not self.is_pylock and not self.groups else "uv"


@dataclass(frozen=True, slots=True)
class Written:
    """How it went.

    :ivar command: as a person would type it.
    :ivar changed: whether the file is another one now.
    :ivar local: it names files by their place on this machine.
    """

    tool: str
    command: str
    changed: bool
    local: bool


def source(lock: Path) -> Path:
    """What the lock file is made from: ``requirements.in`` beside it, or ``pyproject.toml``.

    :raises ConfigurationError: there is neither, or the lock file is another tool's.
    """
    if lock.name in exported.EXPORTERS:
        tool = exported.EXPORTERS[lock.name].tool
        raise ConfigurationError(f"it is {tool}'s own lock file", where=str(lock), hint=f"{tool} lock writes it")
    for path in (lock.with_suffix(".in"), lock.with_name("requirements.in"), lock.with_name("pyproject.toml")):
        if path.is_file():
            return path
    raise ConfigurationError(
        f"there is nothing to lock: no {lock.with_suffix('.in').name} and no pyproject.toml beside it", where=str(lock)
    )


def command(wish: Wish, made_from: Path, output: Path) -> list[str]:
    """The words behind the tool's name."""
    common = ["--quiet", f"--output-file={output.name}"]
    common += [f"--extra={name}" for name in wish.extras]
    common += ["--upgrade"] if wish.upgrade else []
    common += [f"--upgrade-package={name}" for name in wish.packages]
    if wish.tool == "pip-compile":
        # Places are not written down: they may be those of this machine alone, and hold credentials.
        return [*common, "--generate-hashes", "--allow-unsafe", "--strip-extras", "--no-emit-options",
                "--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host", made_from.name]  # fmt: skip
    form = ["--format=pylock.toml"] if wish.is_pylock else ["--generate-hashes"]
    groups = [f"--group={name}" for name in wish.groups]
    return ["pip", "compile", *common, *form, *groups, *_for(wish.targets), made_from.name]


def write(wish: Wish, places: Places) -> Written:
    """Resolve, and put the lock file in place by a rename; it stays as it is where that fails.

    :raises ConfigurationError: the tool is not installed, or there is nothing to lock.
    :raises BuildError: with the resolver's words.
    """
    made_from = source(wish.lock)
    directory = wish.lock.absolute().parent
    options = _options(made_from)
    found = sources.resolve(places, shlex.split(" ".join(options)), directory)
    before = wish.lock.read_bytes() if wish.lock.is_file() else b""
    # uv wants a pylock's name to be one; relative paths in a lock file start at its directory, so it lies there.
    prefix, suffix = ("pylock.", ".toml") if wish.is_pylock else (".partial-", wish.lock.suffix)
    with (
        tempfile.TemporaryDirectory() as private,
        tempfile.NamedTemporaryFile(dir=directory, prefix=prefix, suffix=suffix) as stream,
    ):
        output = Path(stream.name)
        words = command(wish, made_from, output)
        output.write_bytes(before)
        if not before:
            output.unlink()
        try:
            _run([*_program(wish), *words], made_from, sources.environment(found, Path(private)))
            after = _with_options(output.read_text(encoding="utf-8"), options, wish).encode()
            if changed := after != before:
                output.write_bytes(after)
                output.chmod(wish.lock.stat().st_mode & 0o777 if before else 0o644)
                with output.open("rb") as written:
                    os.fsync(written.fileno())
                output.replace(wish.lock)
        finally:
            output.touch()  # what the context is going to remove
    shown = shlex.join(word.replace(output.name, wish.lock.name) for word in [wish.tool, *words])
    return Written(wish.tool, shown, changed, wish.is_pylock and b'"file:' in after)


def _run(words: Sequence[str], made_from: Path, environment: dict[str, str]) -> None:
    # pip-compile takes all indexes for one; so does uv when told to, and the same file comes of the same places.
    environment.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    own = {"CUSTOM_COMPILE_COMMAND": ITS_NAME, "UV_CUSTOM_COMPILE_COMMAND": ITS_NAME, "UV_PYTHON_DOWNLOADS": "never"}
    result = subprocess.run(
        words,
        cwd=made_from.absolute().parent,
        env={**environment, **own},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise BuildError(
            f"{made_from.name} cannot be resolved; the lock file is as it was",
            where=str(made_from),
            output=last_words(result.stdout + result.stderr),
        )


def _program(wish: Wish) -> list[str]:
    if wish.tool == "pip-compile":
        return [sys.executable, "-m", "piptools", "compile"]
    found = exported.find("uv")
    if found is None:
        names = ", ".join(dict.fromkeys(target.name for target in wish.targets))
        why = "writes pylock.toml" if wish.is_pylock else f"resolves for another Python or machine ({names})"
        raise ConfigurationError(f"uv is needed, as it {why}, and is not installed", hint="pip install uv")
    return [found]


def _kind(target: Target) -> tuple[str, str, str]:
    """What markers ask for; a libc matters to wheels, and hashes are written down for all of them."""
    return target.python, target.system, target.machine


def _for(targets: Sequence[Target]) -> list[str]:
    """uv's words for the targets: one by its platform, several by a lock file for all platforms."""
    lowest = min((target.python for target in targets), key=lambda python: [int(part) for part in python.split(".")])
    platforms = {_platform(target) for target in targets}
    one = len({target.python for target in targets}) == 1 and len(platforms) == 1
    name = platforms.pop() if one else ""
    return [f"--python-version={lowest}", f"--python-platform={name}" if name else "--universal"]


def _platform(target: Target) -> str:
    """uv's name for a target, '' where it has none."""
    if target.system == "darwin":
        return {"arm64": "aarch64-apple-darwin", "x86_64": "x86_64-apple-darwin"}.get(target.machine, "")
    if target.machine not in ("x86_64", "aarch64"):
        return ""
    if target.libc == "musl":
        return f"{target.machine}-unknown-linux-musl"
    minor = max((known for known in _UV_GLIBC if (2, known) <= target.version), default=0)
    return f"{target.machine}-manylinux_2_{minor}" if minor else ""


def _options(made_from: Path) -> list[str]:
    """The lines of a requirements file that say where to look; they belong into the lock file as well."""
    if made_from.suffix == ".toml":
        return []
    lines = [line for _, _, line in requirements.lines(made_from)]
    return [line for line in lines if line.partition(" ")[0].partition("=")[0] in requirements.SOURCES]


def _with_options(text: str, options: Sequence[str], wish: Wish) -> str:
    if wish.is_pylock or not options:
        return text
    head = list(takewhile(lambda line: line.startswith("#"), text.splitlines()))
    return "\n".join([*head, *options, *text.splitlines()[len(head) :]]) + "\n"
