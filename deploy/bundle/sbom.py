"""The software bill of materials of a bundle: CycloneDX 1.6 as JSON, out of the manifest alone.

The same manifest gives the same bytes: the serial number is made from the manifest, and there is a time only where
``SOURCE_DATE_EPOCH`` gives one (reproducible-builds.org's specification of that variable).
"""

from __future__ import annotations

import json
import os
import uuid
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from .manifest import Manifest, Wheel

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://cyclonedx.org/schema/bom-1.6.schema.json#fabric-wheelhouse")


def time_stamp() -> str:
    """The time to write into the document, '' for none."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    return datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if epoch.isdigit() else ""


def document(manifest: Manifest, stamp: str = "") -> str:
    """The bill of materials as text.

    :param stamp: the time in it, '' for none.
    """
    tool, _, version = manifest.tool.partition(" ")
    bill: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, manifest.sha256)}",
        "version": 1,
        "metadata": {
            **({"timestamp": stamp} if stamp else {}),
            "tools": {"components": [{"type": "application", "name": tool, "version": version}]},
            "component": {
                "type": "application",
                "bom-ref": f"bundle-{manifest.digest}",
                "name": f"bundle-{manifest.target.name}",
                "version": manifest.digest,
                "properties": _properties({"lock": manifest.lock_sha256, "target": manifest.target.name}),
            },
        },
        "components": [_component(wheel) for wheel in manifest.wheels],
    }
    return json.dumps(bill, indent=1, sort_keys=True) + "\n"


def stamp_of(text: str) -> str:
    """The time that a bill of materials has in it, '' where it has none or is none."""
    try:
        stamp = json.loads(text)["metadata"]["timestamp"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return stamp if isinstance(stamp, str) else ""


def _component(wheel: Wheel) -> dict[str, Any]:
    origin = wheel.origin
    url = purl(wheel)
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": url,
        "name": wheel.name,
        "version": wheel.version,
        "purl": url,
        "hashes": [{"alg": "SHA-256", "content": wheel.sha256}],
        "properties": _properties(
            {
                "file": wheel.filename,
                "size": str(wheel.size),
                "origin": origin.kind,
                "origin-sha256": origin.sha256,
                "index": origin.index,
                "revision": origin.revision,
                "builder": origin.builder,
                **{f"tool:{name}": version for name, version in sorted(origin.tools.items())},
            }
        ),
    }
    if origin.url:
        kind = "vcs" if origin.kind == "vcs" else "distribution"
        component["externalReferences"] = [{"type": kind, "url": origin.url}]
    return component


def purl(wheel: Wheel) -> str:
    """The package URL (purl specification, type ``pypi``)."""
    return f"pkg:pypi/{wheel.name}@{quote(wheel.version, safe='.')}?file_name={quote(wheel.filename, safe='.-_')}"


def _properties(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": f"fabric-wheelhouse:{name}", "value": value} for name, value in values.items() if value]
