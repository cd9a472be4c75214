"""Is a document of the shape that it is to have? What comes by the wire, or lies on a disk, may be anything.

A shape is written as an annotation is: ``str``, ``list[int]``, ``dict[str, list[str]] | None``, ``tuple[str, int]`` (a
list of that many), or the name of a class in here (a mapping with these keys at least).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Callable, TypedDict

from .failure import Failure

_WORDS = re.compile(r"\w+|[][|,]")

Tree = tuple[str, tuple["Tree", ...]]
"""A shape, read: its name and what is in its brackets; alternatives have the name ``|``."""

_PLAIN: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "None": (type(None),),
}
_LISTS = ("list", "Sequence", "Iterable")
_MAPPINGS = ("dict", "Mapping")
_GIVEN = ("stream", "progress")
"""Arguments of operations that the program gives itself."""


class Request(TypedDict):
    """What the laptop asks for: operations with their arguments, on what lies below a base path."""

    base: str
    ops: list[tuple[str, dict[str, Any]]]


class Known(TypedDict):
    """A wheel that is only asked for."""

    filename: str
    sha256: str


class Wheel(Known):
    """A wheel as a bundle's manifest names it."""

    size: int


class Shared(TypedDict):
    """What of a release is shared."""

    files: list[str]
    dirs: list[str]


class Checked(TypedDict):
    """What is looked at before a release may serve."""

    imports_of: str
    ignore: list[str]
    env: dict[str, str]


class Signed(TypedDict):
    """A bundle's signature and the hash of what it signs besides."""

    manifest: str
    signature: str


class _Health(TypedDict):
    url: str
    timeout: float
    interval: float


class Health(_Health, total=False):
    """How health is asked."""

    host: str | None


class _Service(TypedDict):
    manager: str


class Service(_Service, total=False):
    """Who manages a service, and what it is called there."""

    unit: str
    user: bool
    pidfile: str
    pid: int


class Units(TypedDict):
    """The unit files of a release, and what is put into them."""

    files: list[str]
    values: dict[str, Any]
    of_user: bool


class _Held(TypedDict):
    token: str
    user: str
    host: str
    pid: int
    started: float
    expires: float


class Held(_Held, total=False):
    """`.deploy/lock.json`."""

    message: str
    boot: str
    until: float
    expiry: float
    since: tuple[str, float]


class Owner(TypedDict):
    """Who takes the deploy lock."""

    user: str
    host: str
    pid: int
    message: str


class Records(TypedDict):
    """`.deploy/releases.json`."""

    schema: int
    activations: int
    releases: dict[str, Record]


class Record(TypedDict, total=False):
    """What is known of a release; see :mod:`deploy.hostside.layout`."""

    state: str
    activation: int
    tree: str
    venv: str
    bundle: str
    revision: str


class _Migration(TypedDict):
    state: str


class Migration(_Migration, total=False):
    """What is known of a release's migration; see :mod:`deploy.hostside.migrations`."""

    by: str
    started: str
    ended: str
    exited: int | None
    heads: list[str] | None
    of: str


class Database(TypedDict):
    """What is known of the schema as it is now."""

    release: str
    heads: list[str] | None
    time: str


class Migrations(TypedDict):
    """`.deploy/migrations.json`; ``database`` is empty until somebody was at it."""

    schema: int
    releases: dict[str, Migration]
    database: Database | dict[str, None]


class Closed(TypedDict):
    """`.deploy/maintenance.json`: what each balancer's servers were at."""

    balancers: dict[str, dict[str, str]]


class Drained(TypedDict):
    """`.deploy/drained.json`."""

    balancers: list[str]


class Checks(TypedDict):
    """`.deploy/checks.json`."""

    files: dict[str, tuple[list[tuple[int, int, str, list[str] | None, bool]], list[str] | None, str]]
    known: dict[str, list[str]]
    secret: str


class Sealed(TypedDict):
    """What is around a document in the store of wheels."""

    schema: int
    value: Any
    seal: str


class Stored(TypedDict):
    """`wheel.json` in the store of wheels."""

    filename: str
    dist_info: str
    data: str
    pure: bool
    files: list[tuple[str, str, str, str]]
    entry_points: list[tuple[str, str, str]]


class Venv(TypedDict):
    """`.venv.json`."""

    wheels: list[str]


class Repository(TypedDict):
    """`repo/deploy.json`."""

    kind: str
    form: str
    size: int


_CLASSES = {name: kind for name, kind in globals().items() if hasattr(kind, "__required_keys__")}
"""Names that are none of these say nothing: ``Any``, and what a module calls something for itself."""


