"""Where hosts go back to: decided by what the probe found on each."""

from __future__ import annotations

from typing import Any

from deploy.flows.rollback import WayBack, choose


def host(live: str, rollback: str, state: str = "good") -> dict[str, Any]:
    return {"live": live, "rollback": rollback, "releases": {live: {"state": state}}}


def test_each_host_goes_to_its_own_former_release() -> None:
    found = choose({"web1": host("two", "one"), "web2": host("two", "other")})
    assert found == WayBack({"web1": "one", "web2": "other"})


def test_of_a_mixed_fleet_those_go_back_that_are_ahead() -> None:
    found = choose({"web1": host("two", "one"), "web2": host("one", "zero"), "web3": host("one", "")})
    assert found == WayBack({"web1": "one"}, there=["web2", "web3"])


def test_a_host_with_nothing_to_go_back_to_does_not_stop_the_others() -> None:
    found = choose({"web1": host("two", "one"), "web2": host("two", ""), "web3": host("", "")})
    assert found == WayBack({"web1": "one"}, without=["web2", "web3"])


def test_a_host_that_was_not_seen_well_on_its_way_there_is_brought_there_and_no_further() -> None:
    found = choose({"web1": host("one", "zero", "live"), "web2": host("two", "one")})
    assert found == WayBack({"web1": "one", "web2": "one"})


def test_where_nobody_is_ahead_all_go_back() -> None:
    found = choose({"web1": host("two", "one"), "web2": host("one", "two")})
    assert found == WayBack({"web1": "one", "web2": "two"})
