"""Missing wheels up, the venv made offline, the release completed; nothing that serves is touched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..bundle import Bundle
from ..errors import StagingFailed, as_kind, combine
from ..fleet import parallel
from ..host.connection import Host
from ..host.session import HostFailure
from ..version import __version__
from .bundling import Bundles
from .run import Run

CHUNK = 1 << 18


def update_deps(run: Run, bundles: Bundles, releases: Mapping[Host, str]) -> None:
    """Give every host the venv of its bundle, and complete its release with it ('' for the venv alone).

    :raises StagingFailed: a wheel is damaged, the disk is full, ...
    """
    _, failures = parallel.attempt(run.hosts, lambda host: _install(run, host, bundles[host], releases[host]))
    if failures:
        raise combine([as_kind(StagingFailed, error) for error in failures.values()])


def _install(run: Run, host: Host, bundle: Bundle, release: str) -> None:
    with run.report.step("update deps", host.name) as step:
        request = _request(bundle, release)
        result = host.call("install", step.progress, **request)
        missing = set(result["missing"])
        if missing:
            for wheel in bundle.manifest.wheels:
                if wheel.sha256 in missing:
                    step.progress(f"uploading {wheel.filename}")
                    _upload(host, bundle, wheel)
            result = host.call("install", step.progress, **request)
        if result["missing"]:
            raise StagingFailed("wheels are missing after the upload", where=host.name, hint="deploy again")
        size = sum(wheel.size for wheel in bundle.manifest.wheels if wheel.sha256 in missing)
        made = "is there already" if result["reused"] else f"made offline from {len(bundle.manifest.wheels)} wheels"
        sent = f", {len(missing)} uploaded ({size / (1 << 20):.1f} MiB)" if missing else ""
        step.outcome = f"venv {result['venv'][:12]} {made}{sent}"


def _request(bundle: Bundle, release: str) -> dict[str, Any]:
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
        "manifest": {"lock": manifest.lock_sha256, "tool": f"fabric-wheelhouse {__version__}"},
    }


def _upload(host: Host, bundle: Bundle, wheel: Any) -> None:
    operation = ("add_wheel", {"filename": wheel.filename, "sha256": wheel.sha256, "size": wheel.size})
    with host.lost_means_failed():
        try:
            host.session().batch([operation], payload=_content(bundle, wheel))
        except HostFailure as failure:
            raise StagingFailed(f"{wheel.filename}: {failure.what}", where=host.name, hint=failure.hint) from None


def _content(bundle: Bundle, wheel: Any) -> Iterator[bytes]:
    with bundle.path(wheel).open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk
