"""Many hosts at once: one SSH server that answers at many addresses of loopback, each with a base path of its own."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.local.conftest import free_port
from tests.local.many import Many

HUNDREDS = 300
# One that fails is switched thrice: MANY_HOSTS=300 is for a quiet machine.
HOSTS = int(os.environ.get("MANY_HOSTS", "45"))
PARALLEL = 30
"""As it comes."""
BATCH = 25


@pytest.fixture
def many(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Many]:
    made = Many(tmp_path, getattr(request, "param", 4))
    made.server.start()
    yield made
    made.server.stop()


@pytest.mark.parametrize("many", [HUNDREDS], indirect=True)
def test_three_hundred_hosts_are_deployed_to(many: Many) -> None:
    """With no more connections than are allowed, and in lines that somebody can read."""
    many.lighten()
    last, reached = HUNDREDS - 1, HUNDREDS - 1
    many.move(last, free_port())
    many.configure(rolling={"batch": "half"})

    with many.connections() as connections:
        said = many.fab("deploy", "--skip-unreachable")
    assert {many.version(number) for number in range(reached)} == {"one"}
    assert verdicts(many, range(reached)) == {("good",)}
    assert not many.base(last).exists()
    assert connections.most == PARALLEL
    assert f"left out, because not reached: {many.addresses[last]}" in said
    assert len(said.splitlines()) < 40, said


@pytest.mark.parametrize("many", [HOSTS], indirect=True)
def test_more_hosts_than_connections_go_back_when_one_of_them_fails(many: Many) -> None:
    at, last, broken = many.server.port, HOSTS - 1, HOSTS - 2
    reached = HOSTS - 1
    many.move(last, free_port())
    # A restart that fails on one host, once there is something to go back to.
    restart = 'test ! -e "$DEPLOY_BASE/shared/broken" || grep -qx one version.txt'
    many.configure(service={"manager": "command", "command": restart, "sudo": False}, rolling={"batch": BATCH})

    with many.connections() as connections:
        said = many.fab("deploy", "--skip-unreachable")
    assert {many.version(number) for number in range(reached)} == {"one"}
    assert not many.base(last).exists()
    assert re.search(rf" {reached} hosts: pushed \S+: .* \(\d+\.\d( to \d+\.\d)? s\)", said), said
    assert re.search(rf"^{reached} hosts  \S+ .* push \d", said, re.MULTILINE), said
    assert f"left out, because not reached: {many.addresses[last]}" in said
    assert connections.most == PARALLEL

    (many.base(broken) / "shared/broken").touch()
    (many.directory / "version.txt").write_text("two\n")
    with many.connections() as again:
        failed = many.fab("deploy", "--skip-unreachable", expect=6)
    former = {os.readlink(many.base(number) / "current") for number in range(reached)}
    assert len(former) == 1
    assert {many.version(number) for number in range(reached)} == {"one"}
    assert len(verdicts(many, range(reached))) == 1, verdicts(many, range(reached))
    assert f"{many.addresses[broken]}:{at}: the restart failed (exit 1)" in failed
    assert again.most == PARALLEL
    # A phase is a line or two and a batch a few, whatever there are of hosts.
    for text in (said, failed):
        assert len(text.splitlines()) < 30 + 10 * (HOSTS // BATCH + 1), text


def verdicts(many: Many, numbers: Iterable[int]) -> set[tuple[str, ...]]:
    """The states of the releases, oldest first, on each of the hosts; those that are alike once."""
    found = set()
    for number in numbers:
        releases = json.loads((many.base(number) / ".deploy/releases.json").read_text())["releases"]
        found.add(tuple(releases[name]["state"] for name in sorted(releases)))
    return found


def test_a_host_that_is_not_reached_is_left_out_where_that_is_allowed_and_brought_up_later(many: Many) -> None:
    at, nobody = many.server.port, free_port()
    many.move(2, nobody)
    many.configure()
    name = f"{many.addresses[2]}:{nobody}"

    said = many.fab("deploy", expect=4)
    assert name in said
    assert not many.base(0).exists()
    said = many.fab("deploy", "--skip-unreachable")
    assert f"left out, because not reached: {name}" in said
    assert [many.version(number) for number in (0, 1, 3)] == ["one"] * 3
    assert not many.base(2).exists()
    journal = [json.loads(line) for line in (many.base(0) / ".deploy/journal.jsonl").read_text().splitlines()]
    assert journal[-1]["left_out"] == [name]

    assert "not reached" in many.fab("status", expect=4)
    assert "not reached" in many.fab("status", "--skip-unreachable")
    said = many.fab("check", expect=4)
    assert f"{many.addresses[3]}:{at}: Python" in said

    many.configure(max_unreachable="24%")
    said = many.fab("deploy", expect=4)
    assert "1 of 4 hosts are not reached and deploy.max_unreachable allows 0" in said
    many.configure(max_unreachable=1)
    many.fab("deploy")

    many.move(2, at)
    many.move(0, nobody)
    many.configure()
    said = many.fab("deploy", "--skip-unreachable", expect=4)
    assert "the primary host is not reached" in said
    assert "the deploy lock of the stage lies there" in said

    many.move(0, at)
    many.configure()
    many.fab("deploy")
    assert [many.version(number) for number in range(4)] == ["one"] * 4


def test_a_wrong_host_key_is_never_left_out(many: Many) -> None:
    known = many.directory.parent / "client/known_hosts"
    other = many.addresses[3]
    known.write_text("".join(line for line in known.read_text().splitlines(True) if f"[{other}]" not in line))
    said = many.fab("deploy", "--skip-unreachable", expect=4)
    assert other in said
    assert not many.base(0).exists()
