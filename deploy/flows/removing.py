"""What other users own of what is out of use: removed by root where sudo lets us, else told, with the remedy."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from ..errors import DeployError
from ..host.connection import Host
from .run import Run


def finish(run: Run, host: Host, left: Mapping[str, Any]) -> str:
    """Do what the deploy user could not.

    :param left: as :func:`deploy.hostside.removal.told`.
    :returns: what was done, in words; '' where nothing was, or not all could be: then a warning says what.
    """
    if not left["count"]:
        return ""
    refused = ""
    if left["foreign"] and host.deploy_user != "root":
        try:
            with host.lost_means_failed():
                left = host.session("root").batch([("remove_as_root", {})])[0]
        except DeployError as error:
            refused = f" ({error.what})"
        if not left["count"]:
            return "what others had made in it, as root"
    run.report.warn(f"out of use, and cannot be removed{refused}: {described(left)}{remedy(host, left)}", host.name)
    return ""


def described(left: Mapping[str, Any]) -> str:
    """What is in the way, by name where it is not much."""
    named = "; ".join(f"{path}: {why}" for path, why in left["first"])
    more = left["count"] - len(left["first"])
    return f"{named}; and {more} more" if more > 0 else named


def remedy(host: Host, left: Mapping[str, Any]) -> str:
    """What a person with root's rights can type; '' where it is not for rights that it stays."""
    if not left["foreign"]:
        return ""
    return f"; as root: rm -rf --one-file-system -- {shlex.quote(host.base_path)}/*/.partial-*.gone"
