"""The snapshot: what travels, and what never does."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.errors import ConfigurationError
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
