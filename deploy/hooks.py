"""Points of a deploy at which a project runs something of its own, and the decorator for functions of its fabfile.

Light: a fabfile imports this whenever ``fab`` starts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from invoke.exceptions import Exit

from .errors import ExitCode

POINTS = (
    "before_build",
    "after_build",
    "before_push",
    "after_push",
    "before_deps",
    "after_deps",
    "before_migrate",
    "after_migrate",
    "before_activate",
    "after_activate",
    "before_restart",
    "after_restart",
    "after_deploy",
    "before_rollback",
    "after_rollback",
    "on_failure",
)
"""In the order in which a deploy meets them; `deploy.config.Hooks` says when each is."""

HERE_ONLY = ("before_build", "after_build")
"""Points at which no host has been reached."""

Place = Literal["hosts", "primary", "local"]


@dataclass(frozen=True, slots=True)
class Release:
    """What a hook is told of the release that it is about, on one host.

    :ivar app: the application's name.
    :ivar stage: the stage's.
    :ivar host: the host's, as reports call it; '' for a hook that runs locally.
    :ivar identifier: the release's name; '' where it has none yet.
    :ivar path: its directory on the host; '' where it has none.
    :ivar venv: its virtual environment's; it is there from ``after_deps`` on.
    :ivar revision: the commit, or what stands for it.
    :ivar former: the name of the release that served when the run began; '' where there was none.
    :ivar error: what failed, in one line, at ``on_failure``.
    """

    app: str
    stage: str
    host: str = ""
    identifier: str = ""
    path: str = ""
    venv: str = ""
    revision: str = ""
    former: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class FunctionHook:
    """A function of the fabfile's.

    :ivar where: on which hosts it is called, or ``local`` for once and without one.
    :ivar timeout: seconds that its commands may take, all together; None for no limit.
    """

    point: str
    function: Callable[[Any, Release], object]
    where: Place
    timeout: float | None = None

    def __str__(self) -> str:
        return f"{self.function.__name__} ({_place(self.function)})"


_functions: list[FunctionHook] = []

_Function = TypeVar("_Function", bound=Callable[..., object])


def hook(point: str, *, on: Place | None = None, timeout: float | None = None) -> Callable[[_Function], _Function]:
    """Call the decorated function at *point* of a deploy, with a connection and the :class:`Release`.

    The connection is Fabric's own, logged in already; ``run()`` is the login user's there. Whatever the function raises
    means that the hook failed.

    :param point: one of :data:`POINTS`.
    :param on: ``hosts`` (each, in parallel; the default), ``primary``, or ``local``: once, with Invoke's context
        instead of a connection. Before and after a build only ``local`` can be.
    :param timeout: seconds, counted from the call, after which the command that runs then is ended with all that it
        began, and no other is begun: of ``run()``, ``sudo()`` and ``local()``. What the function does itself is not
        interrupted. None for no limit.
    :raises invoke.Exit: it does not say what to do. The fabfile is being imported: Fabric prints the message, and ends.
    """
    if callable(point):
        raise _wrong(point, "a hook needs its point", 'write  @hook("after_activate")')

    def register(function: _Function) -> _Function:
        if not callable(function) or inspect.iscoroutinefunction(function):
            raise _wrong(function, "a hook must be a function, and not an asynchronous one")
        if point not in POINTS:
            raise _wrong(
                function, f"there is no hook point {point!r}{_nearly(point)}", f"there are {', '.join(POINTS)}"
            )
        where = on or ("local" if point in HERE_ONLY else "hosts")
        if where not in ("hosts", "primary", "local"):
            raise _wrong(function, f"on must be hosts, primary or local, not {on!r}")
        if point in HERE_ONLY and where != "local":
            raise _wrong(function, f"{point} is before any host is reached, so on must be local")
        if timeout is not None and (not _is_time(timeout)):
            raise _wrong(function, f"timeout must be a number of seconds above 0, not {timeout!r}")
        try:
            inspect.signature(function).bind(None, None)
        except TypeError:
            raise _wrong(
                function, "a hook is called with two arguments", "def purge(connection, release): ..."
            ) from None
        _functions.append(FunctionHook(point, function, where, timeout))
        return function

    return register


def functions(point: str) -> list[FunctionHook]:
    """The functions of *point*, in the order of the fabfile."""
    return [each for each in _functions if each.point == point]


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _wrong(function: Any, what: str, hint: str = "") -> Exit:
    return Exit(
        f"error: {_place(function)}: {what}" + (f"\n  {hint}" if hint else ""), code=int(ExitCode.CONFIGURATION)
    )


def _place(function: Any) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{Path(code.co_filename).name}, line {code.co_firstlineno}" if code else repr(function)


def _nearly(point: str) -> str:
    from .config.spelling import nearly

    return nearly(point, POINTS)
