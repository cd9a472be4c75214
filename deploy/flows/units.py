"""Unit files that come with the release: looked at before it may serve, installed before the restart, put back."""

from __future__ import annotations

from typing import Any

from ..config import Systemd
from ..errors import StagingFailed, as_kind
from ..host.connection import Host
from ..host.session import HostFailure
from ..service import unitfiles
from ..service.manager import ServiceCommand
from .proving import NotHealthy, masked
from .run import Run


def check(run: Run, host: Host, release: str) -> None:
    """Have systemd look at the unit files of a staged release.

    :raises StagingFailed: one is not there, cannot be rendered, or would be refused; nothing was touched.
    """
    asked = run.unit_files(host)
    if asked is None or not release:
        return
    try:
        found = host.call("check_units", identifier=release, **asked)
    except HostFailure as failure:
        raise as_kind(StagingFailed, failure) from None
    for warning in found["warnings"]:
        run.report.warn(warning, host.name)
    if found["problems"]:
        raise StagingFailed(
            "systemd would refuse a unit file of the release; nothing that serves was touched",
            where=host.name,
            output="\n".join(found["problems"]),
            hint="deploy.service.unit_file names it; to see it again: systemd-analyze verify FILE",
        )


def bring(run: Run, host: Host, release: str, *, back: bool) -> None:
    """Install what differs of the unit files of the live release.

    :param back: the host goes back to *release*: what this run replaced is put back; where *release* is from a time
        without unit files, they stay as they are.
    :raises NotHealthy: they cannot be installed.
    """
    asked = run.unit_files(host)
    if asked is None:
        return
    with run.report.step("units", host.name) as step:
        former = run.former_units.pop(host, {}) if back else {}
        try:
            if former:
                changed = host.call("put_units", texts=former, of_user=asked["of_user"])
            else:
                changed = host.call("write_units", identifier=release, **asked)
        except HostFailure as failure:
            if back and failure.kind == "missing":
                run.report.warn(f"{failure.what}: the unit files stay as they are", host.name)
                return
            raise as_kind(NotHealthy, failure) from None
        if not back:
            known = run.former_units.setdefault(host, {})
            known.update({each["name"]: each["former"] for each in changed if each["former"] is not None})
        _install(run, host, changed)
        if changed:
            names = ", ".join(each["name"] for each in changed)
            step.outcome = f"{names} {'put back' if back else 'installed'}, systemd reloaded"


def _install(run: Run, host: Host, changed: list[dict[str, Any]]) -> None:
    service: Systemd = run.service(host)
    for each in changed:
        for command in unitfiles.install(service, host.base_path, each["name"]):
            _tell(run, host, command)
    if changed:
        _tell(run, host, unitfiles.reload(service))
    for each in changed:
        name = each["name"]
        if each["former"] is None:
            if each["install"]:
                _tell(run, host, unitfiles.enable(service, name))
            for command in unitfiles.start(service, name) if name.endswith(unitfiles.STARTED) else ():
                _tell(run, host, command, must=command.words[1:2] != ("stop",))
        elif name.endswith(unitfiles.STARTED):
            run.report.warn(f"{name} changed; it is as it was until it is restarted by hand", host.name)


def _tell(run: Run, host: Host, command: ServiceCommand, *, must: bool = True) -> None:
    result = host.run(str(command), user=command.user or host.deploy_user, timeout_s=run.service(host).timeout)
    if must and not result.ok:
        raise NotHealthy(
            f"a unit file could not be installed (exit {result.exited}): {command}",
            where=host.name,
            output=masked(host, result.output),
        )


def show(run: Run, host: Host) -> None:
    """What a dry run says of them."""
    service = run.service(host)
    for name in unitfiles.names(service):
        lines = "; ".join(str(command) for command in unitfiles.install(service, host.base_path, name))
        run.report.say(f"would install {name} if it differs: {lines}; {unitfiles.reload(service)}", host.name)
