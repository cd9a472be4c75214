"""The log of Invoke, Fabric and Paramiko (``fab --debug``): they know no secrets, so it is masked where it is written.

Invoke writes down the whole configuration while it is read, before anything of ours runs. What is a secret then is
known by the names of keys alone.
"""

from __future__ import annotations

import logging
import re

from ..masking import masked

# A key and what it holds in the repr() of a mapping: one text, or a list, or a mapping that is not looked into.
_TEXT = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_ITEM = re.compile(rf"""(?P<key>'[\w.-]+'|"[\w.-]+"): (?P<value>{_TEXT}|\[(?:{_TEXT}|[^\]'"])*\]|[\w.+-]+)""")
_INSIDE = re.compile(r"\b(password|passwd|pwd|secret|token)=[^\s;&'\"]+", re.IGNORECASE)


class _Masking(logging.Filter):
    """Replaces a record's message by one without secrets; lets every record through."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = hidden(record.getMessage())
        record.args = None
        if record.exc_info and not record.exc_text:
            # A formatter takes what is there already.
            record.exc_text = hidden(logging.Formatter().formatException(record.exc_info))
        return True


def hidden(text: str) -> str:
    """*text* without what is known to be secret, and without what keys in it call so."""
    from ..hostside.secrecy import HIDDEN, looks_secret

    def item(found: re.Match[str]) -> str:
        return f"{found['key']}: '{HIDDEN}'" if looks_secret(found["key"]) and found["value"] != "None" else found[0]

    return masked(_INSIDE.sub(rf"\1={HIDDEN}", _ITEM.sub(item, text)))


def guard() -> None:
    """Mask what the handlers write that are there; nothing is to be done where nobody logs."""
    for handler in logging.getLogger().handlers:
        if not any(isinstance(each, _Masking) for each in handler.filters):
            handler.addFilter(_Masking())
