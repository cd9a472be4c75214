"""The JSON schema of the section, for editors: it accepts what :func:`deploy.config.load` accepts."""

from __future__ import annotations

from typing import Any

from .models import Settings
from .stages import SECTION_KEYS


def json_schema() -> dict[str, Any]:
    """A JSON schema of `fabric.yaml`'s `deploy:` section."""
    schema = Settings.model_json_schema()
    definitions = schema.pop("$defs")
    for key in ("host", "container"):
        definitions["Builder"]["properties"][key]["anyOf"].append({"type": "string"})
    parts = {f"{name}Part": _part(definition) for name, definition in definitions.items() if name != "HostSettings"}
    properties = _part(schema["properties"])
    hosts = properties["hosts"]
    hosts["items"] = {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/HostSettings"}]}
    words = {"enum": ["native", "zig", "container"]}
    for section in (properties, schema["properties"]):
        section["build"]["items"] = {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/Build"}]}
        section["builders"]["items"] = {"anyOf": [words, {"$ref": "#/$defs/Builder"}]}
    settings = {"type": "object", "properties": properties, "additionalProperties": False}
    stages = {
        "type": "object",
        "description": SECTION_KEYS["stages"],
        "minProperties": 1,
        "additionalProperties": {"$ref": "#/$defs/Stage"},
    }
    names = {key: {"type": ["string", "null"], "description": SECTION_KEYS[key]} for key in ("stage", "default_stage")}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "fabric.yaml with a deploy: section",
        "type": "object",
        "properties": {
            "deploy": {
                "type": "object",
                "description": "fabric-wheelhouse",
                "properties": {**properties, **names, "stages": stages},
                "required": ["stages"],
                "additionalProperties": False,
            }
        },
        "$defs": {**definitions, **parts, "Stage": {"anyOf": [hosts, settings]}},
    }


def _part(node: Any) -> Any:
    """*node* where nothing is required: a stage's keys are laid over the section's, so either may have some of them."""
    if isinstance(node, list):
        return [_part(item) for item in node]
    if not isinstance(node, dict):
        return node
    part = {key: _part(value) for key, value in node.items() if key not in ("required", "discriminator", "oneOf")}
    if "oneOf" in node:
        part["anyOf"] = _part(node["oneOf"])  # without its manager, a service may look like several
    if "$ref" in node and not node["$ref"].endswith("/HostSettings"):
        part["$ref"] = f"{node['$ref']}Part"
    return part
