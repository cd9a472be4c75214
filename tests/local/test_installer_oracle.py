"""pip is the oracle: of the same wheels, our installer makes the same tree, and pip can work with it."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.bundle import Bundle, Places, Target, Wheelhouse, create_bundle
from deploy.host.bootstrap import program

DATA = Path(__file__).resolve().parents[1] / "data"
PYTHON = getattr(sys, "_base_executable", sys.executable)

# What each installer writes of its own; entry-point scripts have their own template, and are run instead.
OWN = {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json"}

ASSEMBLE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from hostside import arrivals, install, newvenv
from hostside.layout import Layout
layout, wheels = Layout(sys.argv[2]), json.loads(sys.argv[3])
for wheel in wheels:
    with open(wheel["path"], "rb") as stream:
        arrivals.add_wheels(layout, [wheel], stream)
newvenv.place(layout.base, "ours", newvenv.make(layout.base, "ours", install.opened(layout, wheels)))
"""


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return create_bundle(DATA / "oracle.txt", Target.local(), wheelhouse=Wheelhouse(), places=Places(ambient=True))


@pytest.fixture(scope="module")
def ours(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The venv that the host program makes, run as on a host."""
    base = tmp_path_factory.mktemp("ours")
    for name in ("wheels", "venvs"):
        (base / name).mkdir()
    archive = base / "hostside.pyz"
    archive.write_bytes(program().content)
    wheels = [
        {"filename": one.filename, "sha256": one.sha256, "size": one.size, "path": str(bundle.path(one))}
        for one in bundle.manifest.wheels
    ]
    subprocess.run([PYTHON, "-I", "-S", "-c", ASSEMBLE, str(archive), str(base), json.dumps(wheels)], check=True)
    return base / "venvs/ours"


@pytest.fixture(scope="module")
def theirs(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The venv that pip makes."""
    venv = tmp_path_factory.mktemp("theirs") / "venv"
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", venv], check=True)
    files = [str(bundle.path(wheel)) for wheel in bundle.manifest.wheels]
    pip(venv, "install", "--no-index", "--no-deps", "--no-compile", *files)
    return venv


def pip(venv: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--python", str(venv / "bin/python"), *words, "--disable-pip-version-check"]
    return subprocess.run(command, check=True, capture_output=True, text=True)


def tree(venv: Path) -> dict[str, Path]:
    """Every file that a wheel brought."""
    return {
        str(path.relative_to(venv)): path
        for path in venv.rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and path.name not in OWN
        and not path.name.lower().startswith(("activate", "python", ".venv.json", "pyvenv.cfg", ".gitignore"))
    }


def generated(venv: Path) -> set[str]:
    """The commands that entry points ask for."""
    names = set()
    for file in venv.rglob("*.dist-info/entry_points.txt"):
        section = ""
        for line in file.read_text().splitlines():
            section = line.strip() if line.startswith("[") else section
            if section in ("[console_scripts]", "[gui_scripts]") and "=" in line:
                names.add(f"bin/{line.partition('=')[0].strip()}")
    return names


def test_there_are_forty_wheels_of_every_kind(bundle: Bundle) -> None:
    names = [wheel.filename for wheel in bundle.manifest.wheels]
    assert len(names) >= 40
    assert any("abi3" in name for name in names)
    assert any("none-any" in name for name in names)
    assert sum("none-any" not in name for name in names) >= 10


def test_the_tree_is_the_one_that_pip_makes(ours: Path, theirs: Path) -> None:
    mine, pips = tree(ours), tree(theirs)
    assert set(mine) == set(pips)
    scripts = generated(theirs)
    for name, path in pips.items():
        if name not in scripts and path.read_bytes().replace(bytes(theirs), bytes(ours)) != mine[name].read_bytes():
            pytest.fail(f"{name} differs")
        assert stat.S_IMODE(mine[name].stat().st_mode) == stat.S_IMODE(path.stat().st_mode), name


def test_record_names_every_file_with_its_hash(ours: Path) -> None:
    recorded = set()
    for record in ours.rglob("*.dist-info/RECORD"):
        library = record.parent.parent
        for name, digest, size in csv.reader(record.read_text().splitlines()):
            path = (library / name).resolve()
            assert path.is_file(), name
            recorded.add(path)
            if digest:
                content = path.read_bytes()
                found = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
                assert (digest, size) == (f"sha256={found}", str(len(content))), name
    assert {path.resolve() for path in tree(ours).values()} <= recorded


def test_entry_points_run(ours: Path) -> None:
    for command in (
        ["django-admin", "--version"],
        ["gunicorn", "--version"],
        ["flask", "--version"],
        ["ruff", "--version"],
    ):
        subprocess.run([ours / "bin" / command[0], *command[1:]], check=True, capture_output=True)


def test_compiled_modules_are_imported(ours: Path) -> None:
    modules = "numpy, lxml.etree, PIL._imaging, psycopg, cryptography.hazmat.bindings._rust, google.rpc.status_pb2"
    subprocess.run([ours / "bin/python", "-c", f"import {modules}"], check=True)


def test_no_source_is_compiled_again(ours: Path) -> None:
    """The bytecode is there and is taken as it is."""
    script = "import django, sys; print(django.__cached__)"
    cached = subprocess.run(
        [ours / "bin/python", "-c", script], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert Path(cached).read_bytes()[4:8] == b"\x01\0\0\0"


def test_pip_check_passes_and_pip_uninstalls_without_a_rest(ours: Path) -> None:
    pip(ours, "check")
    pip(ours, "uninstall", "-y", "gunicorn", "greenlet", "django", "zope.interface")
    for name in ("gunicorn", "greenlet", "django"):
        for pattern in ("lib/*/site-packages/{}*", "bin/{}*", "include/*/*/{}"):
            assert not list(ours.glob(pattern.format(name)))
