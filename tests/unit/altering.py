"""Where a document can be altered, for tests that try it with whatever there is in one to three places."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Place = tuple[Any, ...]
"""Keys and numbers that lead to a value."""


def places(value: Any, above: Place = ()) -> Iterator[Place]:
    """Every value in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*above, key)
        yield from places(inner, (*above, key))


def holder(document: Any, place: Place) -> Any:
    """The mapping or list that has the value at *place*; None where an alteration before took it away."""
    at = document
    try:
        for key in place[:-1]:
            at = at[key]
        at[place[-1]]
    except (KeyError, IndexError, TypeError):
        return None
    return at
