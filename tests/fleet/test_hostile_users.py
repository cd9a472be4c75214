"""Other users of a host mean harm: the application plants links and pipes below the base path before root deploys,
somebody owns /tmp and sets the environment. And users whose home cannot be written to, or is not there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import Project
from tests.fleet.watching import Watch
from tests.repositories import Git, Hg, needs_git, needs_hg

pytestmark = pytest.mark.fleet

CANARY = "canary-7d21"
OUTSIDE = """find /etc/canary /etc/canaries /etc/absent* -printf '%p %M %u %g %T@ %l %i\\n'
cat /etc/canary /etc/canaries/*"""
PAGE = "shared/maintenance.html"


@pytest.fixture
def make(tmp_path: Path, fleet: Fleet, boot: Any) -> Callable[..., Project]:
    """The application, deployed once to a host."""

    def make(login: str = "deploy", base: str = "bookworm", **section: Any) -> Project:
        web: Machine = boot(base, "web1")
        web.authorize(login)
        project = Project(tmp_path / "tiny", fleet, [web], **section)
        project.configure(stages={"production": {"hosts": [f"{login}@{web.address}"]}})
        project.fab("deploy")
        return project

    return make


# --- root deploys, and the application's user was there before ---

ALL = (
    ("setup",),
    ("deploy",),
    ("maintenance", "on"),
    ("maintenance", "off"),
    ("push", "update-deps"),
    ("rollback",),
    ("cleanup",),
    ("unlock", "--force"),
    ("lock", "unlock"),
    ("shared.put", "version.txt", "--as", "data/x"),
    ("check",),
    ("status",),
)
PUT = ("shared.put", "version.txt", "--as", ".env")
RECORDS = ("journal.jsonl", "checks.json", "lock.json", "migrations.json")
# Each round: what the application's user does below the base path, and what is tried then. The canaries are root's.
ROUNDS = {
    "what is in nobody's way": (
        [
            "ln -sf /etc/canary .deploy/.partial-lock.json.1",
            f"ln -sf /etc/canary {PAGE}",
            "ln -sfn /etc/canaries staged",
            "ln -sfn /etc/canaries .partial-current.1",
            "ln -sfn /etc/canaries releases/.partial-x",
            "ln -sfn /etc/canaries releases/20200101T000000Z-0000000",
            "ln -sfn /etc/canaries venvs/.partial-x.1.gone",
            "ln -sfn /etc/canaries wheels/.partial-x",
            "ln -s /etc/canary current/linked",
        ],
        ALL,
    ),
    "links to files": (
        [*(f"ln -sf /etc/canary .deploy/{name}" for name in RECORDS), "ln -sf /etc/canary shared/.env"],
        (("setup",), ("deploy",), PUT, ("status",)),
    ),
    "links to directories": (
        [
            f"mv {name} {name}.away; ln -sfn /etc/canaries {name}"
            for name in ("releases", "venvs", "wheels", "shared", ".deploy")
        ],
        (("setup",), ("deploy",), PUT),
    ),
    "pipes": (
        [
            f"rm -rf {name}; mkfifo {name}"
            for name in (
                *(f".deploy/{name}" for name in (*RECORDS, "lock.guard", "allowed_signers", "migration.guard")),
                PAGE,
                "shared/.env",
                "staged",
                "repo",
            )
        ],
        (("setup",), ("deploy",), PUT, ("maintenance", "on"), ("status",)),
    ),
}
MEND = """cd /srv/tiny
for each in *.away .*.away; do if test -e $each; then rm -f ${each%.away}; mv $each ${each%.away}; fi; done
rm -rf .deploy/* .deploy/.p* shared/* shared/.e* staged repo releases/.p* releases/2020* venvs/.p* wheels/.p*
install -o guestbook -g guestbook -m 644 /dev/stdin .deploy/releases.json"""


def test_what_the_application_planted_leads_root_nowhere(make: Callable[..., Project]) -> None:
    project = make("root", maintenance={"by": "hosts", "file": PAGE})
    web = project.machines[0]
    web.run(f"umask 077; mkdir /etc/canaries; echo {CANARY} | tee /etc/canary > /etc/canaries/one; sleep 0.01")
    before = web.run(OUTSIDE, check=False).stdout
    records = web.read("/srv/tiny/.deploy/releases.json")
    project.version("two")
    for name, (planted, tasks) in ROUNDS.items():
        web.run("cd /srv/tiny && " + "; ".join(planted), user="guestbook")
        # So that the deploy user cannot set up by himself, and root has to.
        web.run("cd /srv/tiny; find wheels -maxdepth 0 -type d -exec chmod 500 {} + -exec chown root {} +")
        for task in tasks:
            outcome = project.fab(*task, expect=None, timeout=60)
            assert outcome.code in ((0,) if tasks is ALL else (0, 5)), f"{name}: {task} {outcome}"
            assert outcome.code == 0 or outcome.output.count("error: ") == 1, f"{name}: {outcome}"
            assert CANARY not in outcome.output, f"{name}: {outcome}"
            assert "defect" not in outcome.output, f"{name}: {outcome}"
            assert web.run(OUTSIDE, check=False).stdout == before, f"{name}: {outcome}"
        web.run(MEND, input=records)
        project.provision(web)
    project.version("mended")
    project.fab("deploy")
    assert project.serving(web)["version"] == "mended"


def test_what_root_signals_and_touches_for_the_application_is_nothing_else(make: Callable[..., Project]) -> None:
    project = make("root")
    web = project.machines[0]
    web.run(f"umask 077; mkdir /etc/canaries; echo {CANARY} > /etc/canary; sleep 0.01")
    before = web.run(OUTSIDE, check=False).stdout
    project.configure(service={"manager": "signal", "pidfile": "shared/tiny.pid", "sudo": True})
    for line in ("ln -s /etc/canary tiny.pid", "rm tiny.pid; mkfifo tiny.pid", "rm tiny.pid; echo -1 > tiny.pid"):
        web.run(f"cd /srv/tiny/shared && {line}", user="guestbook")
        said = project.fab("reboot-server", expect=7).output
        assert "there is no number of a process in /srv/tiny/shared/tiny.pid" in said
        assert CANARY not in said
    project.configure(service={"manager": "touch", "file": "shared/reload", "sudo": True})
    for target in ("/etc/canary", "/etc/absent"):
        web.run(f"ln -sfn {target} /srv/tiny/shared/reload", user="guestbook")
        project.fab("reboot-server")
        assert web.run(OUTSIDE, check=False).stdout == before
    assert project.serving(web)["version"] == "one"


# --- /tmp and the environment are somebody else's ---

NAMES = (
    "hostside.pyz", ".partial-hostside.pyz", "deploy", "deploy-", "fabric-wheelhouse", "pip", "rsync", "ansible", "s",
    ".env", "lock", "lock.json", "tmp", "units", "version.txt", "migrate.py", "releases", "current", "deploy-index",
)  # fmt: skip
MODULES = (
    "sitecustomize", "usercustomize", "json", "hashlib", "os", "venv", "click", "markupsafe", "hostside", "zipfile",
)  # fmt: skip
EVIL = "open('/tmp/evil-ran', 'a').write(__file__)\n"


def give_away_tmp(web: Machine, variables: tuple[str, ...]) -> Watch:
    """To mallory, who has prepared it; *variables* of all logins lead there. What watches it from now on."""
    web.add_user("mallory")
    web.write("/etc/canary", CANARY, 0o666)
    links = "; ".join(f"ln -s /etc/canary {name}" for name in NAMES)
    modules = "; ".join(f"cp code {name}.py" for name in MODULES)
    web.run("chown mallory /tmp /var/tmp; chmod 0777 /tmp /var/tmp")
    web.write("/tmp/evil/code", EVIL, owner="mallory")
    web.run(f"chown mallory /tmp/evil; cd /tmp && {links}; cd evil && {links}; {modules}")
    web.run("cp -a /tmp/evil/*.py /tmp; cd /home/deploy && cp /tmp/evil/*.py . && chown deploy *.py")
    # sudo would clear them away.
    web.sudoers(f'Defaults env_keep += "{" ".join(variables)}"\ndeploy ALL=(ALL:ALL) NOPASSWD: ALL')
    web.write("/etc/environment", "".join(f"{name}=/tmp/evil\n" for name in variables))
    return Watch(web, "/tmp", "/tmp/evil", "/var/tmp", "/dev/shm")


def assert_left_alone(web: Machine, watch: Watch) -> None:
    seen = watch.end()
    assert not seen, seen
    assert not web.exists("/tmp/evil-ran"), web.read("/tmp/evil-ran")
    assert web.read("/etc/canary") == CANARY


def test_nothing_is_read_from_or_written_to_a_tmp_of_somebody_elses(make: Callable[..., Project]) -> None:
    project = make()
    web = project.machines[0]
    project.version("watched")
    project.more_dependencies()
    project.configure(migrate={"command": "python migrate.py && echo in $TEMP"})
    watch = give_away_tmp(web, ("TMPDIR", "TEMP", "PYTHONPATH", "PYTHONHOME"))
    assert "migrated: in /tmp/evil" in project.fab("deploy").output
    for task in (("setup",), ("check",), ("shared.put", "version.txt", "--as", "data/x"), ("rollback",)):
        project.fab(*task)
    assert_left_alone(web, watch)


@needs_git
@needs_hg
def test_git_and_mercurial_keep_away_from_a_tmp_of_somebody_elses(make: Callable[..., Project]) -> None:
    project = make(base="bookworm-vcs")
    web = project.machines[0]
    watch = give_away_tmp(web, ("TMPDIR", "TEMP"))
    (project.directory / ".gitignore").write_text("fabric.yaml\n")
    (project.directory / ".hgignore").write_text("^fabric.yaml$\n^[.]git/\n")
    repositories = {"git": Git(project.directory), "hg": Hg(project.directory)}
    for strategy, repository in repositories.items():
        project.configure(source={"strategy": strategy})
        for number in range(2):
            project.version(f"{strategy} {number}")
            repository.commit()
            project.fab("deploy")
            assert project.serving(web)["version"] == f"{strategy} {number}"
        project.fab("cleanup")
    web.run("touch /srv/tiny/repo/hg-unbundle-cut", user="guestbook")
    project.version("after one that was cut")
    repositories["hg"].commit()
    project.fab("deploy")
    assert web.run("ls -A /srv/tiny/repo").stdout.split() == [".hg", "deploy.json"]
    assert_left_alone(web, watch)


# --- homes ---


def test_a_home_that_cannot_be_written_to_or_is_not_there_is_no_matter(make: Callable[..., Project]) -> None:
    project = make()
    web = project.machines[0]
    web.run("mkdir /etc/ssh/keys; install -m 644 /home/deploy/.ssh/authorized_keys /etc/ssh/keys/deploy")
    web.run("echo 'AuthorizedKeysFile /etc/ssh/keys/%u' >> /etc/ssh/sshd_config.d/fleet.conf; systemctl reload ssh")
    homes = "/home/deploy /home/guestbook"
    for state, line in (
        ("shut", f"rm -rf {homes}; install -d -m 0555 {homes}"),
        ("gone", f"rm -rf {homes}"),
    ):
        web.run(line)
        project.version(state)
        web.run("rm -rf /srv/tiny/.deploy/hostside-*")
        project.fab("deploy")
        assert project.serving(web)["version"] == state
        assert not web.run(f"find {homes} -mindepth 1", check=False).stdout
