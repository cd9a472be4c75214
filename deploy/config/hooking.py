"""Keys about what runs at points of a deploy, beside what the deploy itself does."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ..hooks import HERE_ONLY
from .basics import Model, Seconds


class Hook(Model):
    """A command at a point of a deploy; one that needs nothing more may be given as text."""

    command: str = Field(
        description="A shell line. On hosts: in the release's directory, its venv first on PATH, its `.env` loaded. "
        "Locally: in the fabfile's directory.",
        min_length=1,
    )
    where: Literal["hosts", "primary", "local"] = Field(
        "hosts",
        description="On all hosts of the run in parallel, on the primary one, or once on this machine. Before and "
        "after a build it is always `local`.",
    )
    sudo: bool = Field(
        False, description="As root, by sudo; in the release's directory, but without its venv and `.env`."
    )
    timeout: Seconds = Field(600, description="Seconds until it is ended and counts as failed.", gt=0)

    @model_validator(mode="after")
    def _on_hosts(self) -> Hook:
        if self.sudo and self.where == "local":
            raise ValueError("sudo is for hosts; here, write it into the command")
        return self


class Hooks(Model):
    """Commands at points of a deploy, each a list that runs in its order."""

    before_build: list[Hook] = Field([], description="Before the commands of `build`, where there are some; here.")
    after_build: list[Hook] = Field(
        [], description="After the commands of `build`, before the code is looked at; here."
    )
    before_push: list[Hook] = Field([], description="Before code is sent; on hosts it runs in the base path.")
    after_push: list[Hook] = Field(
        [], description="The code lies in the new release on every host; it has no venv yet."
    )
    before_deps: list[Hook] = Field([], description="Before wheels are sent and the venv is made.")
    after_deps: list[Hook] = Field([], description="The new release is complete on every host; nothing serves it yet.")
    before_migrate: list[Hook] = Field([], description="Before the migration, where one is configured.")
    after_migrate: list[Hook] = Field([], description="After it.")
    before_activate: list[Hook] = Field([], description="Before `current` is switched anywhere.")
    after_activate: list[Hook] = Field([], description="`current` is switched everywhere; nothing is restarted yet.")
    before_restart: list[Hook] = Field([], description="Before the service is restarted, where there is one.")
    after_restart: list[Hook] = Field([], description="After it is restarted, healthy and proven everywhere.")
    after_deploy: list[Hook] = Field([], description="The new release serves and is recorded as good.")
    before_rollback: list[Hook] = Field([], description="Of `fab rollback`, before it switches.")
    after_rollback: list[Hook] = Field([], description="Of `fab rollback`, when the former release serves again.")
    on_failure: list[Hook] = Field([], description="A task failed; on hosts it runs in the base path.")

    @field_validator("*", mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return [{"command": item} if isinstance(item, str) else item for item in value] if _is_list(value) else value

    @field_validator(*HERE_ONLY, mode="before")
    @classmethod
    def _here(cls, value: Any) -> Any:
        if not _is_list(value):
            return value
        for item in value:
            if isinstance(item, dict) and item.get("where", "local") != "local":
                raise ValueError("no host is reached yet, so where can only be local")
        return [
            {"command": item, "where": "local"} if isinstance(item, str)
            else {"where": "local", **item} if isinstance(item, dict)
            else item
            for item in value
        ]  # fmt: skip


def _is_list(value: Any) -> bool:
    return isinstance(value, list)
