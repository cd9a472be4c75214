"""The variables of an application on its host: what its commands are given, and which of them decide what is loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping

from . import dotenv
from .layout import Layout
from .secrecy import Mask, secrets_of
from .sharedpaths import ENVIRONMENT

_OF_THE_LOADER = ("LD_", "DYLD_", "GLIBC_TUNABLES")
_OF_THE_INTERPRETER = "PYTHON"


def of_file(layout: Layout, identifier: str) -> dict[str, str]:
    """Those of the `.env` of a release; of `shared/` where there is no release ('').

    :raises OSError: it cannot be read.
    """
    place = layout.release(identifier) if identifier else layout.path("shared")
    return dotenv.read(os.path.join(place, ENVIRONMENT)).values


def whole(
    layout: Layout, identifier: str, known: Mapping[str, str], env: Mapping[str, str] | None = None
) -> dict[str, str]:
    """All variables of a command: this process's, those of `.env`, then *env*; the release's venv first on PATH."""
    foreign = ("SUDO_", _OF_THE_INTERPRETER)
    values = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    values.update(known)
    values.update(env or {})
    values["DEPLOY_BASE"] = layout.base
    if identifier:
        venv = os.path.join(layout.release(identifier), ".venv")
        path = values.get("PATH", "/usr/local/bin:/usr/bin:/bin")
        values.update(VIRTUAL_ENV=venv, PATH=f"{venv}/bin:{path}", DEPLOY_RELEASE=identifier)
    return values


def of_loading(values: Mapping[str, str]) -> dict[str, str]:
    """Those of *values* by which the same files may load otherwise: the dynamic loader's and the interpreter's."""
    return {name: value for name, value in values.items() if name.startswith((*_OF_THE_LOADER, _OF_THE_INTERPRETER))}


def hiding(known: Mapping[str, str], env: Mapping[str, str]) -> Mask:
    """What hides the secrets of `.env` and *env* in what the loader says: it tells single paths of a list, too."""
    parts = {
        f"{name}:{number}": part
        for name, value in of_loading(known).items()
        for number, part in enumerate(value.split(":"))
    }
    return Mask(secrets_of({**known, **parts}, every=True) | secrets_of(env, every=False))


def as_if_live(layout: Layout, identifier: str, values: Mapping[str, str]) -> dict[str, str]:
    """*values*, whose paths below `current` lead to a release that is not live yet."""
    current, release = layout.path("current"), layout.release(identifier)

    def moved(entry: str) -> str:
        return release + entry[len(current) :] if entry == current or entry.startswith(current + "/") else entry

    return {
        name: ":".join(map(moved, value.split(":"))) if name in of_loading({name: ""}) else value
        for name, value in values.items()
    }


def python_path(layout: Layout, identifier: str, values: Mapping[str, str]) -> list[str]:
    """Where the interpreter looks before all else; what is not absolute is meant from the release."""
    entries = values.get("PYTHONPATH", "").split(":")
    return [os.path.normpath(os.path.join(layout.release(identifier), entry)) for entry in entries if entry]
