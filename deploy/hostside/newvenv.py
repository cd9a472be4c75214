"""A new virtual environment, assembled offline from links into the store of wheels.

Apart from :mod:`.venvs`, because what is imported here takes longer than most of what a host is asked.
"""

from __future__ import annotations

import errno
import os
import sys
import venv
from collections.abc import Sequence
from typing import Any

from . import disk, troubles
from .assembly import Assembly
from .venvs import MARKER, path
from .wheelstore import Stored


class _Builder(venv.EnvBuilder):
    """The interpreter is a link, or there is no venv: where a link fails, `venv` itself quietly makes a copy."""

    def symlink_or_copy(self, src: Any, dst: Any, relative_symlinks_ok: bool = False) -> None:
        if not os.path.islink(dst):
            os.symlink(os.path.basename(src) if relative_symlinks_ok else src, dst)


def make(base: str, name: str, wheels: Sequence[Stored]) -> str:
    """Make the venv *name* of *wheels*, which have their bytecode, beside its place: the directory where it is.

    Every path written into it is the final one; :func:`place` puts it there.

    :raises Failure: two wheels bring the same file.
    """
    final = path(base, name)
    partial = os.path.join(base, "venvs", disk.PARTIAL + name)
    disk.remove(partial)
    try:
        _Builder(symlinks=True, with_pip=False).create(partial)
    except FileExistsError as error:
        # Nothing was there: `venv` takes for lacking what it may not look at, and makes it again.
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), troubles.named(error)) from None
    _rename_inside(partial, final)
    assembly = Assembly(partial, final, reserved=(MARKER,))
    for one in wheels:
        assembly.install(one)
    document = {"wheels": [one.sha256 for one in wheels], "python": sys.version.split()[0]}
    disk.write_json(os.path.join(partial, MARKER), document)
    return partial


def place(base: str, name: str, partial: str) -> None:
    """Give a venv its place, complete and durable."""
    final = path(base, name)
    disk.sync_file_system(partial)
    # What is in its place is no complete venv; yet something may run in it, so it stays until the very end.
    disk.replace_directory(partial, final)
    disk.sync_directory(os.path.dirname(final))


def _rename_inside(partial: str, final: str) -> None:
    """Put the final path where `venv` wrote the one it was made at."""
    texts = [os.path.join(partial, "pyvenv.cfg")]
    scripts = os.path.join(partial, "bin")
    texts += [os.path.join(scripts, name) for name in os.listdir(scripts) if name.lower().startswith("activate")]
    for text in texts:
        with open(text, encoding="utf-8", newline="") as stream:
            content = stream.read()
        with open(text, "w", encoding="utf-8", newline="") as stream:
            stream.write(content.replace(partial, final).replace(os.path.basename(partial), os.path.basename(final)))
