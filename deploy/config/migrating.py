"""Keys about the database: how it is migrated, and what a rollback means for it."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from ..hostside import patterns
from .basics import Model, Seconds, relative


class Downgrade(Model):
    """How a rollback takes the schema back."""

    command: str = Field(
        description="Run on the primary host in the release that is left, before anything is switched; `DEPLOY_HEAD` "
        "holds the heads that the release to go back to was recorded with, a line for each.",
        min_length=1,
    )


class Migrate(Model):
    """The command that brings the database to the new release's schema."""

    command: str = Field(
        description="Run once, on the primary host, in the new release; its venv first on PATH, `.env` loaded.",
        min_length=1,
    )
    timeout: Seconds | None = Field(
        None,
        description="Seconds until it, or a downgrade, is ended and counts as failed; default: it takes what it takes.",
        gt=0,
    )
    when: Literal["before", "after"] = Field(
        "before", description="Before the first batch is switched, or after all hosts are well with the new release."
    )
    only_if_changed: list[str] = Field(
        [],
        description="Paths and globs inside the release (`**/migrations/*.py`), or of its venv "
        "(`.venv/**/migrations/*.py`): a deploy that changes none of these files does not migrate. Default: each does.",
    )
    head: str = Field(
        "",
        description="A command that prints what the schema is at, such as the last migration's name; run after each "
        "migration, and recorded for the release.",
    )
    rollback: Literal["warn", "refuse"] | Downgrade = Field(
        "warn",
        description="What `fab rollback` does where the schema is not what the release to go back to was recorded "
        "with: say so, go nowhere, or run a command that takes it back. It is compared by `head`.",
    )

    @field_validator("only_if_changed")
    @classmethod
    def _inside(cls, values: list[str]) -> list[str]:
        for value in values:
            try:
                relative(value)
                re.compile(patterns.regular(value))
            except re.error:
                raise ValueError(f"{value} is no glob") from None
            except ValueError as error:
                raise ValueError(f"{value}: {error}") from None
        return values

    @model_validator(mode="after")
    def _comparable(self) -> Migrate:
        if "rollback" in self.model_fields_set and not self.head:
            raise ValueError("rollback compares what head prints, so head is needed, too")
        return self
