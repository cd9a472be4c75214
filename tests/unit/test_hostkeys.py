"""known_hosts is read once for all hosts, and again when it has changed."""

from __future__ import annotations

from pathlib import Path

import asyncssh
import pytest

from deploy.host import hostkeys


def key() -> str:
    return asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()


def names(path: Path) -> list[str]:
    return [name for name in ("one", "two") if hostkeys.load([path]).lookup(name)]


@pytest.fixture
def known(tmp_path: Path) -> Path:
    path = tmp_path / "known_hosts"
    path.write_text(f"one {key()}\n@revoked two {key()}\nnonsense\n")
    return path


def test_a_key_that_is_added_or_taken_away_meanwhile_is_seen(known: Path) -> None:
    assert names(known) == ["one"]
    with known.open("a") as stream:
        stream.write(f"two {key()}\n")
    assert names(known) == ["one", "two"]
    known.unlink()
    assert names(known) == []
    known.write_text(f"two {key()}\n")
    assert names(known) == ["two"]


def test_what_one_login_does_to_its_keys_is_nothing_to_the_next(known: Path) -> None:
    hostkeys.load([known]).clear()
    hostkeys.load([known])._entries.clear()  # type: ignore[attr-defined]
    assert names(known) == ["one"]
