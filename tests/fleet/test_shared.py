"""What stays on the hosts: found lacking before anything is sent."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import Project
from tests.fleet.test_promises import files_with
from tests.watching import Processes

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


@pytest.mark.parametrize("password", ["", "pass word's"])
def test_a_file_is_put_compared_and_edited_on_all_hosts_and_never_shown(
    tmp_path: Path, fleet: Fleet, two: list[Machine], password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    word = "sentinel" + secrets.token_hex(8)
    project = Project(tmp_path / "tiny", fleet, two)
    config: list[str] = []
    if password:
        hidden = tmp_path / "sudo.json"
        hidden.write_text(json.dumps({"sudo": {"password": password}}))
        config = ["-f", str(hidden)]
        for machine in two:
            machine.sudoers("deploy ALL=(ALL) ALL\n")
            machine.set_password("deploy", password)
    given = tmp_path / "given"
    given.write_text(f"SECRET={word}\n")
    monkeypatch.setenv("EDITOR", "true")

    with Processes() as processes:
        said = project.fab(*config, "--dry", "shared.put", str(given), "--as", ".env").output
        assert word not in "".join(machine.read("/srv/tiny/shared/.env") for machine in two)
        said += project.fab(*config, "shared.put", str(given), "--as", ".env").output
        for machine in two:
            assert machine.read("/srv/tiny/shared/.env") == f"SECRET={word}\n"
            assert machine.run("stat -c '%a %U' /srv/tiny/shared/.env").stdout.split() == ["600", "guestbook"]
        said += project.fab(*config, "shared.diff", "--file", str(given), "--as", ".env").output
        assert said.count("same as here") == 2
        said += project.fab(*config, "shared.edit", ".env").output
        assert "nothing was changed" in said
        two[1].run("echo x >> /srv/tiny/shared/.env")
        differing = project.fab(*config, "shared.diff", expect=5).output
        refused = project.fab(*config, "shared.edit", ".env", expect=5).output
        assert "--from HOST" in refused
        said += differing + refused
    monkeypatch.setenv("EDITOR", "sed -i s/SECRET/OTHER/")
    said += project.fab(*config, "shared.edit", ".env", "--from", two[0].address).output
    for machine in two:
        assert machine.read("/srv/tiny/shared/.env") == f"OTHER={word}\n"
        project.await_removal(machine)
        assert machine.run("find /srv/tiny -name '.partial-*'").stdout == ""
        assert files_with(machine, word) == ["/srv/tiny/shared/.env"]
        assert word not in machine.run("journalctl --no-pager --all --output=export").stdout
    assert word not in said
    assert not processes.with_any(word)
    left = [*Path("/dev/shm").glob("fabric-wheelhouse-*"), *Path("/tmp").glob("fabric-wheelhouse-*")]
    assert not left


def test_an_edit_does_not_overwrite_what_somebody_else_changed_meanwhile(
    tmp_path: Path, fleet: Fleet, two: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(tmp_path / "tiny", fleet, two)
    go = tmp_path / "go"
    monkeypatch.setenv(
        "EDITOR", f"sh -c 'echo mine > \"$1\"; touch {go}.begun; until test -e {go}; do sleep 0.05; done' sh"
    )
    process = project.start("shared.edit", ".env")
    while not Path(f"{go}.begun").exists():
        assert process.poll() is None
    two[1].run("echo theirs > /srv/tiny/shared/.env")
    go.touch()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 5, said
    assert two[1].address in said
    assert two[1].read("/srv/tiny/shared/.env") == "theirs\n"
    assert "mine" not in two[0].read("/srv/tiny/shared/.env")

    # A host that fails in the middle: it is said which are new, and the next edit brings all to the same.
    (tmp_path / "here").mkdir(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "here"))
    for machine in two:
        machine.write("/srv/tiny/shared/.env", "same\n", 0o640, "guestbook:guestbook")
    two[1].run("chmod a-w /srv/tiny/shared")
    monkeypatch.setenv("EDITOR", "sed -i s/same/other/")
    failed = project.fab("shared.edit", ".env", expect=5).output
    assert f".env is new on {two[0].address}, not on all hosts" in failed
    assert f"{two[1].address}: permission denied: /srv/tiny/shared/.partial-put." in failed
    assert [machine.read("/srv/tiny/shared/.env") for machine in two] == ["other\n", "same\n"]
    assert not list((tmp_path / "here").iterdir()), "the copy is destroyed, though it was not brought to all"
    two[1].run("chmod u+w /srv/tiny/shared")
    assert "--from HOST" in project.fab("shared.edit", ".env", expect=5).output
    project.fab("shared.edit", ".env", "--from", two[0].address)
    for machine in two:
        assert machine.read("/srv/tiny/shared/.env") == "other\n"
        assert machine.run("stat -c '%a %U' /srv/tiny/shared/.env").stdout.split() == ["640", "guestbook"]
        assert machine.run("ls -A /srv/tiny/shared").stdout.split() == [".env"]
