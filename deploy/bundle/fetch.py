"""Wheels and source distributions from where they are, by pip, with the lock file's hashes enforced.

Several pips share the work, as one fetches one file after the other. Logins, proxies, certificates, retries and what
was cut off are pip's; it is told its places by an environment of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import canonicalize_name, canonicalize_version, parse_sdist_filename, parse_wheel_filename

from ..errors import BuildError
from . import pip
from .locks.model import File, Pin
from .wheelhouse import sha256

PIPS = 4
"""So many at once: more do not come quicker from an index, and each takes some processor time to start."""

_FOUND = re.compile(r"Found link (\S+) \(from ([^\s)]+)\)")
_YANKED = re.compile(r"yanked version: '([^']+)' candidate.*\n(?:.*Reason for being yanked: (.*))?")
_HTTP = re.compile(r"\b([45]\d\d) (?:Client|Server) Error: (.*?) for url: (\S+)")
_BUSY = re.compile(r"Max retries exceeded with url: (\S+) \(Caused by ResponseError\('(.*?)'\)")
_BROKEN = re.compile(r"connection broken by '(.*)': /")
# Of a page that it cannot read, and of a build that fails, pip tells its log alone.
_UNREAD = re.compile(r"^.*Could not fetch URL .*\n", re.MULTILINE)
_BUILD = re.compile(r"Running command [^\n]*\n((?:(?!Running command ).*\n)*?)\S+ +ERROR: .* exited with \d+")
_VERSIONS = re.compile(r"\(from versions: (.*?)\)")
_PYTHONS = re.compile(r"Ignored the following versions that require a different python version: (.*)")
_GOT = re.compile(r"^\s*Got\s+([0-9a-f]{64})", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that pip brought.

    :ivar url: where it lay, and
    :ivar index: the page of the index that named it; '' where pip does not tell.
    :ivar yanked: why its authors withdrew it (PEP 592); None where they did not.
    """

    pin: Pin
    path: Path
    sha256: str
    url: str = ""
    index: str = ""
    yanked: str | None = None

    @property
    def is_wheel(self) -> bool:
        return self.path.suffix == ".whl"


@dataclass(slots=True)
class Round:
    """What came of asking for some requirements: files of these, and what pip said of the others."""

    fetched: dict[Pin, Fetched] = field(default_factory=dict)
    said: dict[Pin, str] = field(default_factory=dict)


def fetch(
    pins: Sequence[Pin],
    command: Sequence[str],
    options: Sequence[str],
    environment: Mapping[str, str],
    directory: Path,
) -> Round:
    """Ask for one file of each pin.

    :param command: pip.
    :param options: pip's, that say what fits.
    :param directory: an empty one; the files stay in it.
    """
    shares = [share for group in _apart(pins) for share in (group[start::PIPS] for start in range(PIPS)) if share]
    done = Round()
    again: list[list[Pin]] = []
    for share, said in _ask(shares, command, options, environment, directory / "shares", done):
        if len(share) == 1 or pip.unreachable(said):
            done.said |= dict.fromkeys(share, said)
        else:
            again += [[pin] for pin in share]
    # pip stops at the first that it cannot get; people want to know all of them.
    for share, said in _ask(again, command, options, environment, directory / "singles", done):
        done.said[share[0]] = said
    return done


def _apart(pins: Sequence[Pin]) -> list[list[Pin]]:
    """Those that are locked with hashes, and the others: pip asks for all hashes or for none."""
    return [[pin for pin in pins if bool(pin.hashes) is locked] for locked in (True, False)]


def _ask(
    shares: Sequence[Sequence[Pin]],
    command: Sequence[str],
    options: Sequence[str],
    environment: Mapping[str, str],
    directory: Path,
    done: Round,
) -> Iterable[tuple[Sequence[Pin], str]]:
    """Run a pip for each share, some at a time; yields those that failed, with what pip said."""
    for start in range(0, len(shares), PIPS):
        some = shares[start : start + PIPS]
        places = [directory / str(start + number) for number in range(len(some))]
        commands = [_command(share, command, options, place) for share, place in zip(some, places, strict=True)]
        for share, place, result in zip(some, places, pip.run_together(commands, environment), strict=True):
            if result.returncode:
                yield share, result.said + _from_log(_log(place))
            else:
                done.fetched |= _brought(share, place, result.said)


def _command(pins: Sequence[Pin], command: Sequence[str], options: Sequence[str], place: Path) -> list[str]:
    place.mkdir(parents=True)
    requirements = place / "requirements.txt"
    requirements.write_text("".join(f"{_line(pin)}\n" for pin in pins))
    hashes = ["--require-hashes"] if pins[0].hashes else []
    return [
        *command, "download", *pip.QUIET, "--no-deps", *hashes, *options,
        "--log", str(place / "log"), "--dest", str(place / "files"), "--requirement", str(requirements),
    ]  # fmt: skip


def _line(pin: Pin) -> str:
    """A requirement for pip: markers are evaluated already, for the target."""
    hashes = "".join(f" --hash=sha256:{value}" for value in sorted(pin.hashes))
    if isinstance(pin.source, File):
        name = pin.name or project(pin.source.filename)[0]
        return f"{name} @ {pin.source.url}{hashes}"
    return f"{pin.name}=={pin.version}{hashes}"


