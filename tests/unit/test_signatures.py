"""Signatures by real SSH keys: what a host with a list of allowed signers takes, and what it refuses."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.bundle import Manifest, Origin, Target, Wheel, signing
from deploy.errors import BuildError, ConfigurationError
from deploy.hostside import install, signature
from deploy.hostside.failure import Failure
from deploy.hostside.layout import Layout

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")

A = "a" * 64
TARGET = Target.parse({"python": "3.11", "platform": "manylinux_2_36_x86_64"})
MANIFEST = Manifest(TARGET, "f" * 64, (Wheel("a-1-py3-none-any.whl", A, 1, "a", "1", Origin("index", A)),), "test 1")


@pytest.fixture(autouse=True)
def _no_agent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr(signature, "ROOT", str(tmp_path / "etc"))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "srv/.deploy").mkdir(parents=True)
    return Layout(str(tmp_path / "srv"))


@pytest.fixture
def key(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str, passphrase: str = "") -> Path:
        path = tmp_path / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", name, "-f", path], check=True)
        return path

    return make


def line(key: Path, principals: str = "ana@example.org", options: str = "") -> str:
    return f"{principals} {options} {key.with_suffix('.pub').read_text()}"


def check(layout: Layout, signed: str, manifest: Manifest = MANIFEST) -> None:
    signature.check(layout, manifest.digest, manifest.lock_sha256, manifest.sha256, signed)


def test_laptop_and_host_mean_the_same_statement_and_namespace() -> None:
    assert signing.NAMESPACE == signature.NAMESPACE
    assert signing.statement(MANIFEST) == signature.statement(MANIFEST.digest, MANIFEST.lock_sha256, MANIFEST.sha256)


def test_a_host_without_a_list_asks_for_nothing(layout: Layout) -> None:
    check(layout, "")


@pytest.mark.parametrize(
    ("principals", "options"),
    [
        ("ana@example.org", ""),
        ("ana@example.org,ci@example.org", 'namespaces="bundle@fabric-wheelhouse"'),
        ("*@example.org", 'valid-after="20200101"'),
    ],
)
def test_an_allowed_signer_is_taken(layout: Layout, key: Callable[..., Path], principals: str, options: str) -> None:
    ana = key("ana")
    signature.put(layout, line(key("bob"), "bob@example.org") + line(ana, principals, options), "deploy")
    check(layout, signing.sign(MANIFEST, ana))


@pytest.mark.parametrize(
    "options", ['namespaces="git"', 'valid-before="20200101"'], ids=["of another namespace", "of former days"]
)
def test_a_signer_who_is_allowed_something_else_is_refused(
    layout: Layout, key: Callable[..., Path], options: str
) -> None:
    ana = key("ana")
    signature.put(layout, line(ana, options=options), "deploy")
    with pytest.raises(Failure, match="is not among the allowed signers"):
        check(layout, signing.sign(MANIFEST, ana))


def test_what_is_not_signed_or_by_a_stranger_is_refused(layout: Layout, key: Callable[..., Path]) -> None:
    signature.put(layout, line(key("ana")), "deploy")
    with pytest.raises(Failure, match="the bundle is not signed"):
        check(layout, "")
    with pytest.raises(Failure, match=r"is not among the allowed signers of this host .*SHA256:"):
        check(layout, signing.sign(MANIFEST, key("mallory")))
    signature.put(layout, "", "deploy")
    with pytest.raises(Failure, match="is not among the allowed signers"):
        check(layout, signing.sign(MANIFEST, key("nobody")))


@pytest.mark.parametrize(
    "changes",
    [
        {"wheels": (replace(MANIFEST.wheels[0], sha256="b" * 64),)},
        {"wheels": (replace(MANIFEST.wheels[0], origin=Origin("index", A, url="https://example.org/other")),)},
        {"wheels": ()},
        {"lock_sha256": "e" * 64},
        {"target": replace(TARGET, machine="aarch64")},
    ],
    ids=["a wheel", "an origin", "a wheel less", "the lock file", "the target"],
)
def test_a_manifest_that_was_altered_after_it_was_signed_is_refused(
    layout: Layout, key: Callable[..., Path], changes: dict[str, object]
) -> None:
    ana = key("ana")
    signature.put(layout, line(ana), "deploy")
    signed = signing.sign(MANIFEST, ana)
    altered = replace(MANIFEST, **changes)  # type: ignore[arg-type]
    with pytest.raises(Failure, match="does not fit its manifest"):
        check(layout, signed, altered)
    with pytest.raises(BuildError, match="does not fit"):
        signing.examine(altered, signed)


@pytest.mark.parametrize("damage", ["", "rubbish\n"])
def test_a_signature_that_is_damaged_is_refused(layout: Layout, key: Callable[..., Path], damage: str) -> None:
    ana = key("ana")
    signature.put(layout, line(ana), "deploy")
    signed = signing.sign(MANIFEST, ana)
    lines = signed.splitlines(keepends=True)
    with pytest.raises(Failure, match="does not fit"):
        check(layout, "".join(lines[:2]) + damage + "".join(lines[3:]))


def test_a_signature_for_another_purpose_does_not_count(layout: Layout, key: Callable[..., Path]) -> None:
    ana = key("ana")
    signature.put(layout, line(ana), "deploy")
    command = ["ssh-keygen", "-Y", "sign", "-n", "git", "-f", ana]
    done = subprocess.run(command, input=signing.statement(MANIFEST), capture_output=True, check=True)
    with pytest.raises(Failure, match="does not fit"):
        check(layout, done.stdout.decode())


def test_an_install_asks_before_anything_else(layout: Layout, key: Callable[..., Path]) -> None:
    signature.put(layout, line(key("ana")), "deploy")
    rows = [{"filename": each.filename, "sha256": each.sha256, "size": each.size} for each in MANIFEST.wheels]
    unsigned = {"manifest": MANIFEST.sha256, "signature": ""}
    with pytest.raises(Failure, match="not signed"):
        install.install(layout, TARGET.name, MANIFEST.digest, rows, "", {"lock": "f" * 64}, print, unsigned)


def test_a_host_without_ssh_keygen_refuses_with_a_clear_word(
    layout: Layout, key: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ana = key("ana")
    signature.put(layout, line(ana), "deploy")
    signed = signing.sign(MANIFEST, ana)
    monkeypatch.setattr(signature, "PROGRAMS", str(tmp_path))
    with pytest.raises(Failure, match="no ssh-keygen on this host"):
        check(layout, signed)
    old = tmp_path / "ssh-keygen"
    old.write_text("#!/bin/sh\necho 'unknown option -- Y' >&2\nexit 1\n")
    old.chmod(0o755)
    with pytest.raises(Failure, match="too old"):
        check(layout, signed)


def test_roots_list_counts_before_the_deploy_users_and_cannot_be_replaced_by_it(
    layout: Layout, key: Callable[..., Path]
) -> None:
    ana, bob = key("ana"), key("bob")
    assert signature.put(layout, line(ana), "root")["changed"]
    assert signature.put(layout, line(ana), "root")["changed"] == []
    with pytest.raises(Failure, match="root's list"):
        signature.put(layout, line(bob), "deploy")
    Path(layout.path(".deploy", "allowed_signers")).write_text(line(bob))
    check(layout, signing.sign(MANIFEST, ana))
    with pytest.raises(Failure, match="is not among"):
        check(layout, signing.sign(MANIFEST, bob))


def test_a_link_in_the_place_of_the_base_path_leads_to_the_same_list(
    layout: Layout, key: Callable[..., Path], tmp_path: Path
) -> None:
    signature.put(layout, line(key("ana")), "root")
    (tmp_path / "other").symlink_to(layout.base)
    with pytest.raises(Failure, match="not signed"):
        check(Layout(str(tmp_path / "other")), "")
    Path(layout.base).rename(tmp_path / "moved")
    Path(layout.base).symlink_to(tmp_path / "moved")
    with pytest.raises(Failure, match="not signed"):
        check(layout, "")


def test_a_key_with_a_passphrase_that_no_agent_has_is_told_with_the_remedy(key: Callable[..., Path]) -> None:
    locked = key("locked", "secret words")
    with pytest.raises(ConfigurationError) as caught:
        signing.sign(MANIFEST, locked)
    assert "ssh-add" in caught.value.hint


def test_a_key_of_the_agent_signs_without_its_passphrase(
    key: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shutil.which("ssh-agent"):
        pytest.skip("ssh-agent is not installed")
    ana = key("ana")
    socket = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not socket.exists():
            assert agent.poll() is None
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        subprocess.run(["ssh-add", "-q", ana], check=True)
        # From now on only the agent can use it.
        subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret words", "-f", ana], check=True)
        for given in (ana, ana.with_suffix(".pub")):
            assert signing.examine(MANIFEST, signing.sign(MANIFEST, given)).key.startswith("ED25519 SHA256:")
    finally:
        agent.terminate()
        agent.wait()


def test_the_principal_is_told_where_there_is_a_list(key: Callable[..., Path], tmp_path: Path) -> None:
    ana, allowed = key("ana"), tmp_path / "allowed_signers"
    allowed.write_text(line(ana))
    assert signing.verify(MANIFEST, signing.sign(MANIFEST, ana), allowed).principal == "ana@example.org"
    with pytest.raises(BuildError, match="not among the allowed signers"):
        signing.verify(MANIFEST, signing.sign(MANIFEST, key("bob")), allowed)
