"""Lock file → wheels → manifest. Local; knows no host."""

from __future__ import annotations

from .create import Bundle, create_bundle, known_bundle
from .manifest import Manifest, Origin, Wheel
from .target import Target
from .wheelhouse import Wheelhouse

__all__ = ["Bundle", "Manifest", "Origin", "Target", "Wheel", "Wheelhouse", "create_bundle", "known_bundle"]
