"""The configuration without its hosts: which stage is meant, its settings, and its secrets hidden from then on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fabric import Config

from .. import masking
from ..config import Settings, choose_stage, load
from ..config.spelling import nearly
from ..documents import read
from ..errors import ConfigurationError
from ..stages import configuration_files, project_directory


@dataclass(frozen=True, slots=True)
class Project:
    """The configuration without its hosts: for what is done on this machine alone.

    :ivar section: the `deploy:` section as Fabric merged it.
    :ivar file: where it came from, for messages.
    """

    section: Mapping[str, Any]
    directory: Path
    file: str

    @classmethod
    def of(cls, config: Config) -> Project:
        section = config.get("deploy")
        directory = project_directory()
        files = [*configuration_files()]
        file = str(files[-1] if files else directory / "fabric.yaml")
        return cls(plain(section) if section is not None else {}, directory, file)

    def stage(self) -> tuple[str, Settings]:
        """The chosen stage and what it sees.

        :raises ConfigurationError: the configuration is wrong, or says nothing of a stage.
        """
        if "stages" not in self.section:
            _assert_section([*configuration_files()], self.directory)
        name = choose_stage(self.section, self.file)
        _hide_raw(self.section)
        settings = load(self.section, name, self.file)
        _hide(settings)
        return name, settings

    def stages(self, *, every: bool = False) -> dict[str, Settings]:
        """The chosen stage, or all of them where none is chosen or *every* one is meant; none where none is configured.

        :raises ConfigurationError: the configuration is wrong.
        """
        if self.section.get("stage") and not every:
            return dict([self.stage()])
        _hide_raw(self.section)
        found = {str(name): load(self.section, name, self.file) for name in self.section.get("stages") or {}}
        for settings in found.values():
            _hide(settings)
        return found


def plain(value: Any) -> Any:
    """Fabric's configuration proxies as plain dictionaries and lists."""
    if hasattr(value, "items") and not isinstance(value, type):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _hide_raw(section: Mapping[str, Any]) -> None:
    """Hide the secrets of `env:`, of all stages, before the section is validated: what finds it wrong may quote it."""
    from ..hostside.secrecy import secrets_of

    stages = section.get("stages")
    places = [section, *(stages.values() if isinstance(stages, Mapping) else ())]
    for place in places:
        values = place.get("env") if isinstance(place, Mapping) else None
        if isinstance(values, Mapping):
            masking.hide(secrets_of({name: str(value) for name, value in values.items()}, every=False))


def _hide(settings: Settings) -> None:
    """Let no report, log or error tell the secrets of the configuration."""
    from ..hostside.secrecy import secrets_of

    index = settings.index
    places = [index.url, *index.extra_urls, *index.find_links, index.proxy]
    masking.hide(
        secrets_of(settings.env, every=False)
        | secrets_of({str(number): place for number, place in enumerate(places)}, every=False)
    )


def _assert_section(files: Sequence[Path], directory: Path) -> None:
    """Say what is lacking as a whole, before a key of it is.

    :raises ConfigurationError: there is no file, or none has the section.
    """
    hint = 'see "How you start" in the README'
    if not files:
        raise ConfigurationError("there is no fabric.yaml beside the fabfile", where=str(directory), hint=hint)
    keys = {key for path in files for key in read(path)}
    if "deploy" not in keys:
        meant = next((f"; is {key}: meant to be it?" for key in sorted(keys) if nearly(key, ["deploy"])), "")
        raise ConfigurationError(f"there is no section deploy:{meant}", where=str(files[-1]), hint=hint)