def assert_call(name: str, operation: Callable[..., Any], arguments: Any) -> None:
    """Refuse to call an operation with what it does not take.

    :raises Failure: kind ``refused``; it says which argument is wrong.
    """
    if not isinstance(arguments, dict):
        raise _refused(name, "the arguments are no mapping")
    # The first is the layout. (inspect.signature would say the same, and takes long to import.)
    taken = operation.__code__.co_varnames[1 : operation.__code__.co_argcount]
    needed = taken[: len(taken) - len(operation.__defaults__ or ())]
    for unknown in arguments.keys() - set(taken):
        raise _refused(name, f"it takes no {unknown!a}")
    for each in taken:
        if each in _GIVEN:
            continue
        if each in arguments:
            if wrong := misfit(arguments[each], operation.__annotations__.get(each, "Any")):
                raise _refused(name, f"{each}{wrong}")
        elif each in needed:
            raise _refused(name, f"{each} is missing")


def _refused(name: str, what: str) -> Failure:
    return Failure(f"the request {name!r} is not understood: {what}", "is fabric-wheelhouse of one version?", "refused")


def misfit(value: Any, shape: str) -> str:
    """Where *value* is not of *shape*: ``[3].size is not an int``; '' where it is."""
    return _misfit(value, _read(shape), "")


def _misfit(value: Any, tree: Tree, where: str) -> str:
    name, inner = tree
    if name == "|":
        wrong = [_misfit(value, each, where) for each in inner]
        return "" if "" in wrong else wrong[0]
    if name in _PLAIN:
        fits = isinstance(value, _PLAIN[name]) and (name == "bool" or not isinstance(value, bool))
        if fits and name == "str":
            return _unfit_text(value, where)
        if fits and name == "float" and not abs(value) < 1 << 53:
            return f"{where} is too large"
        return "" if fits else f"{where} is not of the type {name}"
    if name in _LISTS or name == "tuple":
        return _of_list(value, name, inner, where)
    if name in _MAPPINGS:
        return _of_mapping(value, inner, where)
    kind = _CLASSES.get(name)
    return _of_class(value, kind, where) if kind else ""


def _unfit_text(value: str, where: str) -> str:
    """No name of a file, argument or variable can have a NUL, or letters that this system cannot write."""
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return f"{where} cannot be written on this host ({value!a:.80})"
    return f"{where} has a NUL in it" if "\0" in value else ""


def _first(found: Iterator[str]) -> str:
    return next(filter(None, found), "")


def _of_list(value: Any, name: str, inner: tuple[Tree, ...], where: str) -> str:
    if not isinstance(value, list):
        return f"{where} is not a list"
    if name == "tuple":
        if len(value) != len(inner):
            return f"{where} has not {len(inner)} items"
        return _first(_misfit(item, each, f"{where}[{at}]") for at, (item, each) in enumerate(zip(value, inner)))
    return _first(_misfit(item, inner[0], f"{where}[{at}]") for at, item in enumerate(value))


def _of_mapping(value: Any, inner: tuple[Tree, ...], where: str) -> str:
    if not isinstance(value, dict):
        return f"{where} is not a mapping"
    return _first(_misfit(key, inner[0], f"{where} key") for key in value) or _first(
        _misfit(item, inner[1], f"{where}.{key}") for key, item in value.items()
    )


def _of_class(value: Any, kind: Any, where: str) -> str:
    if not isinstance(value, dict):
        return f"{where} is not a mapping"
    for key, annotation in kind.__annotations__.items():
        if key in value:
            shape = getattr(annotation, "__forward_arg__", annotation)
            if wrong := _misfit(value[key], _read(shape), f"{where}.{key}"):
                return wrong
        elif key in kind.__required_keys__:
            return f"{where}.{key} is missing"
    if kind is Service and value["manager"] == "systemd" and "unit" not in value:
        return f"{where}.unit is missing"
    return ""


@cache
def _read(shape: str) -> Tree:
    words = _WORDS.findall(shape)
    tree = _alternatives(words)
    assert not words, shape
    return tree


def _alternatives(words: list[str]) -> Tree:
    found = [_one(words)]
    while words[:1] == ["|"]:
        words.pop(0)
        found.append(_one(words))
    return found[0] if len(found) == 1 else ("|", tuple(found))


def _one(words: list[str]) -> Tree:
    name, inner = words.pop(0), []
    if words[:1] == ["["]:
        while words.pop(0) != "]":
            inner.append(_alternatives(words))
    return name, tuple(inner)
