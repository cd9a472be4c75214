"""The promises that take more than one accident: of several hosts, of a lost lock, of secrets and of quoting."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pty
import secrets
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fab import FAB
from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import DATA, Project
from tests.watching import Processes

pytestmark = pytest.mark.fleet

# A migration that is held up until it is let go; it does not mind if its release is removed meanwhile.
HELD_UP = "touch $DEPLOY_BASE/shared/data/begun; until test -e $DEPLOY_BASE/shared/data/go; do sleep 0.1; done"


@pytest.fixture
def web(boot: Any) -> Machine:
    machine: Machine = boot("bookworm", "web1")
    return machine


@pytest.fixture
def project(tmp_path: Path, fleet: Fleet, web: Machine) -> Project:
    """Deployed once; version one serves."""
    made = Project(tmp_path / "tiny", fleet, [web])
    made.fab("deploy")
    return made


def await_that(process: subprocess.Popen[str], happened: Callable[[], bool]) -> None:
    """Wait for something that happens while *process* runs."""
    deadline = time.monotonic() + 60
    while not happened():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline


# --- 2: nothing that serves is touched before every host is staged ---


class Three:
    """Three hosts that serve version one; the disk of the second is small."""

    def __init__(self, directory: Path, fleet: Fleet, boot: Any) -> None:
        self.machines: list[Machine] = boot.all(("bookworm", "web1"), ("bookworm", "web2"), ("trixie", "web3"))
        self.troubled = self.machines[1]
        self.troubled.run("mkdir -p /srv/tiny")
        self.troubled.mount_small_disk("/srv/tiny", 60 << 20)
        self.project = Project(directory, fleet, self.machines, min_free_mb=0)
        self.project.fab("deploy")
        self.before = [self.project.current(machine) for machine in self.machines]
        self.project.version("two")

    def large(self) -> None:
        """Let the push last."""
        with (self.project.directory / "big").open("wb") as stream:
            for number in range(40_000):
                stream.write(number.to_bytes(4, "big") * 1024)

    def assert_untouched(self) -> None:
        """Everywhere `current` is what it was; of what was begun, healthy hosts know nothing or have it complete."""
        assert [self.project.current(machine) for machine in self.machines] == self.before
        assert [self.project.serving(machine)["version"] for machine in self.machines] == ["one"] * 3
        for machine in self.machines:
            if machine is not self.troubled:
                assert self.project.states(machine) in (["good"], ["good", "staged"])
                there = machine.run("ls -A /srv/tiny/releases").stdout.split()
                assert there == sorted(self.project.records(machine)["releases"])
                assert machine.exists("/srv/tiny/staged") == (len(there) == 2)
                assert not machine.exists("/srv/tiny/.deploy/lock.json")
                self.project.assert_tidy(machine)

    def assert_recovers(self) -> None:
        (self.project.directory / "big").unlink(missing_ok=True)
        self.project.version("mended")
        self.project.fab("deploy", "--lock-wait", "30")
        for machine in self.machines:
            assert self.project.serving(machine)["version"] == "mended"
            self.project.assert_tidy(machine)


@pytest.fixture
def three(tmp_path: Path, fleet: Fleet, boot: Any) -> Three:
    return Three(tmp_path / "tiny", fleet, boot)


def test_a_disk_that_fills_up_while_code_is_pushed_stops_all_three(three: Three) -> None:
    three.large()
    said = three.project.fab("deploy", expect=9).output
    assert f"{three.troubled.address}: " in said
    assert "o space left" in said
    three.assert_untouched()
    three.assert_recovers()


def test_a_disk_that_fills_up_while_dependencies_are_installed_stops_all_three(three: Three) -> None:
    three.project.more_dependencies()
    three.troubled.fill_disk("/srv/tiny", 500 << 10)
    said = three.project.fab("deploy", expect=9).output
    assert "o space left" in said
    assert said.count(": pushed ") == 3
    three.assert_untouched()
    three.troubled.free_disk("/srv/tiny")
    three.assert_recovers()


@pytest.mark.parametrize(
    ("phase", "sign"),
    [
        ("push", "ls -d /srv/tiny/releases/.partial-*/big | grep -v gone/big$"),
        ("update-deps", "ls -d /srv/tiny/wheels/.partial-* /srv/tiny/venvs/.partial-* | grep -v gone$"),
    ],
)
def test_a_connection_that_is_cut_while_hosts_are_staged_stops_all_three(three: Three, phase: str, sign: str) -> None:
    three.large() if phase == "push" else three.project.more_dependencies()
    three.troubled.free_disk("/srv/tiny")
    three.troubled.run("mount -o remount,size=1G /srv/tiny")
    stages = three.project.section["stages"]
    with three.project.fleet.relay(three.troubled) as relay:
        hosts = [f"deploy@{machine.address}" for machine in three.machines]
        hosts[1] = f"deploy@127.0.0.1:{relay.port}"
        three.project.configure(stages={"production": {"hosts": hosts}})
        process = three.project.start("deploy")
        await_that(process, lambda: three.troubled.run(sign, check=False).returncode == 0)
        relay.cut()
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 4, output
        assert "Traceback" not in output
        assert f"127.0.0.1:{relay.port}" in output
    three.assert_untouched()
    three.project.configure(stages=stages)
    three.assert_recovers()


# --- 5: two deploys of one stage cannot run at once ---


def hold_up(project: Project, web: Machine, **held: Any) -> subprocess.Popen[str]:
    """A deploy of version two that is held up in its migration, or where *held* says."""
    project.version("two")
    project.configure(**held or {"migrate": {"command": HELD_UP}})
    process = project.start("deploy")
    await_that(process, lambda: web.exists("/srv/tiny/shared/data/begun"))
    return process


def let_go(web: Machine, process: subprocess.Popen[str]) -> str:
    web.run("touch /srv/tiny/shared/data/go")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 8, output
    assert "Traceback" not in output
    return output


def test_a_run_whose_lock_is_taken_away_stops_before_it_switches(project: Project, web: Machine) -> None:
    loser = hold_up(project, web)
    project.fab("unlock", "--force")
    project.fab("lock", "--message", "hands off")
    said = let_go(web, loser)
    assert "the deploy lock was lost: the deploy lock is held by" in said
    assert "hands off" in said
    assert "nothing that serves was touched" in said
    assert project.serving(web)["version"] == "one"
    assert "hands off" in web.read("/srv/tiny/.deploy/lock.json"), "the loser leaves the lock to who has it"
    project.fab("unlock")
    web.run("rm /srv/tiny/shared/data/go")
    project.configure(migrate={"command": "python migrate.py"})
    project.version("three")
    project.fab("deploy")
    assert project.serving(web)["version"] == "three"
    project.assert_tidy(web)


def test_a_run_that_lost_its_lock_while_it_staged_does_not_migrate(project: Project, web: Machine) -> None:
    migrations = web.read("/srv/tiny/shared/data/migrations")
    project.version("two")
    project.more_dependencies()
    loser = project.start("deploy")
    await_that(loser, lambda: web.run("ls -d /srv/tiny/venvs/.partial-* | grep -v gone$", check=False).returncode == 0)
    loser.send_signal(signal.SIGSTOP)
    project.fab("unlock", "--force")
    project.fab("lock", "--message", "hands off")
    loser.send_signal(signal.SIGCONT)
    assert "hands off" in let_go(web, loser)
    assert web.read("/srv/tiny/shared/data/migrations") == migrations
    assert project.states(web) == ["good"]


def test_a_laptop_that_slept_while_another_deployed_stops_before_it_switches(
    tmp_path: Path, fleet: Fleet, project: Project, web: Machine
) -> None:
    other = Project(tmp_path / "other", fleet, [web])
    other.version("three")
    # Not in the migration itself: while that runs, nobody else deploys, whoever has the lock.
    loser = hold_up(project, web, hooks={"after_migrate": [HELD_UP]})
    loser.send_signal(signal.SIGSTOP)
    said = other.fab("deploy", "--lock-wait", "20").output
    assert "took over the expired deploy lock" in said
    assert other.serving(web)["version"] == "three"
    winner = other.current(web)
    loser.send_signal(signal.SIGCONT)
    assert "the deploy lock was lost: it expired" in let_go(web, loser)
    assert other.current(web) == winner
    assert other.serving(web)["version"] == "three"
    assert other.states(web) == ["good", "good"]
    web.run("rm /srv/tiny/shared/data/go")
    other.version("four")
    other.fab("deploy")
    assert other.serving(web)["version"] == "four"
    other.assert_tidy(web)


@pytest.mark.parametrize("task", ["activate", "rollback"])
def test_a_task_that_slept_between_its_lock_and_its_switch_looks_again(
    project: Project, web: Machine, task: str
) -> None:
    project.version("two")
    project.fab(*(["push", "update-deps"] if task == "activate" else ["deploy"]))
    before = project.current(web)
    stages = project.section["stages"]
    with project.fleet.relay(web, latency_s=0.2) as relay:
        project.configure(stages={"production": {"hosts": [f"deploy@127.0.0.1:{relay.port}"]}})
        loser = project.start(task)
        await_that(loser, lambda: web.exists("/srv/tiny/.deploy/lock.json"))
        loser.send_signal(signal.SIGSTOP)
        project.configure(stages=stages)
        project.fab("unlock", "--force")
        project.fab("lock", "--message", "hands off")
        loser.send_signal(signal.SIGCONT)
        assert "hands off" in let_go(web, loser)
    assert project.current(web) == before
    project.fab("unlock")
    project.fab(task)
    assert project.current(web) != before


# --- 7: secrets appear nowhere ---


def files_with(web: Machine, *words: str) -> list[str]:
    """Every file of the host that contains one of *words*; these are handed over by standard input."""
    places = "$(ls -d /* | grep -vE '^/(proc|sys|dev)$')"
    return web.run(f"grep -rlF -D skip -f - {places} 2>/dev/null", check=False, input="\n".join(words)).stdout.split()


def on_laptop_with(fleet: Fleet, directory: Path, *words: str) -> list[Path]:
    """The files of the laptop that hold one of *words*: of the project, the client's home, the cache but for hosts."""
    cache = Path(Project.environment_of(fleet)["XDG_CACHE_HOME"]) / "fabric-wheelhouse"
    grep = ["grep", "-rlF", "-D", "skip", "-f", "-", "--exclude-dir=fleet", directory, fleet.client.home, cache]
    said = subprocess.run(grep, input="\n".join(words), stdout=subprocess.PIPE, text=True, check=False).stdout
    return sorted(map(Path, said.splitlines()))


