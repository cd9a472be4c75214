"""Make the directories of the application on hosts, as root where the deploy user may not."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import CheckFailed, as_kind
from ..fleet import parallel
from ..host.connection import Host
from ..host.session import HostFailure
from . import signing
from .run import Run


def prepare(run: Run, hosts: Sequence[Host]) -> None:
    """Idempotent; says what it changed.

    :raises CheckFailed: neither the deploy user nor root may make them.
    """
    parallel.each(hosts, lambda host: _prepare(run, host))


def _prepare(run: Run, host: Host) -> None:
    with run.report.step("setup", host.name) as step:
        changed = make_directories(host) + put_signers(run, host)
        step.outcome = "; ".join(changed) if changed else f"{host.base_path} is set up"


def make_directories(host: Host) -> list[str]:
    """Make what is lacking; the sentences of what was changed."""
    try:
        result = host.call("setup", owner=host.deploy_user)
    except HostFailure as failure:
        if failure.kind not in ("permission",) or host.deploy_user == "root":
            raise as_kind(CheckFailed, failure) from None
        with host.lost_means_failed():
            try:
                result = host.session("root").batch([("setup", {"owner": host.deploy_user})])[0]
            except HostFailure as second:
                raise as_kind(CheckFailed, second) from None
    changed: list[str] = result["changed"]
    return changed


def put_signers(run: Run, host: Host) -> list[str]:
    """Give *host* the list of allowed signers, where one is configured; the sentences of what was changed.

    :raises ConfigurationError: the file cannot be read.
    :raises CheckFailed: root's list says something else, or sudo does not let us be root.
    """
    text = signing.allowed_text(run.settings, run.directory)
    if text is None:
        return []
    owner = run.settings.bundle.signers_owner
    operations = [("put_signers", {"text": text, "owner": owner})]
    user = "root" if owner == "root" else host.deploy_user
    try:
        with host.lost_means_failed():
            changed: list[str] = host.session(user).batch(operations)[0]["changed"]
    except HostFailure as failure:
        raise as_kind(CheckFailed, failure) from None
    return changed
