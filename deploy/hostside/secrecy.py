"""Values that nobody is to see, taken out of text, and out of output in whatever pieces it comes.

What is found: a value as it is, and as programs spell it: in URLs, JSON, Python's and the shell's quotes, HTML, hex,
and base64, also inside of something longer. Not found: a value that was cut, put in another case, hashed or compressed.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, quote_plus, unquote, urlsplit

HIDDEN = "***"

SECRET_LENGTH = 4
"""Characters that a value has at least to be hidden, where its name says that it is secret."""
OTHER_LENGTH = 6
"""The same for the other values of `.env`: to hide port numbers and the like would hide the output."""

_MEAN_NOTHING = {"true", "false", "none", "null"}
_WORDS = {"PASS", "PWD", "PASSPHRASE", "KEY", "DSN", "CREDENTIAL", "AUTH", "SALT"}
_ENDINGS = ("PASSWORD", "PASSWD", "SECRET", "TOKEN", "APIKEY", "SECRETKEY")
_INSIDE = re.compile(r"\b(?:password|passwd|pwd|secret|token)=([^\s;&'\"]+)", re.IGNORECASE)


def looks_secret(name: str) -> bool:
    """Whether a word of *name* says that its value is a secret: ``DB_PASSWORD``, ``API_KEY_2``, ``tokens``."""
    words = [word.rstrip("0123456789") for word in re.split(r"[^A-Z0-9]+", name.upper())]
    words += [word[:-1] for word in words if word.endswith("S")]
    return any(word in _WORDS or word.endswith(_ENDINGS) for word in words)


def secrets_of(values: Mapping[str, str], *, every: bool) -> set[str]:
    """The values to hide.

    :param every: all of them are secret (those of `.env`), whatever their names; short ones aside.
    """
    found = set()
    for name, value in values.items():
        if looks_secret(name):
            found |= _long(value, SECRET_LENGTH)
        elif every:
            found |= _long(value, OTHER_LENGTH)
        for part in _passwords(value):
            found |= _long(part, SECRET_LENGTH)
    return found


def _long(value: str, length: int) -> set[str]:
    text = value.strip()
    return {value, text} if len(text) >= length and text.lower() not in _MEAN_NOTHING else set()


def _passwords(value: str) -> Iterator[str]:
    """What a value holds that is a secret by itself: the password of a URL, or of a database's description."""
    try:
        if "://" in value:
            place = urlsplit(value)
            # With http a user alone is a token.
            secret = place.password or (place.username if place.scheme.startswith("http") else "")
            if secret:
                yield from (secret, unquote(secret))
    except ValueError:
        pass
    yield from _INSIDE.findall(value)


class Mask:
    """Hides some values."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        spelt = {each.encode("utf-8", "surrogateescape") for value in secrets for each in _spellings(value)}
        self._patterns = sorted(each for each in spelt if len(each) >= SECRET_LENGTH)
        self._longest = max(map(len, self._patterns), default=0)
        self._by_first: dict[int, list[bytes]] = {}
        for each in self._patterns:
            self._by_first.setdefault(each[0], []).append(each)

    def text(self, text: str) -> str:
        """*text* with each value replaced."""
        if not self._patterns:
            return text
        stream = self.stream()
        data = stream.feed(text.encode("utf-8", "surrogateescape")) + stream.end()
        return data.decode("utf-8", "surrogateescape")

    def stream(self) -> Stream:
        return Stream(self)

    def found(self, data: bytes) -> list[tuple[int, int]]:
        """Where values lie in *data*: begin and end of each; they may overlap."""
        places = []
        for each in self._patterns:
            at = data.find(each)
            while at >= 0:
                places.append((at, at + len(each)))
                at = data.find(each, at + 1)
        return places

    def settled(self, data: bytes) -> int:
        """How much of *data* is seen through: behind it a value may have begun that is not there as a whole yet."""
        for at in range(max(0, len(data) - self._longest + 1), len(data)):
            begun = data[at:]
            for each in self._by_first.get(begun[0], ()):
                if len(each) > len(begun) and each.startswith(begun):
                    return at
        return len(data)


class Stream:
    """Output on its way: a value is hidden although it comes in pieces, and nothing is held back without need."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._held = b""
        self._told = 0  # how much of the beginning of what is held has been replaced already

    def feed(self, data: bytes) -> bytes:
        """What can be shown now that *data* has come."""
        data = self._held + data
        return self._show(data, self._mask.settled(data))

    def end(self) -> bytes:
        """What was held back: nothing more comes."""
        return self._show(self._held, len(self._held))

    def _show(self, data: bytes, cut: int) -> bytes:
        if not cut:
            self._held = data
            return b""
        shown, at, told = b"", 0, 0
        for begin, end in _joined([*self._mask.found(data), *([(0, self._told)] if self._told else [])]):
            if begin >= cut:
                break
            shown += data[at:begin]
            if begin or not self._told:
                shown += HIDDEN.encode()
            at, told = min(end, cut), max(0, end - cut)
        shown += data[at:cut]
        self._held, self._told = data[cut:], told
        return shown


def _joined(places: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Places that overlap as one."""
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(places):
        if joined and begin < joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined


def _spellings(value: str) -> Iterator[str]:
    yield from _spelt(value)
    lines = value.splitlines()
    if len(lines) > 1:
        # Who prints a key or a certificate may indent it.
        for line in lines:
            if len(line.strip()) >= OTHER_LENGTH:
                yield from _spelt(line.strip())


def _spelt(value: str) -> Iterator[str]:
    data = value.encode("utf-8", "surrogateescape")
    yield value
    for quoted in (quote(data, safe=""), quote(data), quote(data, safe="!'()*~"), quote_plus(data)):
        yield quoted
        yield re.sub("%..", lambda found: found[0].lower(), quoted)
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield json.dumps(value).replace("/", "\\/")[1:-1]
    yield repr(value)[1:-1]
    yield repr(data)[2:-1]
    yield value.replace("'", "'\\''")
    yield value.replace("'", "'\"'\"'")
    yield html.escape(value)
    yield html.escape(value, quote=False)
    yield data.hex()
    yield data.hex().upper()
    yield from _base64(data)


def _base64(data: bytes) -> Iterator[str]:
    """The letters that *data* alone decides, wherever it begins in what is encoded (RFC 4648, section 4)."""
    for before in range(3):
        text = base64.b64encode(bytes(before) + data).decode()
        sure = text[(before * 8 + 5) // 6 : (before + len(data)) * 8 // 6]
        if len(sure) >= OTHER_LENGTH:
            yield sure
            yield sure.replace("+", "-").replace("/", "_")