def _brought(pins: Sequence[Pin], place: Path, said: str) -> dict[Pin, Fetched]:
    links = {url.partition("#")[0].rpartition("/")[2]: (url, page) for url, page in _FOUND.findall(_log(place))}
    yanked = {words.split()[0]: reason for words, reason in _YANKED.findall(said)}
    by_name = {pin.name or project(_filename(pin))[0]: pin for pin in pins}
    brought = {}
    for path in sorted((place / "files").iterdir()):
        pin = by_name.get(project(path.name)[0])
        if pin is None:
            raise BuildError(f"{path.name} was not asked for")
        url, page = links.get(path.name, ("", ""))
        url = pin.source.url if isinstance(pin.source, File) else url.partition("#")[0]
        index = pin.source.index if isinstance(pin.source, File) else page.removesuffix(f"{pin.name}/")
        reason = next((why for name, why in yanked.items() if canonicalize_name(name) == pin.name), None)
        brought[pin] = Fetched(pin, path, sha256(path), url, index, reason)
    if lacking := [pin.label for pin in pins if pin not in brought]:
        raise BuildError(f"no file was found for {', '.join(lacking)}")
    return brought


def _filename(pin: Pin) -> str:
    return pin.source.filename if isinstance(pin.source, File) else ""


def _log(place: Path) -> str:
    """pip's own full account of a run; only for where a file came from, so nothing hangs on its form."""
    try:
        return (place / "log").read_text(errors="replace")
    except OSError:
        return ""


def _from_log(log: str) -> str:
    """What a person has to know of a run that failed, and pip did not print."""
    builds = _BUILD.findall(log)
    lines = [line.partition(" ")[2] for line in builds[-1].splitlines()] if builds else []
    text = "".join(f"{line}\n" for line in lines)
    # In the frame that pip itself gives to it where there is no log.
    framed = f"╰─> [{len(lines)} lines of output]\n{text}[end of output]\n" if lines else ""
    return "".join(_UNREAD.findall(log)) + framed


def project(filename: str) -> tuple[str, str]:
    """The project and the version that a distribution's file name says."""
    try:
        if filename.endswith(".whl"):
            name, version, _, _ = parse_wheel_filename(filename)
            return name, str(version)
        found, release = parse_sdist_filename(filename)
        return found, str(release)
    except ValueError:
        # Old source distributions are named in other ways: name-version.tar.bz2, name with dots.
        stem = filename.partition(".tar")[0].removesuffix(".zip")
        legacy, _, number = stem.rpartition("-")
        return canonicalize_name(legacy), number


def reason(pin: Pin, said: str, name: str) -> BuildError:
    """Why pip did not get a requirement's file, in a line.

    :param name: the target's, for messages.
    """
    if "THESE PACKAGES DO NOT MATCH THE HASHES" in said:
        got = _GOT.findall(said)
        what = f"a file has the hash {got[-1]}" if got else "a file has another hash"
        return BuildError(f"{what}, which is not in the lock file", hint=pip.advice(said))
    if "CERTIFICATE_VERIFY_FAILED" in said:
        return BuildError(
            "the connection is not trusted: the certificate cannot be verified",
            hint="index: {ca: FILE} in fabric.yaml names certificates of your own",
        )
    if failures := [found for found in _HTTP.findall(said) if found[0] != "404"]:
        status, words, url = failures[-1]
        return BuildError(f"{url} answered HTTP {status} ({words})", hint=_LOGIN if status in ("401", "403") else "")
    if busy := _BUSY.search(said):
        return BuildError(f"the index stays busy: {busy[2]} for {busy[1]}", hint="try again later")
    if pip.unreachable(said):
        return Unreached(_no_answer(said))
    if found := _PYTHONS.search(said):
        return BuildError(f"it needs another Python than {name} has: {found[1].strip()}")
    if "No matching distribution" in said:
        versions = _VERSIONS.search(said)
        there = versions[1].split(", ") if versions else []
        same = [each for each in there if canonicalize_version(each) == canonicalize_version(pin.version)]
        if same or not there or there == ["none"]:
            return BuildError(f"no index has it, or no file of it fits {name}")
        return BuildError(f"no index has that version with a file that fits {name}; of others: {', '.join(there)}")
    if "is not a supported wheel on this platform" in said:
        return BuildError(f"its file does not fit {name}")
    # pip reads the metadata of source, for which the source's own build runs.
    what = "its build failed" if "Failed to build '" in said else "pip could not fetch it"
    return BuildError(what, output=pip.last_words(said), hint=pip.advice(said))


_LOGIN = "a login comes from the URL of the index, or from ~/.netrc (or the file that NETRC names)"


class Unreached(BuildError):
    """A place does not answer at all; what was asked for may well be there."""


def _no_answer(said: str) -> str:
    broken = _BROKEN.findall(said)
    return broken[-1].rpartition(": ")[2].strip("'\")") if broken else "no index answers"


def lacking(problems: Mapping[Pin, BuildError]) -> BuildError:
    """One error for all requirements that cannot be fetched."""
    if all(isinstance(error, Unreached) for error in problems.values()):
        return Unreached(
            f"not in the wheelhouse, and no index is in reach: {', '.join(pin.label for pin in problems)}",
            output="\n".join(dict.fromkeys(error.what for error in problems.values())),
            hint="is the index in reach? Without one: fab bundle.import FILE, of a bundle made for this lock file",
        )
    if len(problems) == 1:
        ((pin, error),) = problems.items()
        return BuildError(f"{pin.text}: {error.what}", hint=error.hint, output=error.output)
    lines = [f"  {pin.text}: {error.what}" for pin, error in problems.items()]
    hints = dict.fromkeys(error.hint for error in problems.values() if error.hint)
    output = "\n".join(dict.fromkeys(error.output for error in problems.values() if error.output))
    return BuildError(
        f"{len(problems)} requirements cannot be fetched:\n" + "\n".join(lines), hint="\n".join(hints), output=output
    )
