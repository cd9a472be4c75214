"""The hosts are what the other fleet tests take them for: real, apart, and breakable."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from fabric import Connection
from paramiko import RejectPolicy

from tests.fleet import network
from tests.fleet.conftest import Boot, Standing
from tests.fleet.machines import CommandFailed, Fleet, Machine, Relay

PYTHONS = {"bullseye": "3.9", "bookworm": "3.11", "trixie": "3.13"}
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def host(standing: Standing) -> Machine:
    return standing("trixie", "standing")


def ssh(
    fleet: Fleet, host: Machine, command: str, *, port: int = 22, user: str = "deploy"
) -> subprocess.CompletedProcess[str]:
    address = host.address if port == 22 else "127.0.0.1"
    options = ["-F", str(fleet.client.config), "-o", "BatchMode=yes", "-p", str(port), f"{user}@{address}"]
    return subprocess.run(["ssh", *options, command], capture_output=True, text=True, timeout=20)


def can_connect(address: str, port: int, timeout: float = 1.0) -> bool:
    try:
        socket.create_connection((address, port), timeout=timeout).close()
    except OSError:
        return False
    return True


def test_three_debians_boot_at_once_without_a_failed_unit_or_a_compiler(boot: Boot) -> None:
    hosts = boot.all(*((suite, f"{suite}-host") for suite in PYTHONS))

    for host in hosts:
        assert host.run("systemctl is-system-running --wait", check=False).stdout.strip() == "running"
        assert host.run("hostname").stdout.strip() == host.name
        assert f"Python {PYTHONS[host.suite]}." in host.run("python3 --version").stdout
        assert host.run("command -v cc gcc clang", check=False).returncode != 0


def test_hosts_do_not_share_a_control_group(standing: Standing) -> None:
    hosts = standing.all(("trixie", "standing"), ("bookworm", "other"))

    for host in hosts:
        host.run("systemctl restart supervisor.service")

    assert [host.run("systemctl is-active supervisor ssh").stdout.split() for host in hosts] == [["active"] * 2] * 2


def test_fabric_logs_in_with_the_checked_key_of_the_host(
    fleet: Fleet, host: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(fleet.client.home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with Connection(host.address, user="deploy") as connection:
        connection.client.load_system_host_keys()
        connection.client.set_missing_host_key_policy(RejectPolicy())

        answer = connection.run("id -un; hostname; sudo -n id -un", hide=True, in_stream=False)

    assert answer.stdout.split() == ["deploy", host.name, "root"]


def test_openssh_logs_in_by_name_and_only_where_the_key_is_authorized(fleet: Fleet, host: Machine) -> None:
    by_name = subprocess.run(
        ["ssh", "-F", fleet.client.config, host.name, "hostname"], capture_output=True, text=True, timeout=20
    )

    assert by_name.stdout.strip() == host.name
    assert "Permission denied" in ssh(fleet, host, "true", user="guestbook").stderr


def test_a_host_reaches_the_laptop_and_nothing_else(fleet: Fleet, standing: Standing) -> None:
    host, other = standing.all(("trixie", "standing"), ("bookworm", "other"))
    with socket.create_server((fleet.address, 0)) as listener:
        port = listener.getsockname()[1]

        host.run(f"timeout 2 bash -c '</dev/tcp/{fleet.address}/{port}'")

    for address in (other.address, "203.0.113.250", "192.0.2.1"):
        tried = host.run(f"timeout 2 bash -c '</dev/tcp/{address}/22'", check=False)
        assert "Network is unreachable" in tried.stderr
    assert "default" not in host.run("ip route; ip -6 route").stdout


def test_files_are_written_with_owner_and_mode_and_read_back(host: Machine) -> None:
    host.write("/srv/some dir/a'b", "Grüße\n", mode=0o640, owner="guestbook:guestbook")

    assert host.read("/srv/some dir/a'b") == "Grüße\n"
    assert host.run("stat -c '%a %U %G' \"/srv/some dir/a'b\"").stdout.split() == ["640", "guestbook", "guestbook"]
    assert (host.root / "srv/some dir/a'b").read_text() == "Grüße\n"
    assert host.exists("/srv/some dir") and not host.exists("/srv/nothing")


def test_a_script_runs_as_the_user_asked_for_and_its_failure_is_told(host: Machine) -> None:
    assert host.run("id -un; echo $HOME; cat", user="guestbook", input="in").stdout == "guestbook\n/home/guestbook\nin"
    with pytest.raises(CommandFailed, match=r"standing: .* ended with 3\nbecause"):
        host.run("echo because >&2; exit 3")


def test_a_new_user_with_a_password_may_sudo_what_sudoers_says(fleet: Fleet, boot: Boot) -> None:
    host = boot()
    host.add_user("ada")
    host.authorize("ada")
    host.set_password("ada", "correct horse")
    host.sudoers("ada ALL=(root) /usr/bin/id")

    assert ssh(fleet, host, "echo correct horse | sudo -S id -un", user="ada").stdout == "root\n"
    assert "password is required" in ssh(fleet, host, "sudo -n id", user="ada").stderr
    assert ssh(fleet, host, "sudo -n true").returncode != 0, "the rule of the fixture is replaced"
    with pytest.raises(CommandFailed):
        host.sudoers("ada ALL=(root")
    assert not host.exists("/etc/sudoers.d/fleet.new")


def test_a_power_cut_says_goodbye_to_nobody_and_leaves_the_files(fleet: Fleet, boot: Boot) -> None:
    host = boot("bookworm")
    host.write("/srv/kept", "kept\n")
    keys, boot_id = host.host_keys(), host.run("cat /proc/sys/kernel/random/boot_id").stdout
    with socket.create_connection((host.address, 22)) as connection:
        connection.recv(100)
        connection.settimeout(0.5)

        host.poweroff_hard()

        with pytest.raises(TimeoutError):
            connection.recv(100)
    assert not host.is_running and not can_connect(host.address, 22, 0.2)
    assert host.read("/srv/kept") == "kept\n", "a host that is off can be looked into"

    host.boot_again()

    assert host.read("/srv/kept") == "kept\n"
    assert host.host_keys() == keys
    assert host.run("cat /proc/sys/kernel/random/boot_id").stdout != boot_id
    assert ssh(fleet, host, "hostname").stdout.strip() == host.name


def test_a_cut_network_is_silent_and_connections_survive_it(host: Machine) -> None:
    with socket.create_connection((host.address, 22)) as connection:
        connection.recv(100)
        host.cut_network()
        try:
            started = time.monotonic()
            assert not can_connect(host.address, 22, timeout=0.5)
            assert time.monotonic() - started >= 0.5, "dropped, not refused"
        finally:
            host.restore_network()
        connection.sendall(b"SSH-2.0-test\r\n")
        connection.settimeout(5)

        assert connection.recv(100), "the key exchange goes on"


def test_a_small_disk_fills_up_to_the_byte_asked_for(boot: Boot) -> None:
    host = boot()
    host.run("install -d -o guestbook -g guestbook -m 0750 /srv/guestbook")
    host.mount_small_disk("/srv/guestbook", 4 << 20)
    assert host.run("stat -c '%a %U' /srv/guestbook").stdout.split() == ["750", "guestbook"]

    host.fill_disk("/srv/guestbook", bytes_free=64 << 10)

    fits = "head -c 65536 /dev/zero > /srv/guestbook/fits"
    more = "head -c 1 /dev/zero > /srv/guestbook/more"
    host.run(fits, user="guestbook")
    assert "No space left" in host.run(more, user="guestbook", check=False).stderr
    host.free_disk("/srv/guestbook")
    host.run(more, user="guestbook")
    with pytest.raises(CommandFailed):
        host.fill_disk("/", 0)


def test_the_trap_counts_what_wants_out_and_not_what_answers(fleet: Fleet, boot: Boot) -> None:
    host = boot()
    host.listen_trap()
    ssh(fleet, host, "python3 -m http.server 8000 >/dev/null 2>&1 & sleep 0.5; curl -s localhost:8000 >/dev/null")
    with socket.create_connection((host.address, 8000)) as web:
        web.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert web.recv(100)
    can_connect(host.address, 4711)
    assert (host.outgoing_attempts(), host.outgoing_targets()) == (0, [])

    started = time.monotonic()
    for wanted in ("203.0.113.9:443", "nowhere.example.org", "[2001:db8::1]:80", f"{fleet.address}:99"):
        assert host.run(f"curl -s -m 5 http://{wanted}", check=False).returncode != 0

    assert time.monotonic() - started < 5, "refused at once"
    assert host.outgoing_attempts() >= 4
    assert set(host.outgoing_targets()) == {
        "tcp 203.0.113.9 443",
        "udp 192.0.2.53 53",
        "tcp 2001:db8::1 80",
        f"tcp {fleet.address} 99",
    }
    host.reset_trap()
    assert (host.outgoing_attempts(), host.outgoing_targets()) == (0, [])
    host.remove_trap()
    assert "default" not in host.run("ip route").stdout


def test_a_relay_delays_each_way_and_counts(fleet: Fleet, host: Machine) -> None:
    with fleet.relay(host) as near, fleet.relay(host, latency_s=0.05) as far:
        started = time.monotonic()
        assert ssh(fleet, host, "cat >/dev/null; echo done", port=near.port).stdout == "done\n"
        middle = time.monotonic()
        assert ssh(fleet, host, "cat >/dev/null; echo done", port=far.port).stdout == "done\n"
        slower = (time.monotonic() - middle) - (middle - started)

    assert far.connections == 1
    assert far.bytes_up > 1000 and far.bytes_down > 1000
    assert 5 <= far.round_trips <= 20
    assert 0.4 < slower < 0.1 * far.round_trips + 0.5


def test_a_relay_cuts_at_the_byte_and_works_again_when_mended() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        Relay("127.0.0.1", server.getsockname()[1], cut_after_bytes=150_000) as relay,
    ):
        server.settimeout(5)
        client = socket.create_connection(("127.0.0.1", relay.port))
        far, _ = server.accept()
        received = 0
        with client, far, pytest.raises(ConnectionResetError):
            client.sendall(b"x" * 300_000)
            while data := far.recv(1 << 16):
                received += len(data)
        assert relay.bytes_up == 150_000
        assert received <= 150_000
        assert relay.is_cut

        relay.mend()

        with socket.create_connection(("127.0.0.1", relay.port)) as client:
            far, _ = server.accept()
            client.sendall(b"hello")
            assert far.recv(100) == b"hello"
            relay.cut()
            with far, pytest.raises(ConnectionResetError):
                far.recv(100)


def test_a_killed_run_is_swept_by_the_next_one_and_a_live_one_is_left_alone(
    fleet: Fleet, host: Machine, tmp_path: Path
) -> None:
    script = f"""
        import sys, time
        from pathlib import Path
        from tests.fleet.machines import Fleet
        fleet = Fleet.start(Path({str(tmp_path / "killed")!r}))
        host = fleet.boot("bookworm", "orphan")
        print(fleet.bridge, host.pid1, flush=True)
        time.sleep(60)
    """
    killed = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], cwd=REPOSITORY, stdout=subprocess.PIPE)
    assert killed.stdout is not None
    bridge, pid1 = killed.stdout.readline().decode().split()
    killed.kill()
    killed.communicate()
    assert Path(f"/proc/{pid1}/exe").exists(), "nobody has swept yet"

    with Fleet.start(tmp_path / "next") as following:
        assert following.bridge != fleet.bridge

        groups = [group for group in network.control_groups(bridge) if group.exists()]
        assert not Path(f"/proc/{pid1}/exe").exists()
        assert not list((tmp_path / "killed/hosts").glob("*"))
        assert not groups
        assert f"{tmp_path}/killed" not in Path("/proc/mounts").read_text()
    links = [link["ifname"] for link in json.loads(network.ip("-json", "link"))]
    assert fleet.bridge in links and following.bridge not in links
    assert not following.machines
    assert host.run("hostname").stdout.strip() == host.name
