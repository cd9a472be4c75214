"""Known vulnerabilities of packages, asked of a service by ``pip-audit``, run as a program.

Its exit code is not enough: it is 0 for packages that it skipped, and 1 for a vulnerability and a broken connection
alike. So every pin must be in what it says, and none skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from ..errors import CheckFailed, ConfigurationError
from .advisories import Finding, Pins


def command(program: str, requirements: Path, service: str, url: str) -> list[str]:
    """The command line that audits exactly the pins of a file: nothing is resolved, nothing is installed."""
    options = ["--no-deps", "--disable-pip", "--format=json", "--progress-spinner=off", "--desc=off", "--aliases=on"]
    address = ["--osv-url", url] if url else []
    return [program, "--requirement", str(requirements), *options, "--vulnerability-service", service, *address]


def ask(pins: Pins, service: str, url: str = "") -> list[Finding]:
    """The vulnerabilities that a service knows of *pins*.

    :raises ConfigurationError: pip-audit is not installed.
    :raises CheckFailed: not every pin was audited: the service is out of reach, or does not know a package.
    """
    if not pins:
        return []
    with tempfile.TemporaryDirectory() as space:
        requirements = Path(space) / "requirements.txt"
        requirements.write_text("".join(f"{name}=={version}\n" for name, version in sorted(pins)))
        # Options of the environment (PIP_AUDIT_...) could make it look at less.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_AUDIT_")}
        done = subprocess.run(
            command(_program(), requirements, service, url),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
    audited = _answer(done)
    skipped = dict(_skipped(audited))
    seen = {(canonicalize_name(str(each["name"])), str(each["version"])) for each in audited if "version" in each}
    lacking = [f"{name} {version}" for name, version in sorted(pins) if (name, version) not in seen or name in skipped]
    if lacking:
        raise CheckFailed(
            f"{len(lacking)} of {len(pins)} packages could not be audited: {', '.join(lacking)}",
            output="\n".join(skipped.values()),
            hint="packages of your own belong into deploy.audit.private",
        )
    return [
        Finding(
            canonicalize_name(str(each["name"])),
            str(each["version"]),
            (str(vulnerability["id"]), *map(str, vulnerability.get("aliases", []))),
            tuple(map(str, vulnerability.get("fix_versions", []))),
        )
        for each in audited
        for vulnerability in each.get("vulns", [])
    ]


def _program() -> str:
    beside = Path(sys.executable).with_name("pip-audit")
    found = str(beside) if beside.is_file() else shutil.which("pip-audit")
    if not found:
        raise ConfigurationError(
            "pip-audit is not installed",
            hint="pip install 'fabric-wheelhouse[audit]', or name a local database: deploy.audit.database",
        )
    return found


def _answer(done: subprocess.CompletedProcess[str]) -> Sequence[Mapping[str, Any]]:
    """The dependencies of its JSON answer.

    :raises CheckFailed: there is none: it could not do its work.
    """
    try:
        if done.returncode not in (0, 1):
            raise ValueError
        audited: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
        if not isinstance(audited, list) or not all(map(_is_audited, audited)):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        said = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith(("WARNING", " "))]
        raise CheckFailed(
            "the audit did not take place: pip-audit gave no answer",
            output="".join(said[-1:]),  # what its traceback ends in
            hint="is the service in reach? Without one, name a local database: deploy.audit.database",
        ) from None
    return audited


def _is_audited(each: Any) -> bool:
    """Whether a dependency of the answer is one, with what is looked at in it."""
    found = each.get("vulns", []) if isinstance(each, dict) and "name" in each else None
    return isinstance(found, list) and all(
        isinstance(one, dict)
        and "id" in one
        and all(isinstance(one.get(key, []), list) for key in ("aliases", "fix_versions"))
        for one in found
    )


def _skipped(audited: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    return [
        (canonicalize_name(str(each["name"])), f"{each['name']}: {each['skip_reason']}")
        for each in audited
        if "skip_reason" in each
    ]
