"""Batches: which hosts are switched together, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from deploy import config
from deploy.config import Canary, Rolling
from deploy.fleet.batches import divide
from tests.unit.test_config import problems, section

WEB = [f"web{number}" for number in range(1, 6)]


def batches(hosts: list[str] = WEB, canaries: list[str] | None = None, **rolling: Any) -> list[str]:
    """Each batch as a line, a canary with a mark."""
    found = divide(hosts, Rolling(**rolling), primary="web2", canaries=canaries or [], total=5)
    assert [batch.number for batch in found] == list(range(1, len(found) + 1))
    return ["*" * batch.canary + " ".join(batch.hosts) for batch in found]


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        ("all", ["web1 web2 web3 web4 web5"]),
        (1, WEB),
        ("2", ["web1 web2", "web3 web4", "web5"]),
        (9, ["web1 web2 web3 web4 web5"]),
        ("half", ["web1 web2 web3", "web4 web5"]),
        ("25%", WEB),
        ("50%", ["web1 web2", "web3 web4", "web5"]),
        ("1%", WEB),
        ("100%", ["web1 web2 web3 web4 web5"]),
    ],
)
def test_a_size_is_a_number_a_part_rounded_down_half_or_all(batch: Any, expected: list[str]) -> None:
    assert batches(batch=batch) == expected


def test_a_part_is_one_of_the_whole_run_however_few_hosts_are_to_be_switched() -> None:
    assert batches(["web4", "web5"], batch="50%") == ["web4 web5"]
    assert batches(["web3", "web4", "web5"], batch="25%") == ["web3", "web4", "web5"]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("listed", "web1 web2 web3 web4 web5"),
        ("reversed", "web5 web4 web3 web2 web1"),
        ("primary-first", "web2 web1 web3 web4 web5"),
        ("primary-last", "web1 web3 web4 web5 web2"),
    ],
)
def test_the_order_is_the_stages_or_says_where_the_primary_host_is(order: str, expected: str) -> None:
    assert " ".join(batches(batch=1, order=order)) == expected
    assert batches(["web5"], order=order) == ["web5"], "the primary host need not be among them"


def test_canaries_go_first_by_themselves() -> None:
    assert batches(batch=2, canary=Canary(count=1)) == ["*web1", "web2 web3", "web4 web5"]
    assert batches(canary=Canary(count=1), order="reversed") == ["*web5", "web4 web3 web2 web1"]
    named = Canary(hosts=["web4", "web2"])
    assert batches(canaries=["web2", "web4"], canary=named) == ["*web2 web4", "web1 web3 web5"]
    assert batches(["web1", "web3"], ["web2"], canary=named) == ["web1 web3"], "a canary that is up to date"
    assert batches(canary=Canary(count=5)) == ["web1 web2 web3 web4 web5"], "there is nobody to be kept from harm"


@pytest.mark.parametrize("hosts", [[], ["web1"], WEB])
@pytest.mark.parametrize("batch", ["all", "half", 1, 3, "30%"])
@pytest.mark.parametrize("count", [0, 1, 4])
def test_every_host_is_in_one_batch(hosts: list[str], batch: Any, count: int) -> None:
    canary = Canary(count=count) if count and batch != "half" else None
    found = divide(hosts, Rolling(batch=batch, canary=canary), primary="web1", canaries=[], total=5)
    assert [host for each in found for host in each.hosts] == hosts
    assert all(each.hosts for each in found)


@pytest.mark.parametrize(
    ("rolling", "said"),
    [
        ({"batch": 0}, "deploy.rolling.batch: a batch has at least one host"),
        ({"batch": "0%"}, "a batch has at least one host"),
        ({"batch": "101%"}, "at most 100%"),
        ({"batch": -1}, "must be a number of hosts, a part of them such as '25%', half, or all"),
        ({"batch": "most"}, "must be a number of hosts"),
        ({"batch": True}, "must be a number of hosts"),
        ({"batch": 2.5}, "must be a number of hosts"),
        ({"wait": -1}, "deploy.rolling.wait"),
        ({"canary": {}}, "either hosts or count"),
        ({"canary": {"hosts": ["web1"], "count": 1}}, "either hosts or count"),
        ({"canary": {"hosts": ["web9"]}}, "rolling.canary.hosts: web9 is not in this stage"),
        ({"canary": {"count": 1, "pause": -3}}, "deploy.rolling.canary.pause"),
        ({"batch": "half", "canary": {"count": 1}}, "half is two batches"),
        ({"order": "random"}, "deploy.rolling.order"),
        ({"batsh": 1}, "deploy.rolling.batsh: unknown key; did you mean batch?"),
        ({"canary": {"cuont": 1}}, "deploy.rolling.canary.cuont: unknown key; did you mean count?"),
    ],
)
def test_a_wrong_value_is_told_with_what_is_right(rolling: dict[str, Any], said: str) -> None:
    assert said in problems(section(rolling=rolling))


def test_a_canary_is_named_with_or_without_its_user() -> None:
    for name in ("web2.example.org", "deploy@web2.example.org"):
        its = {
            "hosts": ["deploy@web1.example.org", "deploy@web2.example.org"],
            "rolling": {"canary": {"hosts": [name]}},
        }
        config.load(section(stages={"production": its}), "production", "fabric.yaml")


@pytest.mark.parametrize(("written", "means"), [("all", "all"), ("batch", "batch"), ("off", "off"), (False, "off")])
def test_off_means_off_although_yaml_reads_false(written: Any, means: str) -> None:
    assert config.load(section(rollback=written), "production", "fabric.yaml").rollback == means
