"""Lock file → wheels → manifest. Local; knows no host."""

from __future__ import annotations

from .create import Bundle, create_bundle, known_bundle
from .locks import Terms
from .manifest import Manifest, Origin, Wheel
from .sources import Places
from .target import Target
from .wanted import Wanted, wanted
from .wheelhouse import Wheelhouse

__all__ = [
    "Bundle",
    "Manifest",
    "Origin",
    "Places",
    "Target",
    "Terms",
    "Wanted",
    "Wheel",
    "Wheelhouse",
    "create_bundle",
    "known_bundle",
    "wanted",
]
