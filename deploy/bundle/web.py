"""HTTP for files and index pages: logins, certificates, proxies, retries. Knows no package."""

from __future__ import annotations

import contextlib
import netrc
import ssl
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urljoin, urlsplit

from ..errors import BuildError, ConfigurationError
from ..masking import masked
from ..version import __version__
from .sources import Sources, login, netrc_path, plain

if TYPE_CHECKING:
    import urllib3

T = TypeVar("T")

TRIES = 5
CONNECT_S, SILENCE_S = 15.0, 60.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 30.0
_PASSING = (408, 425, 429, 500, 502, 503, 504)


class Missing(Exception):
    """The place has no such page or file."""


class Beyond(Exception):
    """The offset that was asked for lies behind the end of the file."""


class Passing(Exception):
    """A failure that may be over in a moment.

    :ivar pause_s: how long the server asks us to wait, 0 where it does not.
    :ivar unreachable: there was no answer at all; another page of that host will not do better.
    """

    def __init__(self, reason: str, pause_s: float = 0, *, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.pause_s = pause_s
        self.unreachable = unreachable


class Unreached(BuildError):
    """A place does not answer at all; what was asked for may well be there."""


@dataclass(frozen=True, slots=True)
class Page:
    content: bytes
    content_type: str
    url: str


@dataclass(frozen=True, slots=True)
class Body:
    """What comes of a file.

    :ivar start: the offset that it begins at: 0 where the server sends the whole.
    :ivar whole: the size of the whole file, None where the server does not say it.
    """

    start: int
    whole: int | None
    chunks: Iterator[bytes]


class Web:
    """Connections that are kept open and shared by threads; closed by :meth:`close`."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._managers: dict[tuple[str, bool], Any] = {}
        self._mutex = threading.Lock()
        self._gone: dict[str, str] = {}
        self._netrc = _read_netrc()
        self.stopped = threading.Event()

    def close(self) -> None:
        self.stopped.set()
        for manager in self._managers.values():
            manager.clear()

    def page(self, url: str, accept: str) -> Page:
        """A page.

        :raises Missing: there is none.
        :raises BuildError: it cannot be had.
        """

        def once() -> Page:
            with self._answer(url, {"Accept": accept, "Accept-Encoding": "gzip"}) as answer:
                content = answer.read(decode_content=True)
                final = urljoin(plain(url), answer.geturl() or "")
                return Page(content, answer.headers.get("Content-Type", ""), final)

        return self.patiently(url, once)

    @contextlib.contextmanager
    def file(self, url: str, start: int = 0) -> Iterator[Body]:
        """A file, from an offset on where the server can do that (RFC 9110, "Range Requests").

        :raises Missing: there is none.
        :raises Beyond: it ends before *start*.
        :raises Passing: it was cut off; trying again from where it stopped may help.
        :raises BuildError: it cannot be had.
        """
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        with self._answer(url, headers) as answer:
            begins, whole = 0, _number(answer.headers.get("Content-Length"))
            if answer.status == 206:
                unit, _, rest = answer.headers.get("Content-Range", "").partition(" ")
                span, _, size = rest.partition("/")
                begins, whole = _number(span.partition("-")[0]) or 0, _number(size)
                if unit != "bytes" or begins != start:
                    raise Passing("the server sent another part than the one that was asked for")
            yield Body(begins, whole, self._chunks(answer))

    def _chunks(self, answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        for chunk in answer.stream(1 << 16, decode_content=False):
            if self.stopped.is_set():
                raise BuildError("the download was stopped")
            yield chunk

    def patiently(self, url: str, work: Callable[[], T], moved: Callable[[], bool] = lambda: False) -> T:
        """Do *work* until it does not fail in passing: a few times, each pause twice as long.

        :param moved: whether the last try got further, so that counting starts again.
        :raises Unreached: nobody answered.
        :raises BuildError: it went on failing.
        """
        host = urlsplit(url).netloc.rpartition("@")[2]
        tries = 0
        while True:
            if reason := self._gone.get(host):
                raise Unreached(_unreached(url, reason), hint=_REACH)
            try:
                return work()
            except Passing as failure:
                tries = 1 if moved() else tries + 1
                if tries >= TRIES:
                    if failure.unreachable:
                        self._gone[host] = str(failure)
                    kind = Unreached if failure.unreachable else BuildError
                    raise kind(_unreached(url, str(failure)), hint=_REACH) from None
                pause = failure.pause_s or FIRST_PAUSE_S * 2 ** (tries - 1)
            if self.stopped.wait(min(pause, LONGEST_PAUSE_S)):
                raise BuildError("the download was stopped")

    @contextlib.contextmanager
    def _answer(self, url: str, headers: dict[str, str]) -> Iterator[urllib3.BaseHTTPResponse]:
        import urllib3

        policy = urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=10)
        asked = headers | self._authorization(url) | {"User-Agent": f"fabric-wheelhouse/{__version__}"}
        try:
            answer = self._manager(url).request("GET", plain(url), headers=asked, preload_content=False, retries=policy)
            try:
                self._assert_well(answer, url)
                yield answer
            except BaseException:
                answer.close()  # what was not read must not be taken for the next answer
                raise
            answer.release_conn()
        except urllib3.exceptions.HTTPError as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, urllib3.exceptions.SSLError):
                raise BuildError(
                    f"{plain(url)}: the connection is not trusted: {_words(reason)}",
                    hint="index: {ca: FILE} in fabric.yaml names the certificates of an index of your own",
                ) from None
            if isinstance(error, urllib3.exceptions.LocationValueError):
                raise ConfigurationError(f"{plain(url)} is no URL") from None
            never = isinstance(reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError)
            raise Passing(_words(reason), unreachable=never) from None

    def _assert_well(self, answer: urllib3.BaseHTTPResponse, url: str) -> None:
        status = answer.status
        if status in (200, 206):
            return
        if status == 416:
            raise Beyond(plain(url))
        if status in (404, 410):
            raise Missing(plain(url))
        if status in _PASSING:
            raise Passing(
                f"HTTP {status} {answer.reason or ''}".strip(), _number(answer.headers.get("Retry-After")) or 0
            )
        hint = ""
        if status in (401, 403):
            known = "it was not accepted" if self._authorization(url) else "there is none for this host"
            hint = f"a login comes from the URL of the index or from {netrc_path()}; {known}"
        raise BuildError(f"{plain(url)}: HTTP {status} {answer.reason or ''}".strip(), hint=hint)

    def _authorization(self, url: str) -> dict[str, str]:
        from urllib3 import make_headers

        host = urlsplit(url).netloc.rpartition("@")[2]
        pair = login(url)
        for place in (*self._sources.indexes, *self._sources.find_links):
            # The files of an index mostly lie on its host, and their links do not carry the login.
            if pair is None and urlsplit(plain(place))[:2] == (urlsplit(url).scheme, host):
                pair = login(place)
        if pair is None and self._netrc and (found := self._netrc.authenticators(urlsplit(url).hostname or "")):
            pair = (found[0] or found[1] or "", found[2] or "")
        return make_headers(basic_auth=":".join(pair)) if pair else {}

    def _manager(self, url: str) -> Any:
        import urllib3

        proxy = self._proxy(url)
        host = urlsplit(url).netloc.rpartition("@")[2]
        unchecked = host in self._sources.trusted or urlsplit(url).hostname in self._sources.trusted
        with self._mutex:
            if (proxy, unchecked) not in self._managers:
                context = ssl.create_default_context()
                if self._sources.ca:
                    _trust(context, self._sources.ca)
                if unchecked:
                    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                settings: dict[str, Any] = {
                    "maxsize": 8, "ssl_context": context,
                    "timeout": urllib3.Timeout(connect=CONNECT_S, read=SILENCE_S),
                }  # fmt: skip
                if proxy:
                    pair = login(proxy)
                    heads = urllib3.make_headers(proxy_basic_auth=":".join(pair)) if pair else None
                    self._managers[proxy, unchecked] = urllib3.ProxyManager(
                        plain(proxy), proxy_headers=heads, **settings
                    )
                else:
                    self._managers[proxy, unchecked] = urllib3.PoolManager(**settings)
            return self._managers[proxy, unchecked]

    def _proxy(self, url: str) -> str:
        """The configured proxy, or the environment's (``https_proxy``, ``no_proxy``); '' for none."""
        host = urlsplit(url).netloc.rpartition("@")[2]
        if urllib.request.proxy_bypass(host):
            return ""
        proxies = urllib.request.getproxies()
        found = self._sources.proxy or proxies.get(urlsplit(url).scheme) or proxies.get("all") or ""
        return found if "://" in found or not found else f"http://{found}"


_REACH = "is the index in reach? A bundle that exists already needs no network"


def _unreached(url: str, reason: str) -> str:
    return f"{plain(url)} cannot be had: {reason}"


def _words(reason: object) -> str:
    """urllib3's words without the object that it names first."""
    words = str(getattr(reason, "reason", None) or reason)
    return masked(" ".join(words.rpartition("object at 0x")[2].partition(">: ")[2].split() or words.split()))


def _trust(context: ssl.SSLContext, path: str) -> None:
    try:
        context.load_verify_locations(cafile=path)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"it holds no certificates: {error}", where=path) from None


def _read_netrc() -> netrc.netrc | None:
    path = netrc_path()
    try:
        return netrc.netrc(str(path))
    except OSError:
        return None
    except netrc.NetrcParseError as error:
        raise ConfigurationError(f"it cannot be read: {error.msg} (line {error.lineno})", where=str(path)) from None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None


def local_path(url: str) -> str:
    """The path that a ``file:`` URL names."""
    return unquote(urlsplit(url).path)
