"""What a misspelt word probably was."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


def nearly(word: str, known: Iterable[Any]) -> str:
    """``; did you mean …?``, or '' where nothing known is close."""
    close = get_close_matches(word, [str(name) for name in known], n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""
