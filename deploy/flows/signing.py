"""Which key signs a bundle, and whose signatures count: what the configuration says of both."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from ..bundle import Bundle, signing
from ..config import Settings, relative_to
from ..errors import BuildError, ConfigurationError


def allowed_path(settings: Settings, directory: Path) -> Path | None:
    """The allowed signers file that is configured, if one is.

    :raises ConfigurationError: there is no such file.
    """
    if not settings.bundle.allowed_signers:
        return None
    path = relative_to(directory, settings.bundle.allowed_signers)
    if not path.is_file():
        raise ConfigurationError(f"there is no file {path}", where="deploy.bundle.allowed_signers")
    return path


def allowed_text(settings: Settings, directory: Path) -> str | None:
    """What the hosts' list has to be, None where none is configured.

    :raises ConfigurationError: the file cannot be read.
    """
    path = allowed_path(settings, directory)
    return path.read_text(encoding="utf-8", errors="replace") if path else None


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def key(settings: Settings, directory: Path) -> Path | None:
    """The key to sign with, None where nothing is to be signed.

    :raises ConfigurationError: there is none.
    """
    sign = settings.bundle.sign
    if sign is False or sign == "":
        return None
    chosen = sign if isinstance(sign, str) else settings.identity
    if not chosen:
        return signing.default_key(Path.home())
    path = relative_to(directory, chosen)
    if not path.is_file():
        raise ConfigurationError(f"there is no key {path}", where="deploy.bundle.sign")
    return path


def signed(settings: Settings, directory: Path, bundle: Bundle) -> tuple[Bundle, str]:
    """*bundle* with a signature, where it is to have one, and who signed it in words ('' for nobody).

    A signature that it has already stays where it is of a signer that is allowed, or of our own key. Where nothing is
    to be signed here, a signature that it has goes along unread: the hosts judge it.

    :raises ConfigurationError: the key cannot be used.
    """
    chosen = key(settings, directory)
    if chosen is None:
        return bundle, ""
    allowed = allowed_path(settings, directory)
    if bundle.signature:
        try:
            if allowed:
                return bundle, str(signing.verify(bundle.manifest, bundle.signature, allowed))
            signer = signing.examine(bundle.manifest, bundle.signature)
            if signer.key.endswith(signing.fingerprint(chosen)):
                return bundle, str(signer)
        except BuildError:
            pass  # altered, or of somebody who is not allowed any more: it is signed anew
    signature = signing.sign(bundle.manifest, chosen)
    if allowed:
        signer = signing.verify(bundle.manifest, signature, allowed)
    else:
        signer = signing.examine(bundle.manifest, signature)
    bundle.wheelhouse.sign(bundle.manifest, signature)
    return replace(bundle, signature=signature), str(signer)
