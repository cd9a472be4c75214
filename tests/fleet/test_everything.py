"""One command, three Debians, an application that leans on much: each host gets its own wheels, and serves."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.machines import Fleet
from tests.fleet.project import DATA, Project

pytestmark = [pytest.mark.fleet, pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")]

# The import names of what everything.in asks for; some of it only where its marker holds.
MODULES = """
import aiohttp, bcrypt, cffi, charset_normalizer, crcmod, cryptography.hazmat.primitives.ciphers, docopt, flask
import greenlet, gunicorn, httptools, jsonschema, lxml.etree, markupsafe, msgpack, orjson, PIL.Image, psutil, pydantic
import yaml, regex, requests, socks, sqlalchemy.ext.asyncio, ujson, uvloop, websockets, wrapt, zstandard, fromgit
import crcmod._crcfunext
"""
PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "fromgit"
version = "1.0"
[tool.setuptools]
py-modules = ["fromgit"]
"""
AT_LEAST, COMPILED_AT_LEAST = 40, 10


def repository(directory: Path) -> str:
    """A package in a repository; the requirement that names its commit."""
    directory.mkdir()
    (directory / "pyproject.toml").write_text(PYPROJECT)
    (directory / "fromgit.py").write_text("")
    git = ["git", "-C", str(directory), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message=one"]):
        subprocess.run([*git, *words], check=True)
    said = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return f"fromgit @ git+file://{directory}@{said.stdout.strip()}\n"


class Unbuilt(Project):
    """With a wheelhouse that has what others fetched and nothing that they built."""

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "XDG_CACHE_HOME": str(self._cache())}

    def _cache(self) -> Path:
        cache = self.directory.parent / "cache"
        if not cache.exists():
            known = Path(super().environment()["XDG_CACHE_HOME"]) / "fabric-wheelhouse"
            (cache / "fabric-wheelhouse").mkdir(parents=True)
            for kind in ("wheels", "sources"):
                if (known / kind).is_dir():
                    subprocess.run(
                        ["cp", "-a", "--reflink=auto", known / kind, cache / "fabric-wheelhouse"], check=True
                    )
        return cache


def test_forty_packages_go_to_three_debians_with_one_command(tmp_path: Path, fleet: Fleet, boot: Any) -> None:
    machines = boot.all(("bullseye", "old"), ("bookworm", "mid"), ("trixie", "new"))
    builders = boot.all(("bullseye-build", "oldbuild"), ("bookworm-build", "midbuild"), ("trixie-build", "newbuild"))
    hosts = [{"host": f"deploy@{builder.address}"} for builder in builders]
    project = Unbuilt(tmp_path / "tiny", fleet, machines, builders=hosts)
    lock = (DATA / "everything.txt").read_text() + repository(tmp_path / "repository")
    (project.directory / "requirements.txt").write_text(lock)
    (project.directory / "everything.py").write_text(MODULES)
    serve = project.directory / "serve.py"
    serve.write_text(serve.read_text().replace("import itsdangerous\n", "import everything\nimport itsdangerous\n"))

    project.fab("deploy", timeout=900)

    made = project.fab("bundle.show").output.splitlines()
    for source in ("crcmod", "docopt"):
        assert sum(source in line and "built by host" in line for line in made) == len(machines), made
    for machine in machines:
        release = project.current(machine)
        assert project.serving(machine)["release"] == release, machine.suite
        venv = f"{project.base}/current/.venv"
        names = machine.run(f"ls -d {venv}/lib/python3*/site-packages/*.dist-info").stdout.split()
        compiled = machine.run(f"grep -l '^Root-Is-Purelib: false' {venv}/lib/python3*/site-packages/*/WHEEL").stdout
        assert len(names) >= AT_LEAST
        assert len(compiled.split()) >= COMPILED_AT_LEAST
        stable = machine.run(f"grep -l -- '-abi3-' {venv}/lib/python3*/site-packages/*/WHEEL").stdout
        assert "cryptography-" in stable
        marked = [name for name in names if "importlib_metadata-" in name]
        assert bool(marked) is (machine.suite == "bullseye")
        assert [name for name in names if "fromgit-" in name]
