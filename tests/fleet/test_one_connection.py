"""However a host is reached: it is logged in to once, and rsync rides on that connection. The server's log tells."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.fleet.machines import Fleet, Machine
from tests.fleet.project import Project
from tests.fleet.test_promises import in_terminal

pytestmark = pytest.mark.fleet

PASSPHRASE = 'it\'s "a" $(phrase) \\ 7'


class Laptop(Project):
    """A project on a laptop with a home of its own: no key, no configuration but what a test puts there."""

    variables: ClassVar[dict[str, str]] = {}

    def environment(self) -> dict[str, str]:
        home = self.directory.parent / "home"
        return {**super().environment(), "HOME": str(home), **self.variables}

    @property
    def ssh(self) -> Path:
        return self.directory.parent / "home/.ssh"

    def reach(self, address: str, **section: Any) -> None:
        stages = {"production": {"hosts": [address]}}
        self.configure(source={"strategy": "rsync"}, stages=stages, **section)


@pytest.fixture
def web(boot: Any) -> Machine:
    machine: Machine = boot("bookworm", "web1")
    return machine


@pytest.fixture
def project(tmp_path: Path, fleet: Fleet, web: Machine) -> Laptop:
    made = Laptop(tmp_path / "tiny", fleet, [web])
    made.ssh.mkdir(parents=True)
    (made.ssh / "known_hosts").write_text(fleet.client.known_hosts.read_text())
    return made


@pytest.fixture
def key(project: Laptop, web: Machine) -> Path:
    """A key with a passphrase, the only one that the host lets in."""
    path = project.directory.parent / "protected"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", PASSPHRASE, "-f", path], check=True)
    web.write("/home/deploy/.ssh/authorized_keys", path.with_suffix(".pub").read_text(), 0o600, "deploy:deploy")
    return path


def logins(machine: Machine) -> int:
    said = machine.run("journalctl --no-pager -o cat -t sshd -t sshd-session").stdout
    return sum(line.startswith("Accepted ") for line in said.splitlines())


@contextmanager
def one_login(project: Laptop, web: Machine, count: int = 1) -> Iterator[None]:
    """A deploy that pushes by rsync, within: so many logins in the host's log, and the new code serves."""
    project.version("reached")
    before = logins(web)
    yield
    assert project.serving(web)["version"] == "reached"
    assert logins(web) == before + count


