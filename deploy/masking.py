"""What nobody is to see, taken out of whatever a person, a log or a manifest gets to see.

Credentials in URLs are known by their form. Other secrets are told to :func:`hide` by whoever learns of them: values of
`env:`, passwords of Fabric's configuration. Those of a host's `.env` never come here: the host hides them itself.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable

# `user:password@` with any scheme, and `token@` with http, where a user alone is one (ssh://git@host names no secret).
_CREDENTIALS = re.compile(r"\b((?:\w+\+)?https?://)[^/\s@'\"]+@|\b([\w+]+://)[^/\s@:'\"]*:[^/\s@'\"]*@")

_mutex = threading.Lock()
_secrets: set[str] = set()
_text_mask = None


def hide(secrets: Iterable[str]) -> None:
    """From now on, in this process, :func:`masked` hides these values, however they are spelt."""
    global _text_mask
    # Imported here, because hardly any task has a secret to hide, and each begins with importing this.
    from .hostside.secrecy import SECRET_LENGTH, Mask

    with _mutex:
        new = {value for value in secrets if len(value) >= SECRET_LENGTH} - _secrets
        if new:
            _secrets.update(new)
            _text_mask = Mask(_secrets)


def masked(text: str) -> str:
    """*text* without the secrets that are known and the credentials of URLs (``https://***@host/``)."""
    if _text_mask is not None:
        text = _text_mask.text(text)
    return _CREDENTIALS.sub(lambda found: f"{found[1] or found[2]}***@", text) if "@" in text else text
