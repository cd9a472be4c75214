"""Keys about what is made here before it is pushed."""

from __future__ import annotations

from pydantic import Field, field_validator

from .basics import Model, Seconds, relative


class Build(Model):
    """A command that runs on this machine before any host is touched."""

    command: str = Field(description="Run by `/bin/sh -c` in the fabfile's directory.", min_length=1)
    inputs: list[str] = Field(
        [],
        description="What it reads: files, directories and globs (`src/**/*.ts`), relative to the fabfile. Where "
        "neither they nor the outputs changed since it last went well, it is skipped; without them it always runs.",
    )
    outputs: list[str] = Field(
        [],
        description="What it makes: files, directories and globs, relative to the fabfile. They have to be there when "
        "it has ended, and they are part of the release whatever leaves them out of the source.",
    )
    timeout: Seconds | None = Field(None, description="Seconds until it is ended and counts as failed.", gt=0)

    @field_validator("inputs")
    @classmethod
    def _named(cls, paths: list[str]) -> list[str]:
        for path in paths:
            if not path or "\0" in path:
                raise ValueError(f"{path!r} is no path")
        return paths

    _inside = field_validator("outputs")(lambda paths: [relative(path) for path in paths])
