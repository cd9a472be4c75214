"""Which stage is meant, and what it sees of the section: its own keys over the common ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigurationError
from .spelling import nearly

# Keys that are the section's own, not a stage's.
SECTION_KEYS = {
    "stage": "The stage to deploy to; usually chosen by `fab STAGE deploy` or FABRIC_DEPLOY_STAGE.",
    "default_stage": "The stage where none is chosen.",
    "stages": "Named sets of hosts; each may override any key of this section.",
}


def choose_stage(section: Mapping[str, Any], file: str) -> str:
    """The stage that the configuration and the command line name.

    :raises ConfigurationError: there is none, several and no choice, or none of that name.
    """
    stages = section.get("stages")
    if not isinstance(stages, Mapping) or not stages:
        for key in section:
            if key not in SECTION_KEYS and (meant := nearly(key, ["stages"])):
                raise ConfigurationError(f"deploy.{key}: unknown key{meant}", where=file)
        raise ConfigurationError(
            "no stages are configured",
            where=f"{file}: deploy.stages",
            hint="for example:  stages: {production: {hosts: [deploy@web1.example.org]}}",
        )
    chosen = section.get("stage") or section.get("default_stage") or (next(iter(stages)) if len(stages) == 1 else "")
    names = ", ".join(map(str, stages))
    if not chosen:
        raise ConfigurationError(
            f"which stage? There are: {names}",
            hint=f"fab {next(iter(stages))} deploy, or set FABRIC_DEPLOY_STAGE, or deploy.default_stage in {file}",
        )
    if chosen not in stages:
        raise ConfigurationError(
            f"there is no stage {chosen!r}; there are: {names}{nearly(str(chosen), stages)}", where=file
        )
    return str(chosen)


def resolve(section: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """The section as *stage* sees it: its overrides on top, mappings merged key by key."""
    common = {key: value for key, value in section.items() if key not in SECTION_KEYS}
    overrides = section["stages"][stage]
    return _merged(common, overrides if isinstance(overrides, Mapping) else {"hosts": overrides})


def _merged(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in top.items():
        old = result.get(key)
        # A service with another manager is another service, not a change of some keys of the former; a balancer, too.
        if (
            isinstance(old, Mapping)
            and isinstance(value, Mapping)
            and all(old.get(what) == value.get(what, old.get(what)) for what in ("manager", "kind"))
        ):
            result[key] = _merged(old, value)
        else:
            result[key] = value
    return result
