"""Missing wheels up, the venv made offline, the release completed; nothing that serves is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..bundle import Bundle, Wheel
from ..errors import StagingFailed
from ..fleet import parallel
from ..host.connection import Host
from ..host.session import Answer
from ..version import __version__
from . import checking, commands, units
from .bundling import Bundles
from .run import Run

CHUNK = 1 << 18


def update_deps(run: Run, bundles: Bundles, releases: Mapping[Host, str]) -> None:
    """Give every host the venv of its bundle, and complete its release with it ('' for the venv alone).

    :raises StagingFailed: a wheel is damaged, the disk is full, a module does not open, an import does not resolve, ...
    """
    checking.judge(run, *parallel.attempt(run.hosts, lambda host: install(run, host, bundles[host], releases[host])))


def ask(run: Run, host: Host, bundle: Bundle, release: str) -> Answer:
    """Ask *host* for the venv of *bundle*, without waiting; :func:`install` takes the answer."""
    return host.ask([("install", _request(run, host, bundle, release))])


def install(run: Run, host: Host, bundle: Bundle, release: str, asked: Answer | None = None) -> dict[str, Any]:
    """Give one host the venv of *bundle*, and complete *release* with it, if nothing is in the way.

    :returns: what the host found; see :func:`checking.judge`.
    :raises HostFailure, StagingFailed: it cannot be made.
    """
    with run.report.step("update deps", host.name) as step:
        result = host.answer(asked or ask(run, host, bundle, release), step.progress)[0]
        sent: list[Wheel] = []
        # What is in the store may turn out to be damaged only when what was not there has come. Nothing is sent twice.
        while missing := set(result["missing"]):
            wanted = [wheel for wheel in bundle.manifest.wheels if wheel.sha256 in missing and wheel not in sent]
            if not wanted:
                raise StagingFailed("wheels are missing after the upload", where=host.name, hint="deploy again")
            result = _upload_and_install(run, host, bundle, wanted, release, step.progress)
            sent += wanted
        made = "is there already" if result["reused"] else f"made offline from {len(bundle.manifest.wheels)} wheels"
        size = sum(wheel.size for wheel in sent) / (1 << 20)
        uploaded = f", {len(sent)} uploaded ({size:.1f} MiB)" if sent else ""
        step.outcome = f"venv {result['venv'][:12]} {made}{uploaded}"
    found: dict[str, Any] = result["checked"]
    checking.show(run, host, found)
    if not found["problems"]:
        units.check(run, host, release)
    return found


def _request(run: Run, host: Host, bundle: Bundle, release: str) -> dict[str, Any]:
    manifest = bundle.manifest
    wheels = [
        {"filename": w.filename, "sha256": w.sha256, "size": w.size, "name": w.name, "version": w.version}
        for w in manifest.wheels
    ]
    return {
        "target": manifest.target.name,
        "digest": manifest.digest,
        "wheels": wheels,
        "release": release,
        "check": {
            "imports_of": run.settings.check.imports,
            "ignore": list(run.settings.check.ignore),
            "env": commands.environment(run, host, release),
        },
        "manifest": {"lock": manifest.lock_sha256, "tool": f"fabric-wheelhouse {__version__}"},
        "signed": {"manifest": manifest.sha256, "signature": bundle.signature},
    }


def _upload_and_install(
    run: Run, host: Host, bundle: Bundle, wheels: Sequence[Wheel], release: str, progress: Callable[[str], None]
) -> Any:
    """Send *wheels* and ask for the venv behind them, in one round trip; the host works while they arrive."""
    # The largest first, so that the host's processors end at about the same time.
    ordered = sorted(wheels, key=lambda wheel: wheel.size, reverse=True)
    told = [{"filename": wheel.filename, "sha256": wheel.sha256, "size": wheel.size} for wheel in ordered]
    operations = [("add_wheels", {"wheels": told}), ("install", _request(run, host, bundle, release))]
    return host.batch(operations, progress, _contents(bundle, ordered, progress))[-1]


def _contents(bundle: Bundle, wheels: Sequence[Wheel], progress: Callable[[str], None]) -> Iterator[bytes]:
    for number, wheel in enumerate(wheels, 1):
        progress(f"uploading {wheel.filename} ({number} of {len(wheels)})")
        with bundle.path(wheel).open("rb") as stream:
            while chunk := stream.read(CHUNK):
                yield chunk
    progress("unpacking the last wheels")
