"""Fleets, batch by batch on real hosts, by a journal of every start; failures, interrupts, what is taken up."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import Project

pytestmark = pytest.mark.fleet

UNIT = "/etc/systemd/system/tiny.service.d"
NAMES = ("web1", "web2", "web3")


@pytest.fixture
def project(tmp_path: Path, fleet: Fleet, standing: Any) -> Project:
    """Three hosts, on which version one serves; what an earlier test did to them is undone."""
    machines = standing.all(*(("bookworm", name) for name in NAMES))
    for machine in machines:
        _forget(machine)
    project = Project(tmp_path / "tiny", fleet, machines)
    project.fab("deploy")
    for machine in machines:
        machine.run("rm -f /var/tmp/starts")
    project.configure(rolling={"batch": 1})
    return project


def _forget(machine: Machine) -> None:
    """As if nothing had been deployed; from now on each start of the service is written down."""
    machine.run(
        "systemctl stop tiny.service; rm -rf /srv/tiny/releases /srv/tiny/current /srv/tiny/staged", check=False
    )
    machine.run(f"rm -rf /srv/tiny/.deploy {UNIT} /var/tmp/starts")
    machine.write(
        f"{UNIT}/00-journal.conf",
        "[Service]\nExecStartPre=+/bin/sh -c 'echo $$(date +%%s%%N) $$(cat version.txt) >>/var/tmp/starts'\n",
    )


def starts(project: Project) -> list[str]:
    """Every start of the service since the first deploy, of all hosts, in the order in which they were."""
    found = []
    for name, machine in zip(NAMES, project.machines, strict=True):
        lines = machine.run("cat /var/tmp/starts", check=False).stdout.splitlines()
        found += [(int(line.split()[0]), f"{name} {line.split()[1]}") for line in lines]
    return [what for _, what in sorted(found)]


def only(machine: Machine, version: str) -> None:
    """From now on the service starts on *machine* with this version alone."""
    machine.write(f"{UNIT}/guard.conf", f"[Service]\nExecStartPre=/bin/grep -qx {version} version.txt\n")
    machine.run("systemctl daemon-reload")


def slow(machine: Machine) -> None:
    """From now on a start on *machine* takes its time, and can be met."""
    what = "touch /run/restarting; sleep 2; rm -f /run/restarting"
    machine.write(f"{UNIT}/slow.conf", f"[Service]\nExecStartPre=+/bin/sh -c '{what}'\n")
    machine.run("systemctl daemon-reload")


def mend(*machines: Machine) -> None:
    for machine in machines:
        machine.run(f"rm -f {UNIT}/guard.conf {UNIT}/slow.conf; systemctl daemon-reload")


def serving(project: Project) -> list[str]:
    return [project.serving(machine).get("version", "down") for machine in project.machines]


def releases(project: Project) -> list[str]:
    return [project.current(machine) for machine in project.machines]


def newest(project: Project, machine: Machine) -> str:
    return max(project.records(machine)["releases"])


def wait_until_said(process: subprocess.Popen[str], words: str) -> str:
    """All that *process* said until it said this."""
    said = ""
    for line in process.stdout or ():
        said += line
        if words in line:
            return said
    raise AssertionError(said)


def what_follows(process: subprocess.Popen[str]) -> str:
    """The rest of what *process* says, when it has ended."""
    assert process.stdout
    said = process.stdout.read()
    process.wait()
    return said


def row(said: str, machine: Machine) -> str:
    """What the table says of a host."""
    return [line for line in said.splitlines() if line.startswith(machine.address + " ")][-1]


def test_batches_follow_one_another_in_their_order_and_a_rollback_and_a_restart_do_so_too(project: Project) -> None:
    project.configure(rolling={"batch": 1, "order": "reversed", "canary": {"hosts": [project.machines[1].address]}})
    project.version("two")
    shown = project.fab("--dry", "deploy").output
    web1, web2, web3 = (machine.address for machine in project.machines)
    order = [f"batch 1 of 3 (canary, then 0 s): {web2}", f"batch 2 of 3: {web3}", f"batch 3 of 3: {web1}"]
    assert [shown.index(line) for line in order] == sorted(shown.index(line) for line in order)
    assert starts(project) == []
    project.fab("deploy")
    assert starts(project) == ["web2 two", "web3 two", "web1 two"]
    assert [project.states(machine) for machine in project.machines] == [["good", "good"]] * 3
    project.fab("rollback")
    assert starts(project)[3:] == ["web3 one", "web2 one", "web1 one"], "what is known needs no canary"
    project.fab("restart", "--rolling")
    assert starts(project)[6:] == ["web3 one", "web2 one", "web1 one"]
    assert [project.states(machine) for machine in project.machines] == [["good", "bad"]] * 3


def test_a_failure_in_the_second_batch_brings_both_back_the_newest_first(project: Project) -> None:
    only(project.machines[1], "one")
    project.version("two")
    said = project.fab("deploy", expect=6).output
    # The start that the guard refused is written down, too.
    assert starts(project) == ["web1 two", "web2 two", "web2 one", "web1 one"]
    assert serving(project) == ["one"] * 3
    assert "went back: the restart failed" in row(said, project.machines[1])
    assert "went back with the others" in row(said, project.machines[0])
    assert "not touched" in row(said, project.machines[2])
    mend(project.machines[1])
    project.fab("deploy")
    assert serving(project) == ["two"] * 3
    assert len(set(releases(project))) == 1


def test_rollback_batch_keeps_what_is_done_and_a_deploy_or_a_rollback_brings_the_fleet_together(
    project: Project,
) -> None:
    web1, web2, web3 = project.machines
    project.configure(rollback="batch")
    only(web2, "one")
    project.version("two")
    said = project.fab("deploy", expect=6).output
    assert serving(project) == ["two", "one", "one"]
    assert "done, and stays so" in row(said, web1)
    assert "not touched" in row(said, web3)

    one = project.current(web2)
    said = project.fab("rollback").output
    assert said.count(f"left alone: {one} is what others go back to") == 2
    assert serving(project) == ["one"] * 3
    assert releases(project) == [one] * 3

    said = project.fab("deploy", expect=6).output
    mend(web2)
    before = starts(project)
    said = project.fab("deploy").output
    assert f"{web1.address}: left alone" in said
    assert starts(project)[len(before) :] == ["web2 two", "web3 two"]
    assert serving(project) == ["two"] * 3
    assert "nothing to change" in project.fab("deploy").output


def test_rollback_off_leaves_all_as_it_is_and_retry_goes_on_from_there(project: Project) -> None:
    web1, web2, web3 = project.machines
    project.configure(rollback=False)  # what YAML makes of off
    only(web2, "one")
    project.version("two")
    said = project.fab("deploy", expect=7).output
    assert "deploy --retry goes on from here" in said
    assert "left as it is: the restart failed" in row(said, web2)
    assert "not touched" in row(said, web3)
    assert serving(project) == ["two", "down", "one"]
    new = project.current(web1)
    assert project.current(web2) == new
    mend(web2)
    before = starts(project)
    shown = project.fab("--dry", "deploy", "--retry").output
    assert f"release {new} is taken up" in shown
    assert "would push" not in shown
    said = project.fab("deploy", "--retry").output
    assert f"{web1.address}: left alone" in said
    assert said.count("has it complete already: nothing is sent") == 2
    assert starts(project)[len(before) :] == ["web2 two", "web3 two"]
    assert releases(project) == [new] * 3
    assert [project.states(machine)[-1] for machine in project.machines] == ["good"] * 3


def test_an_interrupt_inside_a_batch_brings_all_back_and_retry_sends_nothing_again(project: Project) -> None:
    slow(project.machines[1])
    project.version("two")
    process = project.start("deploy")
    project.kill_when(process, lambda: project.machines[1].exists("/run/restarting"), signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert serving(project) == ["one"] * 3
    assert not project.machines[0].exists("/srv/tiny/.deploy/lock.json")
    mend(project.machines[1])
    said = project.fab("deploy", "--retry").output
    assert said.count("has it complete already: nothing is sent") == 3
    assert serving(project) == ["two"] * 3


def test_a_second_interrupt_ends_the_way_back_and_says_what_is_where(project: Project) -> None:
    web1, web2, web3 = project.machines
    slow(web2)
    one = project.current(web2)
    project.version("two")
    process = project.start("deploy")
    project.kill_when(process, lambda: web2.exists("/run/restarting"), signal.SIGINT)
    project.kill_when(process, lambda: project.current(web2) == one and web2.exists("/run/restarting"), signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "interrupted while going back" in said
    assert row(said, web1).endswith("not brought back yet: interrupted")
    assert row(said, web2).endswith("not brought back yet: interrupted")
    assert row(said, web3).endswith("not touched")
    assert serving(project) == ["two", "one", "one"]
    mend(web2)
    assert f"{web1.address}: left alone" in project.fab("deploy").output
    assert serving(project) == ["two"] * 3


def test_a_canary_that_is_not_well_after_its_pause_goes_back_and_so_does_one_whose_pause_is_interrupted(
    project: Project,
) -> None:
    web1, web2, _ = project.machines
    project.configure(rolling={"canary": {"count": 1, "pause": 2}})
    project.version("two")
    process = project.start("deploy")
    wait_until_said(process, "looked at again after 2 s")
    web1.run("systemctl stop tiny.service")
    said = what_follows(process)
    assert process.returncode == 6, said
    assert "went back: not healthy" in row(said, web1)
    assert starts(project) == ["web1 two", "web1 one"]
    assert project.states(web2) == ["good", "bad"]

    project.configure(rolling={"canary": {"count": 1, "pause": 60}})
    process = project.start("deploy")
    wait_until_said(process, "looked at again after 60 s")
    process.send_signal(signal.SIGINT)
    said = what_follows(process)
    assert process.returncode == 130, said
    assert serving(project) == ["one"] * 3
    assert project.records(web1)["releases"][newest(project, web1)]["state"] == "staged"
    assert project.records(web1)["releases"][newest(project, web2)]["state"] == "staged"


def test_a_lost_lock_and_a_killed_client_between_two_batches_are_taken_up(project: Project) -> None:
    web1 = project.machines[0]
    # The wait is the same for each: fabric.yaml is part of the code.
    project.configure(rolling={"batch": 1, "wait": 3})
    project.version("two")
    process = project.start("deploy")
    wait_until_said(process, "waiting 3 s")
    web1.run("rm /srv/tiny/.deploy/lock.json")
    said = what_follows(process)
    assert process.returncode == 8, said
    assert f"no further batch was begun; worked on: {web1.address}" in said
    assert "done, and stays so" in row(said, web1)
    assert serving(project) == ["two", "one", "one"]

    new = project.current(web1)
    process = project.start("deploy", "--retry")
    said = wait_until_said(process, "waiting 3 s")
    process.kill()
    process.wait()
    assert f"{web1.address}: left alone" in said
    assert serving(project) == ["two", "two", "one"]

    said = project.fab("deploy", "--retry", "--lock-wait", "30").output
    assert said.count("left alone") == 2
    assert said.count("has it complete already: nothing is sent") == 1
    assert starts(project) == ["web1 two", "web2 two", "web3 two"]
    assert releases(project) == [new] * 3


def test_a_host_that_cannot_be_staged_stops_all_and_retry_sends_only_to_it(project: Project) -> None:
    web3 = project.machines[2]
    module = web3.run("find /srv/tiny/wheels -name '_speedups*.so'").stdout.strip()
    web3.run(f"cp {module} /run/whole; printf x | dd of={module} bs=1 seek=100 conv=notrunc")
    project.version("two")
    project.more_dependencies()
    said = project.fab("deploy", expect=9).output
    assert "deploy --retry goes on from here" in said
    assert row(said, web3).split()[1] == row(said, web3).split()[2] == project.current(web3)
    assert "not staged: " in row(said, web3)
    assert "not switched; the new release is staged" in row(said, project.machines[0])
    assert serving(project) == ["one"] * 3
    assert starts(project) == []
    assert [project.states(machine) for machine in project.machines] == [["good", "staged"]] * 2 + [["good"]]
    web3.run("find /srv/tiny/venvs -name '_speedups*.so' -exec cp /run/whole {} \\;")
    said = project.fab("deploy", "--retry").output
    assert said.count("has it complete already: nothing is sent") == 2
    assert serving(project) == ["two"] * 3
    assert len(set(releases(project))) == 1


def test_a_new_host_is_set_up_to_the_same_release_and_a_rollback_leaves_it_out(project: Project) -> None:
    web3 = project.machines[2]
    project.version("two")
    project.fab("deploy")
    web3.run("systemctl stop tiny.service; mv /srv/tiny/shared /srv/keep; rm -rf /srv/tiny; mkdir /srv/tiny")
    web3.run("mv /srv/keep /srv/tiny/shared; chown guestbook: /srv/tiny")
    before = starts(project)
    said = project.fab("deploy").output
    assert said.count("left alone") == 2
    assert starts(project)[len(before) :] == ["web3 two"]
    assert len(set(releases(project))) == 1
    said = project.fab("rollback", expect=7).output
    assert f"there is no good release to go back to on {web3.address}; all others are back" in said
    assert serving(project) == ["one", "one", "two"]
    project.fab("deploy")
    assert serving(project) == ["two"] * 3
