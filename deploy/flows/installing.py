"""Missing wheels up, the venv made offline, the release completed; nothing that serves is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ..bundle import Bundle, Wheel
from ..errors import StagingFailed, as_kind, by_host, combine
from ..fleet import parallel
from ..host.connection import Host
from ..host.session import Answer
from ..version import __version__
from .bundling import Bundles
from .run import Run

CHUNK = 1 << 18

LISTED = 100
"""How many problems of a release are told."""

_CHECKED = (("modules", "open"), ("imports", "resolve"))


def update_deps(run: Run, bundles: Bundles, releases: Mapping[Host, str]) -> None:
    """Give every host the venv of its bundle, and complete its release with it ('' for the venv alone).

    :raises StagingFailed: a wheel is damaged, the disk is full, a module does not open, an import does not resolve, ...
    """
    warnings, failures = parallel.attempt(run.hosts, lambda host: install(run, host, bundles[host], releases[host]))
    warn(run, warnings)
    if failures:
        raise combine([as_kind(StagingFailed, error) for error in failures.values()])


def ask(run: Run, host: Host, bundle: Bundle, release: str) -> Answer:
    """Ask *host* for the venv of *bundle*, without waiting; :func:`install` takes the answer."""
    return host.ask([("install", _request(run, bundle, release))])


def install(run: Run, host: Host, bundle: Bundle, release: str, asked: Answer | None = None) -> list[str]:
    """Give one host the venv of *bundle*, and complete *release* with it; what is worth a warning.

    :raises HostFailure, StagingFailed: it cannot be made, or what is in it does not work.
    """
    with run.report.step("update deps", host.name) as step:
        result = host.answer(asked or ask(run, host, bundle, release), step.progress)[0]
        sent: list[Wheel] = []
        if result["missing"]:
            sent = [wheel for wheel in bundle.manifest.wheels if wheel.sha256 in set(result["missing"])]
            result = _upload_and_install(run, host, bundle, sent, release, step.progress)
        if result["missing"]:
            raise StagingFailed("wheels are missing after the upload", where=host.name, hint="deploy again")
        made = "is there already" if result["reused"] else f"made offline from {len(bundle.manifest.wheels)} wheels"
        size = sum(wheel.size for wheel in sent) / (1 << 20)
        uploaded = f", {len(sent)} uploaded ({size:.1f} MiB)" if sent else ""
        step.outcome = f"venv {result['venv'][:12]} {made}{uploaded}"
    return _checked(run, host, result["checked"])


def _checked(run: Run, host: Host, checked: Mapping[str, Any]) -> list[str]:
    """Tell what the host found when it looked at modules and imports; what is worth a warning.

    :raises StagingFailed: with everything that does not work, at once.
    """
    with run.report.step("check", host.name) as step:
        if problems := checked["problems"]:
            listed = "\n".join(f"  {problem}" for problem in problems[:LISTED])
            more = f"\n  and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
            raise StagingFailed(
                f"the release would not work in its venv; nothing that serves was touched:\n{listed}{more}",
                where=host.name,
                hint="add what is lacking to the code or to the lock file, "
                "or name in deploy.check.ignore what the application does without",
            )
        looked = [f"{checked[what]} {what} {verb}" for what, verb in _CHECKED if checked[what]]
        step.outcome = ", ".join(looked)
    warnings: list[str] = checked["warnings"]
    return warnings


def warn(run: Run, warnings: Mapping[Host, Sequence[str]]) -> None:
    """Tell each warning once, behind the hosts that it came from."""
    found = [(host.name, warning) for host, its in warnings.items() for warning in its]
    if found:
        run.report.warn(f"not looked at, or optional and not there:\n{by_host(found)}")


def _request(run: Run, bundle: Bundle, release: str) -> dict[str, Any]:
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
        "check": {"imports_of": run.settings.check.imports, "ignore": list(run.settings.check.ignore)},
        "manifest": {"lock": manifest.lock_sha256, "tool": f"fabric-wheelhouse {__version__}"},
    }


def _upload_and_install(
    run: Run, host: Host, bundle: Bundle, wheels: Sequence[Wheel], release: str, progress: Callable[[str], None]
) -> Any:
    """Send *wheels* and ask for the venv behind them, in one round trip; the host works while they arrive."""
    # The largest first, so that the host's processors end at about the same time.
    ordered = sorted(wheels, key=lambda wheel: wheel.size, reverse=True)
    told = [{"filename": wheel.filename, "sha256": wheel.sha256, "size": wheel.size} for wheel in ordered]
    operations = [("add_wheels", {"wheels": told}), ("install", _request(run, bundle, release))]
    return host.batch(operations, progress, _contents(bundle, ordered, progress))[-1]


def _contents(bundle: Bundle, wheels: Sequence[Wheel], progress: Callable[[str], None]) -> Iterator[bytes]:
    for number, wheel in enumerate(wheels, 1):
        progress(f"uploading {wheel.filename} ({number} of {len(wheels)})")
        with bundle.path(wheel).open("rb") as stream:
            while chunk := stream.read(CHUNK):
                yield chunk
    progress("unpacking the last wheels")
