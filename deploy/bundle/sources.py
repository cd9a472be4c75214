"""Where files come from: what the configuration, the lock file and, where it is wanted, pip and uv say."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from ..errors import ConfigurationError
from . import ambient as surroundings

PYPI = "https://pypi.org/simple"
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")


@dataclass(frozen=True, slots=True)
class Places:
    """What the configuration says; relative paths start at *directory*.

    :ivar ambient: pip's and uv's own configuration counts as well.
    """

    url: str = ""
    extra_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    ca: str = ""
    proxy: str = ""
    ambient: bool = False
    directory: Path = field(default_factory=Path.cwd)


@dataclass(frozen=True, slots=True)
class Sources:
    """All places, in the order in which they are asked.

    :ivar indexes: URLs of simple indexes (PEP 503), with their credentials.
    :ivar find_links: URLs of pages with links, and whole paths of directories.
    :ivar ca: a file with certificates to trust beside the system's own.
    :ivar trusted: hosts, or hosts with ports, whose certificates are not looked at.
    """

    indexes: tuple[str, ...] = (PYPI,)
    find_links: tuple[str, ...] = ()
    ca: str = ""
    proxy: str = ""
    trusted: tuple[str, ...] = ()
    ambient: bool = False


def resolve(places: Places, options: Sequence[str], beside: Path) -> Sources:
    """Put together what is said where.

    :param options: the lock file's, as pip's words.
    :param beside: the lock file's directory, where its relative directories start.
    :raises ConfigurationError: a file with certificates is not there, a variable of the lock file is not set, or pip's
        configuration cannot be read.
    """
    said = _options([_expanded(word) for word in options], beside)
    around = surroundings.read() if places.ambient else surroundings.NOTHING
    urls = [places.url, *said.index, *around.index]
    main = next((url for url in urls if url), PYPI)
    extra = [*places.extra_urls, *said.index, *said.extra, *around.extra]
    indexes: dict[str, str] = {}
    for url in () if said.no_index or around.no_index else (main, *extra):
        indexes.setdefault(url.rstrip("/"), url)
    links = [*(_link(link, places.directory) for link in places.find_links), *said.links, *around.links]
    ca = _certificates(places, around.ca)
    trusted = dict.fromkeys([*said.trusted, *around.trusted])
    proxy = places.proxy or around.proxy
    return Sources(tuple(indexes.values()), tuple(dict.fromkeys(links)), ca, proxy, tuple(trusted), places.ambient)


def plain(url: str) -> str:
    """*url* without its credentials."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def login(url: str) -> tuple[str, str] | None:
    """The user and the password in *url*; a token alone is a user without a password."""
    parts = urlsplit(url)
    if parts.username is None:
        return None
    return unquote(parts.username), unquote(parts.password or "")


def environment(sources: Sources, directory: Path) -> dict[str, str]:
    """The environment for a pip (and a uv) that is to use the same places.

    Credentials go into a netrc file of its own, as a command line and an address are seen by others.

    :param directory: for that file and for certificates; private, and alive as long as the child.
    """
    own = ("PIP_", "UV_")
    settings = {name: value for name, value in os.environ.items() if sources.ambient or not name.startswith(own)}
    if not sources.ambient:
        settings |= {"PIP_CONFIG_FILE": os.devnull, "UV_NO_CONFIG": "1"}
    for name in ("PIP_REQUIRE_HASHES", "PIP_NO_INDEX", "PIP_EXTRA_INDEX_URL", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL"):
        settings.pop(name, None)
    indexes = [plain(url) for url in sources.indexes]
    links = [Path(link).as_uri() if link.startswith("/") else plain(link) for link in sources.find_links]
    if indexes:
        settings |= {"PIP_INDEX_URL": indexes[0], "UV_DEFAULT_INDEX": indexes[0]}
        settings |= {"PIP_EXTRA_INDEX_URL": " ".join(indexes[1:]), "UV_INDEX": " ".join(indexes[1:])}
    else:
        settings |= {"PIP_NO_INDEX": "1", "UV_NO_INDEX": "1"}
    settings |= {"PIP_FIND_LINKS": " ".join(links), "UV_FIND_LINKS": ",".join(links)}
    # pip wants to hear that a place without TLS is meant; the lock file's hashes are what vouches for its files.
    bare = [urlsplit(url).netloc.rpartition("@")[2] for url in (*indexes, *links) if url.startswith("http://")]
    if trusted := dict.fromkeys([*sources.trusted, *bare]):
        settings |= {"PIP_TRUSTED_HOST": " ".join(trusted), "UV_INSECURE_HOST": " ".join(trusted)}
    if sources.ca:
        bundle = str(_bundle(sources.ca, directory))
        settings |= {"PIP_CERT": bundle, "SSL_CERT_FILE": bundle}
    if sources.proxy:
        settings |= {"PIP_PROXY": sources.proxy, "HTTPS_PROXY": sources.proxy, "HTTP_PROXY": sources.proxy}
    logins = {urlsplit(url).hostname: found for url in (*sources.indexes, *sources.find_links) if (found := login(url))}
    if logins:
        settings["NETRC"] = str(_netrc(logins, directory))
    return {name: value for name, value in settings.items() if value or name not in _OURS}


_OURS = ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "UV_INDEX", "UV_FIND_LINKS")


def _bundle(ca: str, directory: Path) -> Path:
    """The system's certificates and ours in one file: pip and uv take a file instead of the system's."""
    path = directory / "certificates.pem"
    system = ssl.get_default_verify_paths().cafile
    known = Path(system).read_text() if system and Path(system).is_file() else ""
    path.write_text(known + "\n" + Path(ca).read_text())
    return path


def _netrc(logins: dict[str | None, tuple[str, str]], directory: Path) -> Path:
    path = directory / "netrc"
    user = netrc_path()
    theirs = user.read_text() if user.is_file() else ""
    # A netrc has no way to quote a blank; such a password has to be in the user's own file some other way.
    ours = "".join(f"machine {host} login {name} password {word}\n" for host, (name, word) in logins.items())
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(ours + theirs)
    return path


def netrc_path() -> Path:
    return Path(os.environ.get("NETRC") or Path.home() / ".netrc")


@dataclass(frozen=True, slots=True)
class _Said:
    index: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    trusted: list[str] = field(default_factory=list)
    no_index: bool = False


def _options(words: Sequence[str], beside: Path) -> _Said:
    """pip's options as a value (pip, "Requirements File Format"); the last ``--index-url`` counts."""
    said = _Said()
    no_index = False
    rest = iter(words)
    for word in rest:
        name, joined, value = word.partition("=")
        if name == "--no-index":
            no_index = True
            continue
        if name == "--pre":
            continue
        if not joined:
            value = next(rest, "")
        if name in ("-i", "--index-url"):
            said.index[:] = [value]
        elif name == "--extra-index-url":
            said.extra.append(value)
        elif name in ("-f", "--find-links"):
            said.links.append(_link(value, beside))
        elif name == "--trusted-host":
            said.trusted.append(value)
    return _Said(said.index, said.extra, said.links, said.trusted, no_index)


def _link(link: str, directory: Path) -> str:
    if link.startswith("file:"):
        link = unquote(urlsplit(link).path)
    return link if "://" in link else str((directory / Path(link).expanduser()).absolute())


def _expanded(word: str) -> str:
    """*word* with ``${VARIABLE}`` of the environment in its place, as pip does it in requirements files."""

    def value(found: re.Match[str]) -> str:
        try:
            return os.environ[found[1]]
        except KeyError:
            raise ConfigurationError(f"the lock file names the variable {found[1]}, and it is not set") from None

    return _VARIABLE.sub(value, word)


def _certificates(places: Places, around: str) -> str:
    if not places.ca:
        return around if around and Path(around).is_file() else ""
    path = places.directory / Path(places.ca).expanduser()
    if not path.is_file():
        raise ConfigurationError(f"there is no file {path}", where="deploy.index.ca")
    return str(path)
