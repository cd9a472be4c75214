"""The section as Fabric merged it, validated: settings, or every problem at once, each with its path."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from ..errors import ConfigurationError
from ..hostside.secrecy import looks_secret
from .balancers import BalancerCommand, Haproxy, HealthFile, Nginx
from .basics import NAME, Model
from .building import Build
from .bundles import Audit, BuildContainer, Builder, BuildHost, Bundle, Ignore, Index, TargetSettings
from .checks import Check, SystemPackages
from .code import Shared, Source
from .hooking import Hook, Hooks
from .maintenance import Maintenance
from .migrating import Downgrade, Migrate
from .models import HostSettings, Lock, Settings
from .rolling import Canary, Rolling
from .services import Command, Health, Signal, Supervisor, Systemd, Touch
from .spelling import nearly
from .stages import SECTION_KEYS, resolve


def load(section: Mapping[str, Any], stage: str, file: str) -> Settings:
    """Validate the whole section, every stage of it, and return what *stage* sees.

    :param section: the `deploy:` mapping as Fabric merged it.
    :param file: the file's name, for messages.
    :raises ConfigurationError: with one line for each problem, all of them at once.
    """
    problems: dict[str, None] = dict.fromkeys(_with_nul(section, "deploy"))
    chosen: Settings | None = None
    for name in section["stages"]:
        if not NAME.fullmatch(str(name)):
            problems[f"deploy.stages: must be letters, digits, '.', '_' and '-' (it is {str(name)!r})"] = None
        try:
            settings = Settings.model_validate(resolve(section, name))
        except ValidationError as error:
            overrides = section["stages"][name]
            for problem in _problems(error, str(name), overrides if isinstance(overrides, Mapping) else {}):
                problems[problem] = None
        else:
            if name == stage:
                chosen = settings
    if problems or chosen is None:
        count = f"{len(problems)} problems" if len(problems) > 1 else "a problem"
        raise ConfigurationError(f"{count} in section deploy:\n  " + "\n  ".join(problems), where=file)
    return chosen


def _with_nul(value: Any, where: str) -> Iterable[str]:
    """Texts that neither a process nor a file can be given."""
    if isinstance(value, str) and "\0" in value:
        yield f"{where}: must not hold a NUL"
    for key, inner in _items(value):
        yield from _with_nul(inner, f"{where}[{key}]" if isinstance(key, int) else f"{where}.{key}")


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return value.items()
    return enumerate(value) if isinstance(value, list) else ()


def _problems(error: ValidationError, stage: str, overrides: Mapping[str, Any]) -> Iterable[str]:
    for item in error.errors(include_url=False):
        path = _keys(item["loc"])
        base = ["deploy", "stages", stage] if path and path[0] in {*overrides, "hosts"} else ["deploy"]
        where = _dotted([*base, *path])
        kind, given = item["type"], item["input"]
        if kind == "extra_forbidden":
            yield f"{where}: unknown key{nearly(str(path[-1]), _known_keys(item['loc'][:-1]))}"
        elif kind == "missing":
            yield f"{where}: is missing"
        elif kind.startswith("union_tag"):
            key, kinds = ("kind", _BALANCERS) if path == ["balancer"] else ("manager", _MANAGERS)
            yield f"{where}.{key}: must be one of {', '.join(kinds)}"
        elif path == ["target"] and kind != "value_error":
            # Both alternatives were tried; one of them says enough.
            if not isinstance(given, Mapping):
                yield f"{where}: must be auto, local, or a mapping: files, or python and platform (it is {given!r})"
        elif path == ["migrate", "rollback"] and kind != "value_error":
            if not isinstance(given, Mapping) and kind == "literal_error":
                yield f"{where}: must be warn, refuse, or a mapping with a command (it is {given!r})"
        else:
            message = _PLAIN.get(kind) or item["msg"].removeprefix("Value error, ")
            shown = f" (it is {_quoted(given)})" if _may_be_shown(path, given) else ""
            yield f"{where}: {message[0].lower()}{message[1:]}{shown}" if path else f"deploy.stages.{stage}.{message}"


def _may_be_shown(path: list[Any], given: Any) -> bool:
    """Whether a message may quote a value: a value of `env:` may be a secret, whatever it is called."""
    secret = path[:1] == ["env"] or any(looks_secret(str(key)) for key in path)
    return not secret and isinstance(given, str | int | float | bool | None)


def _quoted(given: Any) -> str:
    # `user:password@host` without a scheme is no URL yet, and may be why it is wrong.
    return re.sub(r"[^\s/@'\"]*:[^\s@'\"]*@", "***@", repr(given))


_PLAIN = {
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "list_type": "must be a list",
    "string_type": "must be text; put it in quotes",
}


def _keys(location: tuple[Any, ...]) -> list[Any]:
    """The keys that somebody wrote: pydantic names the alternative that it tried between them."""
    tried = {
        "service": {*_MANAGERS},
        "balancer": {*_BALANCERS},
        "sign": {"bool", "str"},
        "target": {"function-after[_either(), TargetSettings]", "literal['auto','local']"},
        "rollback": {"Downgrade", "literal['warn','refuse']"},
    }
    return [
        part
        for before, part in zip((None, *location), location, strict=False)
        if part not in tried.get(str(before), ())
    ]


def _dotted(path: list[Any]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


_MANAGERS: dict[str, type[Model]] = {
    "systemd": Systemd, "supervisor": Supervisor, "signal": Signal, "touch": Touch,
    "command": Command,
}  # fmt: skip

_BALANCERS: dict[str, type[Model]] = {
    "haproxy": Haproxy, "nginx": Nginx, "file": HealthFile, "command": BalancerCommand,
}  # fmt: skip

_PARTS: dict[str, type[Model]] = {
    "source": Source, "build": Build, "shared": Shared, "migrate": Migrate, "health": Health,
    "lock": Lock, "check": Check, "system_packages": SystemPackages,
    "bundle": Bundle, "audit": Audit, "ignore": Ignore, "index": Index,
    "target": TargetSettings, "hosts": HostSettings, "builders": Builder,
    "hooks": Hooks, **dict.fromkeys(Hooks.model_fields, Hook),
    "host": BuildHost, "container": BuildContainer, "rolling": Rolling, "canary": Canary,
    "rollback": Downgrade, "maintenance": Maintenance, **_MANAGERS,
}  # fmt: skip


def _known_keys(parents: tuple[Any, ...]) -> list[str]:
    if parents[:1] == ("balancer",):
        return list(_BALANCERS[str(parents[1])].model_fields)
    for part in reversed(parents):
        if part in _PARTS:
            return list(_PARTS[part].model_fields)
    return [*Settings.model_fields, *SECTION_KEYS]
