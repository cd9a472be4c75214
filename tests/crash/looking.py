"""What has to be true of a host whatever died on it, and what has to be true after the deploy that follows."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from tests.crash.harness import SECRET, World

Content = dict[str, str]


class Judge:
    """Knows what a complete release of each version is made of, file by file, from deploys that nothing disturbed."""

    def __init__(self) -> None:
        self._known: dict[str, Content] = {}

    def learn(self, world: World, version: str) -> None:
        self._known[version] = _content(world.base / "current")

    def assert_whole(self, world: World, *allowed: str) -> None:
        """`current` is one of the versions *allowed*, and every file of it is as it was made ('' for no `current`)."""
        current = world.base / "current"
        if not current.is_symlink():
            assert "" in allowed, "current is gone"
            return
        release = json.loads((current / ".release.json").read_text())
        assert release["id"] == os.path.basename(os.readlink(current))
        version = (current / "version.txt").read_text().strip()
        assert version in allowed, version
        found, known = _content(current), self._known[version]
        differing = sorted(path for path in found.keys() | known.keys() if found.get(path) != known.get(path))
        assert not differing, f"{version}: {differing}"

    def assert_deployed(self, world: World, version: str) -> None:
        """*version* serves, and nothing of what died is left."""
        self.assert_whole(world, version)
        records = _json(world.base / ".deploy/releases.json")["releases"]
        left = [path for path in _walk(world.base) if ".partial-" in path]
        assert not left, left
        top = {"releases", "venvs", "wheels", "shared", ".deploy", "current"}
        assert set(os.listdir(world.base)) == top, os.listdir(world.base)
        # Whole releases, venvs and wheels that nobody needs may wait for the next deploy that has something to do.
        assert set(os.listdir(world.base / "releases")) <= set(records)
        there = {kind: set(os.listdir(world.base / kind)) for kind in ("venvs", "wheels")}
        used = {records[name]["venv"] for name in os.listdir(world.base / "releases")}
        assert used <= there["venvs"]
        held = {sha for venv in used for sha in _json(world.base / "venvs" / venv / ".venv.json")["wheels"]}
        assert held <= there["wheels"]
        assert not (world.base / ".deploy/lock.json").exists()
        assert records[os.path.basename(os.readlink(world.base / "current"))]["state"] == "good"
        secret = [path for path in _walk(world.base) if _holds_secret(world.base / path)]
        assert secret == ["shared/.env"], secret
        stray = [name for name in os.listdir(world.directory) if name.startswith("tmp")]
        assert not stray, stray


def _content(release: Path) -> Content:
    """Path → what it is; of the release and of its venv, whose name differs by nothing but what is in it."""
    found = {}
    for prefix, root in (("", release.resolve()), ("venv/", (release / ".venv").resolve())):
        for path in _walk(root):
            full = root / path
            if full.is_symlink():
                found[prefix + path] = "-> " + os.readlink(full)
            elif path != ".release.json":
                mode = full.stat().st_mode & 0o777
                found[prefix + path] = f"{mode:o} {hashlib.sha256(full.read_bytes()).hexdigest()}"
    return found


def _walk(root: Path) -> list[str]:
    found = []
    for directory, names, files in os.walk(root):
        found += [os.path.relpath(os.path.join(directory, name), root) for name in names + files]
    return [
        path for path in found if not os.path.isdir(root / path) or (root / path).is_symlink() or ".partial" in path
    ]


def _holds_secret(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and SECRET.encode() in path.read_bytes()


def _json(path: Path) -> Any:
    return json.loads(path.read_text())
