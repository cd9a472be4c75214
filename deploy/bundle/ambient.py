"""What pip and uv would take by their own configuration, on this machine, for this user."""

from __future__ import annotations

import ast
import os
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .pip import local_pip


@dataclass(frozen=True, slots=True)
class Ambient:
    """The settings that matter to where files come from."""

    index: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()
    ca: str = ""
    proxy: str = ""
    no_index: bool = False

    @property
    def says(self) -> bool:
        """Whether it names any place."""
        return bool(self.index or self.extra or self.links)


NOTHING = Ambient()


def read() -> Ambient:
    """pip's settings, and uv's where pip has none."""
    pip, uv = _pip(_pip_settings()), _uv(_uv_settings())
    return Ambient(
        pip.index or uv.index,
        (*pip.extra, *uv.extra),
        (*pip.links, *uv.links),
        pip.trusted,
        pip.ca,
        pip.proxy,
        pip.no_index or uv.no_index,
    )


def _pip_settings() -> dict[str, str]:
    """Key → value of `pip.conf` files and ``PIP_*``; pip itself knows which files count and which one wins."""
    command = [*local_pip(), "config", "list"]
    said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout
    levels: dict[str, dict[str, str]] = {}
    for line in said.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        try:
            levels.setdefault(section, {})[key] = str(ast.literal_eval(value))
        except (ValueError, SyntaxError):
            continue
    # pip, "Configuration": the command's own section is over [global], and the environment over both.
    return {key: value for level in ("global", "download", ":env:") for key, value in levels.get(level, {}).items()}


def _pip(settings: Mapping[str, str]) -> Ambient:
    def words(key: str) -> tuple[str, ...]:
        return tuple(settings.get(key, "").split())

    return Ambient(
        words("index-url"),
        words("extra-index-url"),
        words("find-links"),
        words("trusted-host"),
        settings.get("cert", ""),
        settings.get("proxy", ""),
        settings.get("no-index", "").lower() in ("1", "true", "yes", "on"),
    )


def _uv_settings() -> dict[str, Any]:
    """uv's user and system files, the user's on top (uv, "Configuration files")."""
    if os.environ.get("UV_NO_CONFIG"):
        return {}
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    files = [Path("/etc/uv/uv.toml"), home / "uv/uv.toml"]
    if named := os.environ.get("UV_CONFIG_FILE"):
        files = [Path(named)]
    merged: dict[str, Any] = {}
    for path in files:
        try:
            merged |= tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    return merged


def _uv(settings: Mapping[str, Any]) -> Ambient:
    get = os.environ.get
    main = [get("UV_DEFAULT_INDEX") or get("UV_INDEX_URL") or ""]
    extra = [*get("UV_INDEX", "").split(), *get("UV_EXTRA_INDEX_URL", "").split()]
    for index in settings.get("index", []):
        if not index.get("explicit"):
            (main if index.get("default") else extra).append(index.get("url", ""))
    main.append(settings.get("index-url", ""))
    extra += settings.get("extra-index-url", [])
    links = [*get("UV_FIND_LINKS", "").split(","), *settings.get("find-links", [])]
    no_index = get("UV_NO_INDEX", "").lower() in ("1", "true") or settings.get("no-index") is True
    # `name=url` gives an index a name.
    urls = [
        [url.partition("=")[2] if "=" in url.partition("://")[0] else url for url in each] for each in (main, extra)
    ]
    return Ambient(_some(urls[0]), _some(urls[1]), _some(links), no_index=no_index)


def _some(words: list[str]) -> tuple[str, ...]:
    return tuple(word for word in words if word)