def test_a_key_with_a_passphrase_in_an_agent(project: Laptop, web: Machine, key: Path, tmp_path: Path) -> None:
    socket = str(tmp_path / "agent")
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        ask = tmp_path / "ask"
        ask.write_text("#!/bin/sh\nprintf '%s' \"$PHRASE\"\n")
        ask.chmod(0o700)
        variables = {"SSH_AUTH_SOCK": socket, "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
        environment = {**project.environment(), **variables, "PHRASE": PASSPHRASE, "DISPLAY": ":"}
        while not Path(socket).exists():
            assert agent.poll() is None
        subprocess.run(["ssh-add", "-q", key], env=environment, check=True, stdin=subprocess.DEVNULL)
        key.unlink()
        project.reach(f"deploy@{web.address}")
        with one_login(project, web):
            project.fab("deploy", expect=4)
            project.variables = {"SSH_AUTH_SOCK": socket}
            project.fab("deploy")
    finally:
        agent.terminate()
        agent.wait()


def test_a_key_file_whose_passphrase_is_given_at_the_prompt(project: Laptop, web: Machine, key: Path) -> None:
    project.reach(f"deploy@{web.address}", identity=str(key))
    assert "--prompt-for-passphrase" in project.fab("deploy", expect=4).output
    with one_login(project, web):
        code, shown = in_terminal(project, "--prompt-for-passphrase", "deploy", answer=PASSPHRASE)
        assert code == 0, shown
    assert "phrase) \\" not in shown


def test_a_password_of_the_login(project: Laptop, web: Machine) -> None:
    web.run("rm /home/deploy/.ssh/authorized_keys")
    web.set_password("deploy", PASSPHRASE)
    web.write("/etc/ssh/sshd_config.d/00-password.conf", "PasswordAuthentication yes\n")
    web.run("systemctl reload ssh")
    project.reach(f"deploy@{web.address}")
    with one_login(project, web):
        code, shown = in_terminal(project, "--prompt-for-login-password", "deploy", answer=PASSPHRASE)
        assert code == 0, shown
    assert "phrase) \\" not in shown


def with_key(project: Laptop) -> dict[str, Any]:
    return {"identity": str(project.fleet.client.key)}


@pytest.mark.parametrize("kind", ["ProxyJump", "gateway", "ProxyCommand"])
def test_a_gateway(project: Laptop, web: Machine, kind: str) -> None:
    """The host is its own gateway, as hosts of the fleet have no way to each other: one login for each part."""
    client = project.fleet.client
    gate = f"deploy@{web.address}"
    jump = f"ProxyJump {gate}"
    if kind == "ProxyCommand":
        jump = f"ProxyCommand ssh -F {client.config} -W %h:%p {gate}"
    inner = f"Host inner\n HostName 127.0.0.1\n User deploy\n {jump}\n" if kind != "gateway" else ""
    (project.ssh / "config").write_text(f"{inner}Host *\n IdentityFile {client.key}\n")
    behind = "".join(f"127.0.0.1 {each}\n" for each in web.host_keys())
    with (project.ssh / "known_hosts").open("a") as known:
        known.write(behind)
    if kind == "gateway":
        (project.directory / "fabfile.py").write_text(
            f"from fabric import Connection\nfrom deploy import ns\nns.configure({{'gateway': Connection('{gate}')}})\n"
        )
    project.reach("inner" if kind != "gateway" else "deploy@127.0.0.1", **with_key(project))
    with one_login(project, web, count=2):
        project.fab("deploy")
    if kind != "ProxyCommand":
        (project.ssh / "known_hosts").write_text(behind)
        said = project.fab("status", expect=4).output
        assert web.address in said
        assert "its host key is not known" in said


def test_an_alias_of_ssh_config_with_another_user_and_port(project: Laptop, web: Machine) -> None:
    web.authorize("guestbook")
    web.write("/etc/ssh/sshd_config.d/00-port.conf", "Port 22\nPort 2022\n")
    web.run("systemctl restart ssh")
    web.sudoers("guestbook ALL=(root) NOPASSWD: /usr/bin/systemctl restart tiny.service\n")
    (project.ssh / "config").write_text(
        f"Host shop\n HostName {web.address}\n User guestbook\n Port 2022\n IdentityFile {project.fleet.client.key}\n"
    )
    names = f"[{web.address}]:2022"
    with (project.ssh / "known_hosts").open("a") as known:
        known.writelines(f"{names} {each}\n" for each in web.host_keys())
    project.reach("shop", deploy_user="")
    with one_login(project, web):
        project.fab("deploy")


def test_an_ipv6_address(project: Laptop, web: Machine) -> None:
    address = "2001:db8:22::7"
    subprocess.run(
        ["ip", "-6", "address", "add", "2001:db8:22::1/64", "dev", project.fleet.bridge, "nodad"], check=True
    )
    web.run("sysctl -qw net.ipv6.conf.host0.disable_ipv6=0", check=False)
    subprocess.run(
        ["nsenter", "-t", str(web.pid1), "-n", "ip", "-6", "address", "add", f"{address}/64", "dev", "host0", "nodad"],
        check=True,
    )
    with (project.ssh / "known_hosts").open("a") as known:
        known.writelines(f"{address} {each}\n" for each in web.host_keys())
    project.reach(f"deploy@[{address}]", **with_key(project))
    with one_login(project, web):
        project.fab("deploy")


def test_a_host_name_with_an_odd_port(project: Laptop, web: Machine) -> None:
    with project.fleet.relay(web) as relay:
        with (project.ssh / "known_hosts").open("a") as known:
            known.writelines(f"[localhost]:{relay.port} {each}\n" for each in web.host_keys())
        project.reach(f"deploy@localhost:{relay.port}", **with_key(project))
        with one_login(project, web):
            project.fab("deploy")
        assert relay.connections == 1


def test_the_cipher_is_the_quickest_that_both_ends_allow(project: Laptop, web: Machine) -> None:
    """By the server's own log."""

    def agreed(settings: str) -> str:
        web.write("/etc/ssh/sshd_config.d/00-cipher.conf", f"LogLevel DEBUG1\n{settings}")
        web.run("systemctl reload ssh")
        project.version(f"over {settings}")
        project.fab("push")
        assert web.read("/srv/tiny/staged/version.txt") == f"over {settings}\n"
        said = web.run("journalctl --no-pager -o cat -t sshd -t sshd-session").stdout
        line = [line for line in said.splitlines() if "kex: client->server cipher: " in line][-1]
        return line.partition("cipher: ")[2].split()[0]

    project.reach(f"deploy@{web.address}", **with_key(project))
    assert agreed("") == "aes128-gcm@openssh.com"
    assert agreed("Ciphers aes256-ctr\n") == "aes256-ctr"
    with (project.directory / "fabric.yaml").open("a") as configuration:
        ciphers = "[aes128-gcm@openssh.com, aes256-gcm@openssh.com]"
        configuration.write(f"connect_kwargs: {{disabled_algorithms: {{ciphers: {ciphers}}}}}\n")
    assert agreed("# forbidden here\n") == "aes128-ctr"