TELL_ALL = "env; env | base64 -w0; echo $API_TOKEN $SECRET"
TELLING = """\
from deploy import hook, ns

@hook("after_deps")
def function(connection, release):
    connection.run("env")
    connection.sudo("env", user="guestbook")
"""


class Sentinels:
    """A project with a secret in each place where one can be; each is a word of its own."""

    def __init__(self, directory: Path, fleet: Fleet, web: Machine) -> None:
        words = ("variable", "url", "dotenv", "sudo", "passphrase", "laptop")
        self.words = {name: name + secrets.token_hex(8) for name in words}
        password = f'"it\'s" $({self.words["sudo"]}) \\ {self.words["sudo"]}'
        web.sudoers("Defaults logfile=/var/log/sudo.log\ndeploy ALL=(ALL) ALL\n")
        web.set_password("deploy", password)
        key = directory / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", self.words["passphrase"], "-f", key], check=True)
        web.write("/home/deploy/.ssh/authorized_keys", key.with_suffix(".pub").read_text(), 0o600, "deploy:deploy")
        self.project = Project(directory / "tiny", fleet, [web], identity=str(key))
        (self.project.directory / "fabfile.py").write_text(TELLING)
        web.write("/srv/tiny/shared/.env", f"SECRET={self.words['dotenv']}\n", 0o600, "guestbook:guestbook")
        env = {"API_TOKEN": self.words["variable"], "DATABASE": f"db://ana:{self.words['url']}@db/x"}
        self.hidden = directory / "secrets.json"
        document = {
            "sudo": {"password": password},
            "connect_kwargs": {"passphrase": self.words["passphrase"]},
            "deploy": {"env": env},
        }
        self.hidden.write_text(json.dumps(document))
        self.said = ""

    def start(self, *words: str) -> subprocess.Popen[str]:
        return self.project.start("-f", str(self.hidden), *words)

    def fab(self, *words: str, expect: int = 0) -> None:
        self.said += self.project.fab("-f", str(self.hidden), *words, expect=expect).output

    def assert_not_said(self) -> None:
        assert "***" in self.said
        for name, word in self.words.items():
            spelt = [word, word.encode().hex(), base64.b64encode(word.encode()).decode().rstrip("=")[:-1]]
            assert not [each for each in spelt if each in self.said], name


