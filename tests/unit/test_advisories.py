"""Which versions an OSV record means (OSV format, "Evaluation")."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.bundle.advisories import is_affected


def affected(*events: dict[str, str], versions: tuple[str, ...] = (), kind: str = "ECOSYSTEM") -> dict[str, Any]:
    return {"ranges": [{"type": kind, "events": list(events)}], "versions": list(versions)}


TWICE = affected(
    {"fixed": "1.2"}, {"introduced": "1.0"}, {"introduced": "2.0rc1"}, {"last_affected": "2.3"}, {"introduced": "3"}
)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("0.9", False), ("1.0rc1", False), ("1.0", True), ("1.1.post1", True), ("1.2", False), ("1.9", False),
        ("2.0rc1", True), ("2.0", True), ("2.3", True), ("2.3.0", True), ("2.3.1", False), ("3.0", True), ("9", True),
    ],
)  # fmt: skip
def test_ranges_are_walked_in_the_order_of_versions(version: str, expected: bool) -> None:
    assert is_affected(TWICE, version) is expected


def test_zero_is_before_everything_and_listed_versions_count_as_they_are() -> None:
    assert is_affected(affected({"introduced": "0"}), "0.0.1a1")
    assert is_affected(affected(versions=("1.0.0", "rubbish")), "1.0")
    assert not is_affected(affected(versions=("1.0.1",)), "1.0")
    assert not is_affected(affected({"introduced": "0"}, kind="GIT"), "1.0")
    assert not is_affected({}, "1.0")


def test_where_versions_cannot_be_compared_it_counts() -> None:
    assert is_affected(affected({"introduced": "0"}, {"fixed": "the next one"}), "1.0")
