"""The whole deploy over real SSH servers on loopback, with no root and no systemd."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.fab import FAB
from tests.local.conftest import Client, LocalProject, LoopbackHost, free_port
from tests.watching import unfinished


@pytest.mark.parametrize("strategy", ["auto", "rsync", "stream"])
def test_deploy_change_and_roll_back(project: LocalProject, strategy: str) -> None:
    if strategy == "rsync" and not shutil.which("rsync"):
        pytest.skip("rsync is not installed")
    project.configure(strategy)
    odd = project.directory / "odd names"
    odd.mkdir()
    for name in ("-dash", "new\nline", "quote'\"", "ünïcode", "$(touch x)"):
        (odd / name).write_text(name)
    (odd / "link").symlink_to("-dash")
    (odd / "empty").mkdir()
    (odd / "run").write_text("#!/bin/sh\n")
    (odd / "run").chmod(0o775)
    (project.directory / ".git").mkdir()
    (project.directory / ".env").write_text("never travels")

    said = project.fab("deploy")
    assert "is what runs" in said or not Path("/proc/self").exists()
    assert project.version == "one"
    release = (project.base / "current").resolve()
    assert sorted(os.listdir(release / "odd names")) == sorted(os.listdir(odd))
    assert (release / "odd names/run").stat().st_mode & 0o777 == 0o755
    assert os.readlink(release / "odd names/link") == "-dash"
    assert (release / "serve.py").stat().st_mtime == (project.directory / "serve.py").stat().st_mtime
    assert (release / ".env").read_text() == "SECRET=x\n"
    assert not (release / ".git").exists()

    (project.directory / "version.txt").write_text("two\n")
    project.fab("deploy")
    assert project.version == "two"
    newer = (project.base / "current").resolve()
    assert (newer / "serve.py").stat().st_ino == (release / "serve.py").stat().st_ino
    assert "nothing to change" in project.fab("deploy")
    project.fab("rollback")
    assert project.version == "one"
    assert not unfinished(project.base)


@pytest.mark.parametrize("much", [False, True])
def test_a_change_that_keeps_size_and_time_travels(project: LocalProject, much: bool) -> None:
    """Alone, and together with so much that rsync carries it, which by itself looks at size and time only."""
    project.fab("deploy")
    path = project.directory / "version.txt"
    before = path.stat()
    path.write_text("two\n")
    if much:
        (project.directory / "much").write_bytes(os.urandom(100_000))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    project.fab("deploy")
    assert project.version == "two"


def test_uncommitted_changes_are_said_recorded_and_shown(project: LocalProject) -> None:
    def git(*words: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *identity, *words], cwd=project.directory, check=True, stdout=subprocess.DEVNULL)

    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    said = project.fab("deploy") + project.fab("status")
    assert "not committed" not in said
    assert "-dirty" not in said
    (project.directory / "version.txt").write_text("two\n")
    (project.directory / "new\x1b[31m").write_text("")
    (project.directory / "migrate.py").rename(project.directory / "left.log")
    project.configure(migrate="command: 'true'")
    (project.directory / ".deployignore").write_text("*.log\nfabric.yaml\n")
    said = project.fab("deploy", "--dry")
    names = r".deployignore, migrate.py, 'new\x1b[31m', version.txt"
    assert f"not committed: 4 files: {names}\n" in said
    assert f"not committed: 4 files: {names}\n" in project.fab("push")
    project.fab("deploy")
    assert "-dirty (4 files)" in project.fab("status")
    record = json.loads((project.base / "current/.release.json").read_text())
    assert record["changes"] == {"count": 4, "names": [".deployignore", "migrate.py", "new\x1b[31m", "version.txt"]}
    assert record["revision"].endswith("-dirty")


def test_one_login_serves_the_whole_deploy(project: LocalProject) -> None:
    project.fab("deploy")
    assert project.host.logins == 1


def test_a_wheel_that_is_lacking_and_one_that_is_damaged_come_in_one_deploy(project: LocalProject) -> None:
    """As a power cut may leave the store; the damage is seen only when nothing lacks any more."""
    project.fab("deploy")
    lacking, damaged, _ = sorted((project.base / "wheels").iterdir())
    shutil.rmtree(lacking)
    next((damaged / "tree").rglob("*.py")).unlink()
    shutil.rmtree(project.base / "venvs")
    (project.base / "venvs").mkdir()
    (project.directory / "version.txt").write_text("two\n")
    assert "made offline from 3 wheels, 2 uploaded" in project.fab("deploy")
    assert project.version == "two"


def test_without_a_terminal_lines_are_stamped_and_plain(project: LocalProject) -> None:
    said = project.fab("deploy")
    assert "\x1b[" not in said
    assert all(line[:4].isdigit() for line in said.splitlines() if "current is" in line)


def test_standard_input_may_be_closed_as_cron_closes_it(project: LocalProject) -> None:
    done = subprocess.run(
        ["sh", "-c", f"exec {FAB} deploy <&- 2>&1"], cwd=project.directory, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert project.version == "one"


def test_an_unknown_host_key_is_refused_with_its_fingerprint(project: LocalProject) -> None:
    project.host.directory.parent.joinpath("client/known_hosts").write_text("")
    said = project.fab("status", expect=4)
    assert "SHA256:" in said
    assert "ssh-keyscan -p" in said


def test_a_bad_key_is_named_with_its_file(project: LocalProject) -> None:
    project.configure(extra="  keep_release: 3\n")
    said = project.fab("deploy", expect=2)
    assert "deploy.keep_release: unknown key; did you mean keep_releases?" in said
    assert "fabric.yaml" in said


def test_a_file_that_is_no_yaml_is_one_message(project: LocalProject) -> None:
    (project.directory / "fabric.yaml").write_text("deploy: [unclosed")
    assert "cannot be read" in project.fab("deploy", expect=2)
    (project.directory / "fabric.yaml").write_text("deploy: [a, b]")
    assert "must be a mapping" in project.fab("--list", expect=2)


def test_a_stage_is_a_task_and_an_environment_variable(project: LocalProject) -> None:
    more = "  default_stage: local\n"
    project.configure(extra=more)
    text = (project.directory / "fabric.yaml").read_text()
    stages = f"stages: {{local: {{hosts: ['{project.host.address}']}}, other: {{hosts: [nowhere.invalid]}}}}"
    text = "".join(line if "stages:" not in line else f"  {stages}\n" for line in text.splitlines(keepends=True))
    (project.directory / "fabric.yaml").write_text(text)
    assert "Choose stage other" in project.fab("--list")
    assert project.host.address.rpartition("@")[2] in project.fab("status")
    assert "nowhere.invalid" in project.fab("other", "status", expect=4)
    environment = {**os.environ, "FABRIC_DEPLOY_STAGE": "other"}
    done = subprocess.run([FAB, "status"], cwd=project.directory, env=environment, capture_output=True, text=True)
    assert done.returncode == 4
    assert "nowhere.invalid" in done.stderr


def test_the_lock_is_taken_by_hand_and_let_go(project: LocalProject) -> None:
    project.fab("lock", "--message", "hands off")
    assert "hands off" in project.fab("deploy", expect=8)
    assert "hands off" in project.fab("unlock")
    start = time.monotonic()
    project.fab("lock")
    assert "waiting up to 1 s" in project.fab("deploy", "--lock-wait", "1", expect=8)
    assert time.monotonic() - start > 1
    project.fab("unlock", "--force")
    project.fab("deploy")


@pytest.mark.parametrize(("host", "number"), [("openssh", 2), ("openssh", 20)], indirect=["host"])
def test_of_deploys_that_start_at_once_one_runs(project: LocalProject, tmp_path: Path, number: int) -> None:
    go = tmp_path / "go"
    waits = f"while [ ! -e {go} ]; do sleep 0.1; done; python migrate.py"
    path = project.directory / "fabric.yaml"
    path.write_text(path.read_text().replace("{command: python migrate.py}", json.dumps({"command": waits})))
    said = [tmp_path / f"said{each}" for each in range(number)]
    deploys = []
    for each in said:
        with each.open("w") as output:
            deploys.append(
                subprocess.Popen(
                    [FAB, "deploy"], cwd=project.directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output
                )
            )
    try:
        # Who has the deploy lock waits in its migration, until all others were turned away.
        deadline = time.monotonic() + 600
        while sum(deploy.poll() is None for deploy in deploys) > 1 and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        go.touch()
    ends = [deploy.wait(600) for deploy in deploys]
    assert sorted(ends) == [0] + [8] * (number - 1), [each.read_text() for each in said]
    for end, each in zip(ends, said, strict=True):
        assert end == 0 or ("error: " in each.read_text() and "is held by" in each.read_text())
    journal = (project.base / ".deploy/journal.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in journal] == ["migrate", "deploy"]
    assert (project.base / "shared/data/migrations").read_text() == "one\n"
    assert len(list((project.base / "releases").iterdir())) == 1
    assert "nothing to change" in project.fab("deploy")


def test_a_lock_file_without_hashes_is_refused_by_name(project: LocalProject) -> None:
    (project.directory / "requirements.txt").write_text("click==8.1.8\nmarkupsafe>=3\n")
    said = project.fab("deploy", expect=3)
    assert "click==8.1.8: no hash" in said
    assert "markupsafe>=3: no exact version" in said


def test_three_hosts_that_fail_are_one_message_for_each_way(project: LocalProject) -> None:
    ports = [free_port(), free_port()]
    stage = f"stages: {{local: [{project.host.address}, 127.0.0.1:{ports[0]}, 127.0.0.1:{ports[1]}]}}"
    path = project.directory / "fabric.yaml"
    path.write_text(re.sub("stages: .*", stage, path.read_text()))
    unreachable = f"127.0.0.1:{ports[0]}, 127.0.0.1:{ports[1]}: cannot connect (Connection refused)\n"
    said = project.fab("deploy", expect=4)
    assert f"error: {unreachable}  is the host up?\n" in said
    project.host.directory.parent.joinpath("client/known_hosts").write_text("")
    said = project.fab("deploy", expect=4)
    assert said.startswith("error: 3 hosts failed\n", said.index("error: "))
    assert f"\n  {unreachable}    is the host up?\n" in said
    assert said.count("its host key is not known") == 1


def test_two_hosts_that_cannot_go_back_say_why_they_failed_and_why_they_cannot(
    project: LocalProject, tmp_path: Path
) -> None:
    second = LoopbackHost(tmp_path / "second", Client(tmp_path / "client"), kind="asyncssh")
    second.start()
    try:
        path = project.directory / "fabric.yaml"
        other = f"{{host: '{second.address}', base_path: {tmp_path}/other}}"
        text = re.sub("stages: .*", f"stages: {{local: [{project.host.address}, {other}]}}", path.read_text())
        path.write_text(text.replace("sh restart.sh", "'echo broken >&2; exit 3'"))
        (tmp_path / "other/shared").mkdir(parents=True)
        (tmp_path / "other/shared/.env").write_text("SECRET=x\n")
        said = project.fab("deploy", expect=7)
    finally:
        second.stop()
    error = said[said.index("error: ") :]
    names = ", ".join(host.address.rpartition("@")[2] for host in (project.host, second))
    assert re.sub(r"    to see it again there: .*\n", "", error).startswith(
        "error: the former release could not be brought back\n"
        f"  {names}: the restart failed (exit 3): echo broken >&2; exit 3\n"
        "    | broken\n"
        f"  {names}: going back: there is no former release to go back to\n"
        "  look at it with fab local status"
    )


def test_a_folder_that_ci_hands_over_is_pushed_in_place_of_the_source(project: LocalProject, tmp_path: Path) -> None:
    folder = tmp_path / "from ci"
    shutil.copytree(project.directory, folder, ignore=shutil.ignore_patterns("fabric.yaml", "fabfile.py"))
    (folder / "version.txt").write_text("from ci\n")
    (folder / ".deployignore").write_text("left\n")
    (folder / "left").write_text("")
    project.configure(extra="  build: [{command: exit 9}]\n")
    said = project.fab("push", "--from", "../from ci")
    assert "nothing is built" in said
    assert project.fab("deploy", "--from", str(folder)).count("current is") == 1
    assert project.version == "from ci"
    release = (project.base / "current").resolve()
    assert not (release / "left").exists()
    assert not (release / "fabric.yaml").exists()

    assert "--from nowhere: there is no such directory" in project.fab("push", "--from", "nowhere", expect=2)
    said = project.fab("push", "--from", "fabric.yaml", expect=2)
    assert "--from fabric.yaml: is a file, not a directory" in said
    assert "--from: it names no directory" in project.fab("deploy", "--from", "", expect=2)
    project.configure("git")
    assert "deploy.source.strategy: git" in project.fab("push", "--from", str(folder), expect=2)
    assert project.version == "from ci"
