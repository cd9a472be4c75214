"""Deploy a Python application to servers with Fabric: build once, install offline, roll back when it is not healthy.

A fabfile needs one line: ``from deploy import ns``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .hooks import Release, hook
    from .tasks import ns

__all__ = ["Release", "__version__", "hook", "ns"]


def __getattr__(name: str) -> Any:
    # The tasks read the project's fabric.yaml when they are made; who imports a part of the house does not want that.
    if name == "ns":
        from .tasks import ns

        return ns
    if name in ("Release", "hook"):
        from . import hooks

        return getattr(hooks, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
