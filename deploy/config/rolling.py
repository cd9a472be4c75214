"""Keys about the order in which hosts are switched, and what becomes of those that were when one fails."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from .basics import Model

Rollback = Literal["all", "batch", "off"]


class Canary(Model):
    """Hosts that are switched before all others, and looked at for a while."""

    hosts: list[str] = Field([], description="Which, as `hosts` of the stage calls them; the user may be left out.")
    count: int = Field(0, description="How many instead: the first ones in `order`.", ge=0)
    pause: float = Field(
        0, description="Seconds after which they are looked at again; then the others follow.", ge=0, le=86400
    )

    @model_validator(mode="after")
    def _one_way(self) -> Canary:
        if bool(self.hosts) == bool(self.count):
            raise ValueError("either hosts or count (1 or more) says which hosts they are")
        if len(set(self.hosts)) < len(self.hosts):
            raise ValueError("hosts: one is named twice")
        return self


class Rolling(Model):
    """Hosts are switched batch by batch; every host is staged before the first is."""

    batch: int | str = Field(
        "all",
        description="How many hosts are switched together: a number, a part of the run's hosts (`25%`, rounded down, "
        "at least one), `half` (two batches), or `all`.",
    )
    order: Literal["listed", "reversed", "primary-first", "primary-last"] = Field(
        "listed", description="Which hosts come first: those that the stage lists first, or last, or its primary one."
    )
    wait: float = Field(0, description="Seconds between two batches.", ge=0, le=86400)
    canary: Canary | None = Field(None, description="Hosts that go first, by themselves.")

    @field_validator("batch", mode="before")
    @classmethod
    def _size(cls, value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise ValueError(_SIZES)
        text = str(value).strip()
        if text in ("half", "all"):
            return text
        if not re.fullmatch(r"[0-9]{1,4}%?", text):
            raise ValueError(_SIZES)
        number = int(text.rstrip("%"))
        if number == 0:
            raise ValueError("a batch has at least one host")
        if not text.endswith("%"):
            return number
        if number > 100:
            raise ValueError("at most 100%")
        return f"{number}%"

    @model_validator(mode="after")
    def _half_alone(self) -> Rolling:
        if self.batch == "half" and self.canary:
            raise ValueError("half is two batches, and a canary would be a third; choose one of them")
        return self


_SIZES = "must be a number of hosts, a part of them such as '25%', half, or all"
