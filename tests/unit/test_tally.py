"""The report of many hosts: what is alike is one line, what differs is one of its own."""

from __future__ import annotations

import io

import pytest

from deploy.report.console import LiveReport, Report
from deploy.report.tally import MANY, Alike, Tally, some

HOSTS = [f"web{number}" for number in range(MANY + 5)]


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def report(stream: io.StringIO) -> Report:
    made = Report(stream)
    made.gather(HOSTS)
    return made


def lines(stream: io.StringIO) -> list[str]:
    return [line.partition(" ")[2] for line in stream.getvalue().splitlines()]


def test_what_most_hosts_say_is_one_line_and_comes_before_what_differs() -> None:
    tally = Tally(HOSTS)
    tally.ended("push", "web0", "pushed 7 KiB", 3.0)
    for host in HOSTS[1:-1]:
        assert not tally.ended("push", host, "pushed 5 KiB", 1.0)
    assert tally.done("push") == len(HOSTS) - 1
    assert tally.ended("push", HOSTS[-1], "pushed 5 KiB", 2.5)
    assert tally.take() == [
        Alike(f"{len(HOSTS) - 1} hosts", "pushed 5 KiB (1.0 to 2.5 s)", "ended"),
        Alike("web0", "pushed 7 KiB (3.0 s)", "ended"),
    ]
    assert tally.take() == []


def test_what_each_host_says_in_its_own_words_is_a_few_lines_and_an_example() -> None:
    tally = Tally(HOSTS)
    for number, host in enumerate(HOSTS):
        tally.ended("push", host, "pushed nothing" if number in (3, 4) else f"pushed {number} KiB", 1.0)
    first, *others, rest = tally.take()
    assert first == Alike("web3, web4", "pushed nothing (1.0 s)", "ended")
    assert [alike.who for alike in others] == ["web0", "web1", "web2", "web5", "web6", "web7"]
    assert rest == Alike(f"{len(HOSTS) - 8} hosts", f"in {len(HOSTS) - 8} ways, such as: pushed 8 KiB (1.0 s)", "ended")


def test_a_detail_is_told_of_a_few_hosts_and_not_of_many(report: Report, stream: io.StringIO) -> None:
    for host in HOSTS:
        with report.step("health", host) as step:
            step.outcome, step.detail = "healthy", f"main process of {host}"
    few = Report(stream)
    with few.step("health", "web1") as step:
        step.outcome, step.detail = "healthy", "main process 7"
    assert lines(stream) == [f"{len(HOSTS)} hosts: healthy (0.0 s)", "web1: healthy (main process 7) (0.0 s)"]


def test_a_phase_is_told_when_its_last_host_is_through(report: Report, stream: io.StringIO) -> None:
    for host in HOSTS:
        assert lines(stream) == []
        with report.step("push", host) as step:
            step.outcome = "pushed"
    assert lines(stream) == [f"{len(HOSTS)} hosts: pushed (0.0 s)"]


def test_who_fails_is_told_at_once_and_by_name(report: Report, stream: io.StringIO) -> None:
    with report.step("push", "web0") as step:
        step.outcome = "pushed"
    with pytest.raises(OSError, match="gone"), report.step("push", "web1"):
        raise OSError("gone")
    assert lines(stream) == ["web1: push failed"]
    report.say("going back")
    assert lines(stream)[1:] == ["web0: pushed (0.0 s)", "going back"]


def test_what_hosts_say_stays_in_order_and_is_said_once_for_all(report: Report, stream: io.StringIO) -> None:
    for host in HOSTS:
        report.say("first", host)
        report.warn("second", host)
        report.say(f"only {host}", host) if host == "web3" else None
    with report:
        report.say("of the laptop", "here")
        report.say("again", "web1")
    assert lines(stream) == [
        f"{len(HOSTS)} hosts: first",
        f"{len(HOSTS)} hosts: warning: second",
        "web3: only web3",
        "here: of the laptop",
        "web1: again",
    ]


def test_a_few_hosts_get_a_line_each(stream: io.StringIO) -> None:
    report = Report(stream)
    report.gather(HOSTS[: MANY - 1])
    report.say("here I am", "web0")
    assert lines(stream) == ["web0: here I am"]


def test_a_terminal_shows_phases_with_the_host_that_takes_longest() -> None:
    report = LiveReport()
    report.gather(HOSTS)
    with report.step("push", "web0"):
        pass
    with report.step("push", "web1"), report.step("push", "web2"):
        report.progress("5 of 9 MiB", "web2")
        drawn = [line.plain for line in report._draw().renderables]
    assert drawn == [f"  … push  1 of {len(HOSTS)} done, 2 at work, longest web1  0 s"]


def test_names_are_told_as_far_as_they_can_be_read() -> None:
    assert some(HOSTS[:MANY]) == ", ".join(HOSTS[:MANY])
    assert some(HOSTS) == f"web0, web1, web2 and {len(HOSTS) - 3} more"
