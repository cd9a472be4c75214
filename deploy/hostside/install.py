"""A venv out of the store of wheels: what `update-deps` asks of a host. Opens no network connection."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from . import checking, disk, releases, signature, venvs, wheelstore
from .failure import Failure
from .layout import Layout
from .shapes import Checked, Known, Signed, Wheel
from .wheelstore import Stored


def venv_name(digest: str) -> str:
    """One venv per bundle and interpreter, so that two interpreters on one host do not share one."""
    interpreter = f"{digest}\0{os.path.realpath(sys.executable)}\0{sys.implementation.cache_tag}"
    return hashlib.sha256(interpreter.encode()).hexdigest()[:32]


def check_digest(target: str, wheels: list[Wheel], digest: str) -> None:
    """Recompute the bundle's digest over what the manifest says.

    :raises Failure: the manifest was tampered with.
    """
    listed = sorted([wheel["filename"], wheel["sha256"], wheel["size"]] for wheel in wheels)
    canonical = json.dumps({"target": target, "wheels": listed}, sort_keys=True, separators=(",", ":"))
    if hashlib.sha256(canonical.encode()).hexdigest() != digest:
        raise Failure(
            "the bundle's manifest does not match its digest; it was altered",
            "run fab create-bundle",
            "corrupt",
        )


def install(
    layout: Layout,
    target: str,
    digest: str,
    wheels: list[Wheel],
    release: str,
    manifest: dict[str, Any],
    check: Checked,
    progress: Callable[[str], None],
    signed: Signed | None = None,
) -> dict[str, Any]:
    """Make the venv of a bundle, check it, and complete *release* with it ('' to make only the venv).

    :param check: what :func:`checking.check` is told: ``imports_of``, ``ignore`` and ``env``.
    :param signed: ``manifest``, the hash of the whole manifest, and its ``signature``, '' where nobody signed.
    :returns: ``missing``: the SHA-256 of wheels that have to be sent first (then nothing was done), else ``venv``,
        ``reused`` and ``checked``; with problems in the last, the release is not complete.
    """
    check_digest(target, wheels, digest)
    given = signed or Signed(manifest="", signature="")
    signature.check(layout, digest, str(manifest.get("lock", "")), given["manifest"], given["signature"])
    name = venv_name(digest)
    reused = venvs.exists(layout.base, name)
    if not reused:
        missing = wheelstore.missing(layout.base, wheels)
        if missing:
            return {"missing": missing}
        disk.sweep(layout.path("venvs"))
        progress("compiling bytecode")
        damaged = _compile(layout, opened(layout, wheels))
        if not damaged:
            progress("assembling the venv")
            damaged = _assemble(layout, name, opened(layout, wheels))
        if damaged:
            disk.sweep(layout.path("venvs"))
            return {"missing": thrown_out(layout, damaged)}
    progress("checking modules and imports")
    checked = checking.check(layout, name, release, check["imports_of"], check["ignore"], check["env"])
    if release and not checked["problems"]:
        releases.complete(layout, release, name, {**manifest, "bundle": digest})
    return {"missing": [], "venv": name, "reused": reused, "checked": checked}


def _compile(layout: Layout, stored: list[Stored]) -> dict[str, str]:
    """Make the bytecode that lacks; the damaged wheels, where that fails because of them, else {}."""
    try:
        wheelstore.compile_lacking(layout.base, stored)
    except (Failure, OSError):
        with wheelstore.Verification(stored) as verification:
            if damaged := verification.damaged():
                return damaged
        raise
    return {}


def _assemble(layout: Layout, name: str, stored: list[Stored]) -> dict[str, str]:
    """Make the venv, unless wheels are damaged: these, as :meth:`wheelstore.Verification.damaged` says.

    Making and verifying both go through the whole store, so they do it at the same time; a venv that has no name yet is
    nobody's.
    """
    from . import newvenv  # takes long to import, and most deploys find the venv there

    with wheelstore.Verification(stored) as verification:
        try:
            partial = newvenv.make(layout.base, name, stored)
        except (Failure, OSError):
            if damaged := verification.damaged():  # that is why
                return damaged
            raise
        if damaged := verification.damaged():
            return damaged
    newvenv.place(layout.base, name, partial)
    return {}


def opened(layout: Layout, wheels: list[Wheel]) -> list[Stored]:
    return [wheelstore.open_stored(layout.base, wheel["sha256"]) for wheel in wheels]


def thrown_out(layout: Layout, damaged: dict[str, str]) -> list[str]:
    """Remove damaged wheels from the store; they have to be sent again.

    :param damaged: as :meth:`wheelstore.Verification.damaged` says.
    :raises Failure: a venv holds links into a damaged wheel, so that one is damaged, too: a person has to know.
    """
    shared = ""
    for sha256, what in damaged.items():
        if holders := venvs.holders(layout.base, sha256):
            shared = f"{what}; venvs {', '.join(name[:12] for name in holders)} share the damaged file"
        wheelstore.remove(layout.base, sha256)
    if shared:
        raise Failure(shared, "look at the disk, then deploy again", "corrupt")
    return list(damaged)


def lacking(layout: Layout, digest: str, wheels: list[Known]) -> dict[str, Any]:
    """What :func:`install` would have to do; read-only."""
    if venvs.exists(layout.base, venv_name(digest)):
        return {"missing": [], "reused": True}
    return {"missing": wheelstore.missing(layout.base, wheels), "reused": False}
