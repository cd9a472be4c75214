"""The snapshot: what travels, and what never does."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.errors import ConfigurationError
from deploy.source import outputs
from deploy.source.snapshot import take


def paths(root: Path, exclude: list[str], shared: list[str]) -> list[str]:
    return [item.path for item in take(root, exclude, shared).entries]


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "media/photos").mkdir(parents=True)
    for name in (".env", "app.py", "a.txt", "*.txt", "media/photos/one.jpg", "media/logo.svg"):
        (tmp_path / name).touch()
    return tmp_path


def test_secrets_stay_even_if_a_pattern_calls_them_back(code: Path) -> None:
    assert ".env" not in paths(code, ["!.env"], [])


def test_what_is_shared_stays_by_its_name_and_nothing_else_does(code: Path) -> None:
    assert paths(code, [], ["*.txt", "media/photos"]) == ["a.txt", "app.py", "media", "media/logo.svg"]


@pytest.mark.parametrize("pattern", ["!", "\\", "[z-a]"])
def test_a_pattern_that_is_none_is_named(code: Path, pattern: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        take(code, ["*.log", pattern])
    assert repr(pattern) in str(caught.value)
    assert "deploy.source.exclude" in str(caught.value)


def test_what_was_built_travels_whatever_excludes_it_but_secrets_do_not(code: Path) -> None:
    (code / "static/js").mkdir(parents=True)
    for name in ("static/js/app.js", "static/.env", "static/other.txt", "odd[1].css", ".hidden.css"):
        (code / name).touch()
    (code / "static/js/link").symlink_to("/etc")
    (code / "media/built.txt").touch()
    built = outputs.below(code, code, ["static/js", "static/.env", "*.css", "odd[1].css", "media/*", "nosuch/**"])
    travels = [item.path for item in take(code, ["*"], ["media/photos"], built).entries]
    assert travels == [
        ".hidden.css", "media", "media/built.txt", "media/logo.svg", "odd[1].css",
        "static", "static/js", "static/js/app.js", "static/js/link",
    ]  # fmt: skip


def test_what_was_built_outside_the_source_or_behind_a_link_stays(code: Path) -> None:
    (code / "src").mkdir()
    (code / "elsewhere").mkdir()
    for name in ("src/app.js", "beside.js", "elsewhere/far.js"):
        (code / name).touch()
    (code / "src/way").symlink_to(code / "elsewhere")
    assert outputs.below(code / "src", code, ["**/*.js"]) == ["app.js"]
