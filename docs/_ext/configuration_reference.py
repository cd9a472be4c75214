"""The directive ``configuration-reference``: every key of `fabric.yaml`'s `deploy:` section, out of its models.

What is rendered is what validates, so the page cannot say anything else than the code.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from datetime import date
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from docutils import nodes
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rst import marked, parsed
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from deploy import config
from deploy.config import models

_PLAIN = {date: "day", str: "text", int: "whole number", float: "number", bool: "true or false"}


class ConfigurationReference(SphinxDirective):
    """Renders the whole reference; takes no argument."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(models.__file__)
        return parsed(self, reference())


def reference() -> Iterator[str]:
    """The page in lines: the section itself, then each part in the order in which it is met."""
    yield from _heading("The section itself")
    yield from ("Every key of this list may be overridden in a stage, and ``hosts`` is given there.", "")
    yield from _fields(config.Settings)
    yield from _heading("Keys that only the section has")
    for key, description in config.SECTION_KEYS.items():
        yield from _entry(key, "mapping of stages" if key == "stages" else "name of a stage", description)
    for model in _nested(config.Settings, []):
        yield from _heading(_name(model))
        yield from (_documented(model), "")
        yield from _fields(model)


def _heading(title: str) -> tuple[str, ...]:
    return ("", title, "~" * len(title), "")


def _fields(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield from _entry(name, _described(field.annotation), field.description or "", _default(field))


def _entry(name: str, kind: str, description: str, default: str = "") -> Iterator[str]:
    yield f"``{name}``: {kind}" + (f"; {default}" if default else "")
    yield f"    {marked(description)}"
    yield ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.default
    if isinstance(value, BaseModel):
        return "has defaults"
    if value in (None, "", [], {}):
        return "optional"
    if isinstance(value, list) and isinstance(value[0], config.Builder):
        return f"default ``[{', '.join(next(iter(each.model_fields_set)) for each in value)}]``"
    return f"default ``{value if isinstance(value, str) else json.dumps(value)}``"


def _described(annotation: Any) -> str:
    """A type in words that a sysadmin knows."""
    if get_origin(annotation) is Annotated:
        return _described(get_args(annotation)[0])
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"`{_name(annotation)}`_"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(f"``{value}``" for value in arguments)
    if origin is list and arguments[0] is config.HostSettings:
        return f"list of addresses, or of mappings as `{_name(config.HostSettings)}`_ has"
    if origin is list:
        return f"list of {_described(arguments[0])}"
    if origin in (Union, types.UnionType):
        return " | ".join(_described(each) for each in arguments if each is not type(None))
    return str(annotation)


def _nested(model: type[BaseModel], seen: list[type[BaseModel]]) -> list[type[BaseModel]]:
    """The models that the fields of *model* lead to, each once."""
    for field in model.model_fields.values():
        for found in _models(field.annotation):
            if found not in seen:
                seen.append(found)
                _nested(found, seen)
    return seen


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for each in get_args(annotation):
        yield from _models(each)


_NAMES = {
    config.TargetSettings: "a target",
    config.HostSettings: "a host",
    config.Builder: "a builder",
    config.BuildHost: "a build host",
    config.BuildContainer: "a build container",
    config.LocalBuilder: "a builder of this machine",
}


def _name(model: type[BaseModel]) -> str:
    """What a part is called as a heading: its key, and the manager or the kind where several parts share one."""
    if "kind" in model.model_fields:
        return f"balancer: {get_args(model.model_fields['kind'].annotation)[0]}"
    if "manager" in model.model_fields:
        return f"service: {get_args(model.model_fields['manager'].annotation)[0]}"
    return _NAMES.get(model, model.__name__.lower())


def _documented(model: type[BaseModel]) -> str:
    return marked(" ".join((model.__doc__ or "").split()))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("configuration-reference", ConfigurationReference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
