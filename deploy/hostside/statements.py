"""The import statements of a Python file, found by `ast`: nothing is executed.

A statement is *guarded* where the program says itself that it may do without: ``try`` with a handler for ImportError
that goes on, ``suppress(ImportError)``, ``if TYPE_CHECKING``, ``if DEBUG``, tests of platform, version or presence.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Optional

_CAUGHT = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}

# Names in the test of an `if` that make it a guard: what cannot be known before it runs, or is not so on a server.
_TESTS = {
    "TYPE_CHECKING", "DEBUG", "platform", "version_info", "hexversion", "implementation", "python_implementation",
    "find_spec", "find_loader", "modules", "PYPY",
}  # fmt: skip
_VERSION = re.compile(r"_?(IS_)?PY(THON)?_?\d[\d_]*")
_TESTED_OF = {("os", "name"), ("sys", "version")}

# Whoever mentions one of these may make names that no statement shows.
_DYNAMIC = {"globals", "locals", "vars", "setattr", "exec", "eval", "__getattr__", "__path__", "modules", "__dict__"}


class Import(NamedTuple):
    """One import of a file: ``from .a import b, c`` is ``(line, 1, "a", ["b", "c"], False)``.

    *names* is None in ``import a.b``. *level* counts the leading dots.
    """

    line: int
    level: int
    module: str
    names: Optional[list[str]]  # noqa: UP045 - Python 3.9
    guarded: bool

    @property
    def top(self) -> str:
        """The first part of the module's name."""
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        if self.names is None:
            return f"import {self.module}"
        return f"from {'.' * self.level}{self.module} import {', '.join(self.names)}"


class Found(NamedTuple):
    """What a file says.

    *binds* are the names that it gives a value anywhere; None where they cannot all be known. *problem* is why it
    could not be read, as ``LINE: words``, and then there is nothing else.
    """

    imports: list[Import]
    binds: Optional[list[str]]  # noqa: UP045
    problem: str


def read(content: bytes) -> Found:
    """Look at the source of a file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(content)
        guarded = _Guards(tree)
        imports = [each for node in tree.body for each in guarded.statement(node, False)]
    except SyntaxError as error:
        return Found([], None, f"{error.lineno or 1}: {error.msg}")
    except (ValueError, RecursionError, MemoryError) as error:
        return Found([], None, f"1: {error or type(error).__name__}")
    return Found([each for each in imports if each.module != "__future__"], None, "")


def read_package(content: bytes) -> Found:
    """:func:`read` for an ``__init__.py``, with the names that it binds."""
    found = read(content)
    if found.problem:
        return found
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return found._replace(binds=_bound(ast.parse(content)))


class _Guards:
    """The walk through one file; expressions hold no statements, so it never looks into them."""

    def __init__(self, tree: ast.Module) -> None:
        # A module that is tried once is optional in the whole file: `if HAS_X:` follows.
        self._optional: set[str] = set()
        for node in _statements(tree):
            if isinstance(node, ast.Try) and any(_goes_on(each) and _names_it(each) for each in node.handlers):
                self._optional.update(_tops(node.body))

    def statement(self, node: ast.AST, guarded: bool) -> Iterator[Import]:
        """The imports in one statement and in what it holds."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, 0, alias.name, None, guarded or self._is_optional(alias.name))
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            optional = not node.level and self._is_optional(module)
            yield Import(node.lineno, node.level, module, [alias.name for alias in node.names], guarded or optional)
        elif isinstance(node, ast.Try) or type(node).__name__ == "TryStar":
            yield from self._try(node, guarded)
        elif isinstance(node, ast.If):
            # `else` as well: which of the two runs is not known here.
            names = _names(node.test)
            inside = guarded or _is_guard(node.test, names)
            otherwise = guarded or (inside and "TYPE_CHECKING" not in names)
            if isinstance(node.test, ast.UnaryOp) and "TYPE_CHECKING" in names:
                inside, otherwise = guarded, True
            yield from self._all(node.body, inside)
            yield from self._all(node.orelse, otherwise)
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            yield from self._all(node.body, guarded or any(_suppresses(item) for item in node.items))
        else:
            yield from self._all(_inner(node), guarded)

    def _all(self, nodes: Iterable[ast.AST], guarded: bool) -> Iterator[Import]:
        for node in nodes:
            yield from self.statement(node, guarded)

    def _try(self, node: Any, guarded: bool) -> Iterator[Import]:
        inside = guarded or any(map(_goes_on, node.handlers))
        yield from self._all(node.body, inside)
        for handler in node.handlers:
            yield from self._all(handler.body, guarded or _catches(handler))
        yield from self._all(node.orelse, inside)
        yield from self._all(node.finalbody, guarded)

    def _is_optional(self, module: str) -> bool:
        return module.partition(".")[0] in self._optional


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """All statements below *node*, whatever they are nested in."""
    for inner in _inner(node):
        yield inner
        yield from _statements(inner)


def _inner(node: ast.AST) -> Iterator[ast.AST]:
    for block in ("body", "handlers", "orelse", "finalbody", "cases"):
        nodes = getattr(node, block, None)
        if isinstance(nodes, list):  # the body of a lambda is an expression
            yield from nodes


def _catches(handler: ast.ExceptHandler) -> bool:
    return not _caught(handler) or bool(_caught(handler) & _CAUGHT)


def _names_it(handler: ast.ExceptHandler) -> bool:
    return bool(_caught(handler) & {"ImportError", "ModuleNotFoundError"})


def _caught(handler: ast.ExceptHandler) -> set[str]:
    """The names of the exceptions that it is for; none where it is for all."""
    if handler.type is None:
        return set()
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return {_last_name(kind) or "?" for kind in kinds}


def _goes_on(handler: ast.ExceptHandler) -> bool:
    """Whether the program does without, instead of saying it in other words."""
    if not _catches(handler):
        return False
    last = handler.body[-1]
    if isinstance(last, ast.Raise):
        return False
    ends = isinstance(last, ast.Expr) and isinstance(last.value, ast.Call) and _last_name(last.value.func)
    return ends not in ("exit", "_exit", "abort")


def _suppresses(item: ast.withitem) -> bool:
    call = item.context_expr
    return (
        isinstance(call, ast.Call)
        and _last_name(call.func) == "suppress"
        and any(_last_name(kind) in _CAUGHT for kind in call.args)
    )


def _is_guard(test: ast.expr, names: set[str]) -> bool:
    if names & _TESTS or any(map(_VERSION.fullmatch, names)):
        return True
    return any(
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in _TESTED_OF
        for node in ast.walk(test)
    )


def _names(test: ast.expr) -> set[str]:
    return {_last_name(node) for node in ast.walk(test)} - {""}


def _last_name(node: Any) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _tops(nodes: Iterable[ast.stmt]) -> Iterator[str]:
    """The first parts of the modules that are imported right here."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _bound(tree: ast.Module) -> Optional[list[str]]:  # noqa: UP045
    """Every name that a file gives a value, wherever; None where it may make others."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            # `from . import a` finds a submodule; it is no reason for a name to be there.
            own = isinstance(node, ast.ImportFrom) and node.level == 1 and not node.module
            for alias in node.names:
                if alias.asname or alias.name == "*" or not own:
                    found.add(alias.asname or alias.name.partition(".")[0])
        elif isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            if node.attr in _DYNAMIC:
                return None
        elif isinstance(node, ast.Global):
            found.update(node.names)
    return None if "*" in found or found & _DYNAMIC else sorted(found)
