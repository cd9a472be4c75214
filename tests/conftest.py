"""The one option that all tests share: whether real Debian hosts are booted."""

from __future__ import annotations

from pathlib import Path

import pytest

FLEET_TESTS = Path(__file__).parent / "fleet"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fleet", action="store_true", help="also run the tests that boot real Debian hosts")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if collection_path == FLEET_TESTS or FLEET_TESTS in collection_path.parents:
        return None if config.getoption("--fleet") else True
    return None