def test_secrets_appear_nowhere(tmp_path: Path, fleet: Fleet, web: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """However a deploy ends: well, by a failing hook, a failing migration, an unhealthy release, Ctrl-C."""
    sentinels = Sentinels(tmp_path, fleet, web)
    project, fab, words = sentinels.project, sentinels.fab, sentinels.words
    monkeypatch.setenv("LAPTOP_TOKEN", words["laptop"])
    told = tmp_path / "told"
    told.mkdir()
    # What runs here lasts until it was seen to have the first of the words; a host's commands take long enough.
    lasting = f"{TELL_ALL}; for i in $(seq 300); do [ -e {told}/{os.getuid()}.0 ] && break; sleep 0.1; done"
    telling = [TELL_ALL, {"command": lasting, "where": "local"}, {"command": TELL_ALL, "sudo": True}]
    held_up = f"{TELL_ALL}; touch $DEPLOY_BASE/shared/data/begun; sleep 60"

    with Processes(*words.values(), told=told) as processes:
        project.configure(
            hooks={"after_push": telling, "on_failure": telling},
            migrate={"command": f"{TELL_ALL}; python migrate.py"},
            build=[TELL_ALL],
        )
        fab("check")
        fab("--dry", "deploy")
        fab("deploy")
        project.version("sick")
        fab("deploy", expect=6)
        project.configure(hooks={"before_activate": [f"{TELL_ALL}; exit 3"], "on_failure": telling})
        fab("deploy", expect=9)
        project.configure(hooks={}, migrate={"command": f"{TELL_ALL} >&2; exit 3"})
        fab("deploy", expect=10)
        project.configure(hooks={"after_deps": [held_up]}, migrate={"command": "true"})
        process = sentinels.start("deploy")
        await_that(process, lambda: web.exists("/srv/tiny/shared/data/begun"))
        process.send_signal(signal.SIGINT)
        interrupted, _ = process.communicate(timeout=60)
        assert process.returncode == 130, interrupted
        sentinels.said += interrupted
        fab("status")
        assert project.serving(web)["secret"]
        assert project.serving(web)["version"] == "one"

    sentinels.assert_not_said()
    assert any(b"sudo\0-S" in line for line in processes.seen), "the watch sees the host's processes"
    assert not processes.with_any(*words.values())
    guestbook = int(web.run("id -u guestbook").stdout)
    readers: dict[str, set[int]] = {word: set() for word in words.values()}
    for shown in processes.shown:
        assert shown.mode == 0o400
        for word in shown.words:
            readers[word].add(shown.owner)
    # What runs here is this user's, who has read the file that they come from; on the host it is the deploy user's.
    assert {name: readers[word] for name, word in words.items()} == {
        "variable": {os.getuid(), guestbook},
        "url": {os.getuid(), guestbook},
        "dotenv": {guestbook},
        "sudo": set(),
        "passphrase": set(),
        "laptop": {os.getuid()},
    }
    assert web.read("/var/log/sudo.log").count("COMMAND=") > 5
    journal = web.run("journalctl --no-pager --all --output=export").stdout
    assert not [name for name, word in words.items() if word in journal]
    assert files_with(web, *words.values()) == ["/srv/tiny/shared/.env"]
    assert on_laptop_with(fleet, tmp_path, *words.values()) == [sentinels.hidden]


def test_a_password_that_is_typed_in_a_terminal_works_and_is_not_shown(project: Project, web: Machine) -> None:
    password = '"it\'s" $(touch /tmp/pwned) \\ hunter2'
    web.sudoers("deploy ALL=(ALL) ALL\n")
    web.set_password("deploy", password)
    project.version("two")
    code, shown = in_terminal(project, "--prompt-for-sudo-password", "deploy", answer=password)
    assert code == 0, shown
    assert "sudo" in shown
    assert "hunter2" not in shown
    assert "Traceback" not in shown
    assert project.serving(web)["version"] == "two"
    project.assert_tidy(web)


def in_terminal(project: Project, *words: str, answer: str) -> tuple[int, str]:
    """`fab WORDS` in a terminal of its own, the first question answered; its exit code and all that was shown."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(project.directory)
        os.execve(FAB, [str(FAB), *words], {**project.environment(), "TERM": "xterm"})
    shown = b""
    while not shown.rstrip().endswith(b":"):
        shown += os.read(terminal, 1 << 12)
    os.write(terminal, answer.encode() + b"\n")
    with contextlib.suppress(OSError):  # EIO: the other end is closed
        while chunk := os.read(terminal, 1 << 12):
            shown += chunk
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode(errors="replace")


# --- 8: no word of configuration reaches a shell unquoted ---

HOSTILE = "it's; $(touch pwned) `touch pwned` \"|touch pwned & #*?[a]~"
EVIL = {
    "app": {"app": HOSTILE},
    "app as an option": {"app": "-rf"},
    "base path with what sh expands": {"base_path": "/srv/$(touch pwned)"},
    "base path with a newline": {"base_path": "/srv/tiny\ntouch pwned"},
    "base path that PATH cannot hold": {"base_path": "/srv/tiny:/tmp"},
    "base path of a host": {"stages": {"production": {"hosts": [{"host": "web1", "base_path": "/srv/`touch pwned`"}]}}},
    "host": {"stages": {"production": {"hosts": ["deploy@web1;touch pwned"]}}},
    "host as an option": {"stages": {"production": {"hosts": ["-oProxyCommand=touch pwned"]}}},
    "stage": {"stages": {HOSTILE: {"hosts": ["web1"]}}},
    "deploy user": {"deploy_user": "$(touch pwned)"},
    "python": {"python": "python3 -c pwned"},
    "unit": {"service": {"manager": "systemd", "unit": "tiny.service; touch pwned"}},
    "unit as an option": {"service": {"manager": "systemd", "unit": "--version"}},
    "program": {"service": {"manager": "supervisor", "program": "$(touch pwned)"}},
    "signal": {"service": {"manager": "signal", "pidfile": "tiny.pid", "signal": "HUP; touch pwned"}},
    "health url": {"health": {"url": "file:///etc/passwd"}},
    "health url with a newline": {"health": {"url": "http://127.0.0.1:8000/\nHost:pwned"}},
    "health url without a port": {"health": {"url": "http://127.0.0.1:pwned/"}},
    "health host": {"health": {"url": "http://127.0.0.1:8000/", "host": "a\r\nX-Pwned: 1"}},
    "shared file outside": {"shared": {"files": ["../pwned"]}},
    "shared file as an option": {"shared": {"files": ["-rf"]}},
    "the release itself": {"shared": {"dirs": ["."]}},
    "what is shared twice": {"shared": {"dirs": ["data", "./data/inner"]}},
    "exclude": {"source": {"exclude": ["!"]}},
    "exclude with a range that is none": {"source": {"exclude": ["[z-a]"]}},
    "target": {"target": {"python": "3.11", "platform": "$(touch pwned)"}},
}


def assert_not_pwned(project: Project) -> None:
    for machine in project.machines:
        assert not machine.run("find / -xdev -name 'pwned*' -not -path '/proc/*'").stdout
    for place in (project.directory, project.fleet.client.home, Path("/tmp")):
        assert not list(place.glob("pwned*"))


def test_hostile_values_that_have_no_use_are_refused(project: Project, web: Machine) -> None:
    before = web.run("find /srv /home /tmp | sort").stdout
    section = {**project.section}
    for name, changes in EVIL.items():
        project.section = {**section}
        project.configure(**changes)
        said = project.fab("deploy", expect=None)
        assert said.code == 2, f"{name}: {said}"
        assert "deploy." in said.output, f"{name}: {said}"
    assert web.run("find /srv /home /tmp | sort").stdout == before
    assert_not_pwned(project)


@pytest.mark.parametrize("strategy", ["rsync", "stream"])
def test_hostile_names_of_files_arrive_as_they_are(project: Project, web: Machine, strategy: str) -> None:
    if strategy == "rsync" and not shutil.which("rsync"):
        pytest.skip("no rsync here")
    names = [
        HOSTILE,
        "-rf",
        "--delete",
        "new\nline",
        " ",
        "\\",
        "\x1b[31mred",
        "ünïcödé",
        os.fsdecode(b"latin-\xe9"),
        ":x",
    ]
    source = project.directory / "$(touch pwned)"
    source.mkdir()
    for name in names:
        (source / name).write_text(name, errors="surrogateescape")
    (source / "link").symlink_to("-rf; touch pwned")
    project.configure(source={"strategy": strategy, "exclude": ["$(touch pwned)/left*", "'; touch pwned"]})
    (source / "left behind").touch()
    project.version("two")
    project.fab("deploy")
    assert project.serving(web)["version"] == "two"
    arrived = web.run("cd '/srv/tiny/current/$(touch pwned)' && find . -mindepth 1 -printf '%f\\0' | sort -z").stdout
    assert sorted(arrived.split("\0")[:-1]) == sorted([*names, "link"])
    assert web.run("cat < '/srv/tiny/current/$(touch pwned)/-rf'").stdout == "-rf"
    project.assert_tidy(web)
    project.version("three")
    project.fab("deploy")
    assert project.serving(web)["version"] == "three"
    assert_not_pwned(project)


def test_hostile_names_of_local_paths(project: Project, web: Machine) -> None:
    code = project.directory / HOSTILE
    code.mkdir()
    for path in (DATA / "tiny").iterdir():
        (project.directory / path.name).rename(code / path.name)
    (code / "version.txt").write_text("two\n")
    (code / "requirements.txt").rename(project.directory / f"-r {HOSTILE}.txt")
    known = project.fleet.client.known_hosts.read_text()
    (project.directory / f"{HOSTILE}.keys").write_text(known)
    project.configure(
        source={"path": HOSTILE}, requirements=f"-r {HOSTILE}.txt", known_hosts=f"{HOSTILE}.keys", identity="a key;"
    )
    (project.directory / "a key;").write_text(project.fleet.client.key.read_text())
    project.fab("deploy")
    assert project.serving(web)["version"] == "two"
    assert_not_pwned(project)


def test_a_base_path_with_spaces_and_quotes(tmp_path: Path, fleet: Fleet, web: Machine) -> None:
    base = "/srv/it's my; touch pwned & #1 *?[a]~ (ünï)"
    project = Project(tmp_path / "tiny", fleet, [web])
    web.run(f"mv /srv/tiny {shlex.quote(base)}; ln -s {shlex.quote(base)} /srv/tiny")
    project.configure(base_path=base)
    project.fab("deploy")
    assert project.serving(web)["version"] == "one"
    project.version("two")
    project.more_dependencies()
    project.configure(service={"manager": "command", "command": "systemctl restart tiny.service", "sudo": True})
    project.fab("deploy")
    assert project.serving(web)["version"] == "two"
    project.fab("rollback")
    assert project.serving(web)["version"] == "one"
    project.configure(migrate={"command": "false"})
    project.version("three")
    hint = project.fab("deploy", expect=10).output.split("to see it again there (as guestbook): ")[1].splitlines()[0]
    assert web.run(hint, user="guestbook", check=False).returncode != 127, "the hint can be copied"
    assert_not_pwned(project)


def test_hostile_names_of_shared_things_and_of_pidfiles(project: Project, web: Machine) -> None:
    files = [".env", f"conf/{HOSTILE}", "trailing ", "new\nline", "*.txt"]
    web.run("install -d -o guestbook -g guestbook /srv/tiny/shared/conf")
    for name in files[1:]:
        web.write(f"/srv/tiny/shared/{name}", name, owner="guestbook:guestbook")
    pidfile = f"/run/{HOSTILE}/tiny.pid"
    web.write("/etc/pidfile", pidfile)
    web.write("/usr/local/bin/keep", '#!/bin/sh\nf=$(cat /etc/pidfile); mkdir -p "${f%/*}"; echo $1 > "$f"\n', 0o755)
    keep = "[Service]\nRestart=always\nRestartSec=0\nExecStartPost=+/usr/local/bin/keep $MAINPID\n"
    web.write("/etc/systemd/system/tiny.service.d/keep.conf", keep)
    web.run("systemctl daemon-reload; systemctl restart tiny.service")
    project.configure(
        shared={"files": files, "dirs": ["data", HOSTILE]},
        service={"manager": "signal", "pidfile": pidfile, "signal": "TERM", "sudo": True},
        health={"url": "http://127.0.0.1:8000/$(touch%20pwned)';`\"|&", "timeout": 5, "host": HOSTILE.replace(" ", "")},
    )
    project.version("two")
    said = project.fab("deploy").output
    assert "is what runs" in said
    assert project.serving(web)["version"] == "two"
    for name in files[1:]:
        assert web.read(f"/srv/tiny/current/{name}") == name
    assert web.exists("/srv/tiny/current/version.txt"), "a name with a wildcard is a name"
    project.configure(service={"manager": "touch", "file": f"shared/{HOSTILE}/reload", "pidfile": pidfile})
    project.version("three")
    assert "the new release is not what runs" in project.fab("deploy", expect=6).output, "nobody watches the file"
    assert web.exists(f"/srv/tiny/shared/{HOSTILE}/reload")
    project.fab("lock", "--message", HOSTILE)
    assert HOSTILE in project.fab("status").output
    project.fab("unlock")
    assert_not_pwned(project)
