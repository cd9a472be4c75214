"""The one error of the host program: it travels to the laptop as a value."""

from __future__ import annotations


class Failure(Exception):
    """An expected failure on the host.

    :param what: what happened, one sentence.
    :param hint: what to do next.
    :param kind: a word the laptop can act on (``locked``, ``corrupt``, ``disk``, ...).
    """

    def __init__(self, what: str, hint: str = "", kind: str = "failed") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.kind = kind
