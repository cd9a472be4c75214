"""Credentials in URLs: taken out of whatever a person, a log or a manifest gets to see."""

from __future__ import annotations

import re

# `user:password@` with any scheme, and `token@` with http, where a user alone is one (ssh://git@host names no secret).
_CREDENTIALS = re.compile(r"\b((?:\w+\+)?https?://)[^/\s@'\"]+@|\b([\w+]+://)[^/\s@:'\"]*:[^/\s@'\"]*@")


def masked(text: str) -> str:
    """*text* with the credentials of every URL replaced: ``https://***@host/``."""
    return _CREDENTIALS.sub(lambda found: f"{found[1] or found[2]}***@", text) if "@" in text else text
