"""What stays on the hosts: found lacking before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import Project

pytestmark = pytest.mark.fleet


@pytest.fixture
def two(boot: Any) -> list[Machine]:
    machines: list[Machine] = boot.all(("bookworm", "web1"), ("trixie", "web2"))
    return machines


def test_what_is_missing_or_unusable_in_shared_is_told_host_by_host_before_anything_is_sent(
    tmp_path: Path, fleet: Fleet, two: list[Machine]
) -> None:
    one, other = two
    project = Project(tmp_path / "tiny", fleet, two, shared={"files": [".env", "key.pem"], "dirs": ["data"]})
    one.run("touch /srv/tiny/shared/key.pem; chown root: /srv/tiny/shared/.env; touch /srv/tiny/shared/data")
    for words in (["check"], ["deploy"], ["push"]):
        said = project.fab(*words, expect=5).output
        assert f"{one.address}: /srv/tiny/shared/.env cannot be read by the deploy user" in said
        assert f"{one.address}: /srv/tiny/shared/data is not a directory" in said
        assert f"{other.address}: /srv/tiny/shared/key.pem is missing" in said
        assert f"{other.address}: /srv/tiny/shared/.env" not in said
    for machine in two:
        sent = machine.run("ls -A /srv/tiny/releases /srv/tiny/wheels /srv/tiny/venvs", check=False).stdout
        assert not [line for line in sent.split() if not line.startswith("/")], sent
