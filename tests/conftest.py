"""The one option that all tests share: whether real Debian hosts are booted; and where they cannot be, who is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fleet import bases

FLEET_TESTS = Path(__file__).parent / "fleet"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fleet", action="store_true", help="also run the tests that boot real Debian hosts")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if collection_path == FLEET_TESTS or FLEET_TESTS in collection_path.parents:
        return None if config.getoption("--fleet") else True
    return None


def pytest_configure(config: pytest.Config) -> None:
    # Once, and not by each of several processes at the same time.
    if _is_in_charge(config) and config.getoption("--fleet") and bases.why_not() is None:
        bases.install_tools()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if not _is_in_charge(session.config) or not session.config.getoption("--fleet") or bases.why_not() is None:
        return
    if os.environ.get("FLEET_REQUIRED") == "1":
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    elif session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("--fleet") and (reason := bases.why_not()):
        terminalreporter.write_line(f"fleet tests not run: {reason}", yellow=True)


def _is_in_charge(config: pytest.Config) -> bool:
    """Whether this process is not one of those that another one shares the tests out to."""
    return not hasattr(config, "workerinput")
