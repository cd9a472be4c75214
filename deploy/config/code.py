"""Keys about the code: where it comes from, and what outlives a release."""

from __future__ import annotations

from itertools import pairwise
from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field, field_validator, model_validator

from .basics import Model, relative


class Source(Model):
    """Where the code comes from and how it travels."""

    strategy: Literal["auto", "rsync", "stream", "git", "hg", "svn"] = Field(
        "auto",
        description="What lies here, by `rsync`, by `stream` (over the connection itself), or by `auto`: rsync where "
        "both ends have it, and the stream for little. Or what is committed, by `git`, `hg` or `svn`.",
    )
    verify: Literal["off", "signed"] = Field(
        "off", description="`signed`: with `git`, refuse a commit whose signature, or its tag's, does not verify."
    )
    path: str = Field(".", description="The directory to push, relative to the fabfile.")
    exclude: list[str] = Field(
        [],
        description="Patterns, as in a .gitignore, of what stays behind beside what never goes; they count after "
        "those of `.deployignore` files.",
    )
    gitignore: bool = Field(
        False,
        description="Leave behind what git ignores; outside of a repository what `.gitignore` files name.",
    )

    @property
    def committed(self) -> bool:
        """Whether what travels is a commit, and not what lies here."""
        return self.strategy in ("git", "hg", "svn")

    @model_validator(mode="after")
    def _verifiable(self) -> Source:
        if self.verify == "signed" and self.strategy != "git":
            raise ValueError("verify: signed needs strategy: git; nothing else carries signatures")
        return self


class Shared(Model):
    """What outlives a release: linked from `shared/` into each one."""

    files: list[str] = Field([], description="Files that must be in `shared/` on each host, such as `.env`.")
    dirs: list[str] = Field([], description="Directories; made where they are lacking.")

    _inside = field_validator("files", "dirs")(lambda paths: [relative(path) for path in paths])

    @model_validator(mode="after")
    def _apart(self) -> Shared:
        paths = sorted(PurePosixPath(path) for path in self.files + self.dirs)
        for outer, inner in pairwise(paths):
            if inner.is_relative_to(outer):
                raise ValueError(f"shared paths may not lie in each other: {inner} in {outer}")
        return self
