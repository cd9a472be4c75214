"""What a person reads when something failed, on one host and on many."""

from __future__ import annotations

from deploy.errors import (
    CheckFailed,
    ConnectionFailed,
    DeployError,
    ExitCode,
    RolledBack,
    StagingFailed,
    as_kind,
    because,
    by_host,
    combine,
)
from deploy.host.session import HostFailure


def failed(host: str, what: str = "the restart failed", output: str = "", hint: str = "") -> StagingFailed:
    return StagingFailed(what, where=host, output=output, hint=hint)


def test_one_failure_stays_what_it_is() -> None:
    assert str(combine([failed("web1", output="no space", hint="make room")])) == (
        "web1: the restart failed\n  | no space\n  make room"
    )


def test_the_same_failure_of_three_hosts_is_told_once() -> None:
    three = [failed(host, output="no space", hint="make room") for host in ("web1", "web2", "web3")]
    assert str(combine(three)) == "web1, web2, web3: the restart failed\n  | no space\n  make room"


def test_where_the_output_differs_it_says_whose_is_shown() -> None:
    said = str(combine([failed("web1", output="pid 1 ended"), failed("web2", output="pid 2 ended")]))
    assert said == "web1, web2: the restart failed\n  | web1 says:\n  | pid 1 ended"


def test_different_failures_are_told_one_by_one() -> None:
    errors = [
        failed("web1", output="no space"),
        failed("web2", "the disk is full", hint="make room"),
        failed("web3", output="no space"),
    ]
    assert str(combine(errors)) == (
        "3 hosts failed\n  web1, web3: the restart failed\n    | no space\n  web2: the disk is full\n    make room"
    )


def test_many_lines_of_output_are_cut_and_the_last_ones_stay() -> None:
    long = "\n".join(map(str, range(40)))
    for errors in ([failed("a", output=long)], [failed("a", output=long), failed("b", output=long + "x")]):
        said = str(combine(errors)).splitlines()
        assert len(said) == 16
        assert said[-1] == "  | 39"


def test_the_kind_is_that_of_the_first_and_what_it_knows_is_kept() -> None:
    assert combine([failed("a"), ConnectionFailed("lost", where="b")]).exit_code == ExitCode.STAGING
    two = [HostFailure("is held", where=host, hint="", kind="locked") for host in ("a", "b")]
    alike = combine(two)
    assert isinstance(alike, HostFailure)
    assert alike.kind == "locked"
    assert [error.where for error in two] == ["a", "b"]


def test_another_kind_tells_all_that_the_cause_tells() -> None:
    cause = combine([failed("a"), failed("b", "the disk is full")])
    said = str(because(RolledBack, f"{cause.what}; the former release serves again", cause, hint="look"))
    assert said.startswith("2 hosts failed; the former release serves again\n  a: the restart failed\n  b: the disk")
    assert said.endswith("\n  look")
    assert as_kind(CheckFailed, cause).parts == cause.parts


def test_a_journal_gets_one_line() -> None:
    cause = combine([failed("a", output="x"), failed("b", "the disk\nis full", hint="y")])
    assert cause.line == "2 hosts failed: a: the restart failed; b: the disk is full"
    assert DeployError("interrupted").line == "interrupted"


def test_what_is_in_the_way_of_several_hosts_is_listed_once() -> None:
    assert by_host([("a", "no venv"), ("a", "no space"), ("b", "no venv")]) == "  a, b: no venv\n  a: no space"
