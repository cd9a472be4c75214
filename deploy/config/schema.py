"""The JSON schema of the section, for editors."""

from __future__ import annotations

from typing import Any

from .models import Settings
from .stages import SECTION_KEYS


def json_schema() -> dict[str, Any]:
    """A JSON schema of `fabric.yaml`'s `deploy:` section, for editors."""
    schema = Settings.model_json_schema()
    definitions = schema.pop("$defs")
    properties = schema["properties"]
    properties["hosts"]["items"] = {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/HostSettings"}]}
    stage = {"type": "object", "properties": dict(properties), "required": ["hosts"], "additionalProperties": False}
    section_properties = {key: value for key, value in properties.items() if key != "hosts"}
    for key in ("stage", "default_stage"):
        section_properties[key] = {"type": "string", "description": SECTION_KEYS[key]}
    section_properties["stages"] = {
        "type": "object",
        "description": SECTION_KEYS["stages"],
        "additionalProperties": {"$ref": "#/$defs/Stage"},
    }
    definitions["Stage"] = stage
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "fabric.yaml with a deploy: section",
        "type": "object",
        "properties": {
            "deploy": {
                "type": "object",
                "description": "fabric-wheelhouse",
                "properties": section_properties,
                "required": ["stages"],
                "additionalProperties": False,
            }
        },
        "$defs": definitions,
    }
