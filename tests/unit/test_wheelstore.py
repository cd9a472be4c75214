"""Wheels that lie, leave their place or are damaged are refused; what was killed half-way is made again."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

from deploy.hostside import disk, install, venvs, wheelstore
from deploy.hostside.failure import Failure
from deploy.hostside.layout import Layout


@pytest.fixture
def base(tmp_path: Path) -> Path:
    root = tmp_path / "srv"
    for name in ("wheels", "venvs"):
        (root / name).mkdir(parents=True)
    return root


def digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")


def wheel(
    directory: Path, files: dict[str, bytes], name: str = "thing", lie: str = "", omit: str = ""
) -> dict[str, Any]:
    """A wheel made by hand; *lie* names a file whose hash is wrong, *omit* one that RECORD does not list."""
    info = f"{name}-1.0.dist-info"
    files = {
        **files,
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
    }
    rows = [
        f"{path},{digest(b'another' if path == lie else content)},{len(content)}\n"
        for path, content in files.items()
        if path != omit
    ]
    path = directory / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in files.items():
            archive.writestr(member, content)
        archive.writestr(f"{info}/RECORD", "".join(rows) + f"{info}/RECORD,,\n")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"filename": path.name, "sha256": sha256, "size": path.stat().st_size, "path": str(path)}


def add(base: Path, one: dict[str, Any]) -> None:
    wheelstore.add(str(base), one["filename"], one["sha256"], one["path"])


def assemble(base: Path, *wheels: dict[str, Any]) -> Path:
    venvs.assemble(str(base), "v1", list(wheels), lambda text: None)
    return base / "venvs/v1"


def library(venv: Path) -> Path:
    return next(venv.glob("lib/python*/site-packages"))


def test_a_wheel_that_is_not_the_one_of_the_manifest_is_refused(base: Path, tmp_path: Path) -> None:
    one = wheel(tmp_path, {"thing.py": b"x = 1\n"})
    with Path(one["path"]).open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(Failure, match="damaged on the way"):
        add(base, one)
    assert os.listdir(base / "wheels") == []


def test_a_record_that_lies_and_one_that_omits_are_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(Failure, match="not what RECORD says"):
        add(base, wheel(tmp_path, {"thing.py": b"x = 1\n"}, lie="thing.py"))
    with pytest.raises(Failure, match="no hash for thing"):
        add(base, wheel(tmp_path, {"thing.py": b"x = 1\n"}, omit="thing.py"))
    disk.sweep(str(base / "wheels"))
    assert os.listdir(base / "wheels") == []


@pytest.mark.parametrize("path", ["../outside.py", "/etc/outside.py", "a/../../outside.py", "a\\b.py"])
def test_a_path_that_leaves_the_venv_is_refused(base: Path, tmp_path: Path, path: str) -> None:
    with pytest.raises(Failure, match="leaves the venv"):
        add(base, wheel(tmp_path, {path: b"x = 1\n"}))
    assert not list(tmp_path.rglob("outside.py"))


def test_a_symbolic_link_in_a_wheel_is_refused(base: Path, tmp_path: Path) -> None:
    one = wheel(tmp_path, {"thing.py": b"x = 1\n"})
    with zipfile.ZipFile(one["path"], "a") as archive:
        link = zipfile.ZipInfo("evil")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    one["sha256"] = hashlib.sha256(Path(one["path"]).read_bytes()).hexdigest()
    with pytest.raises(Failure, match="symbolic link"):
        add(base, one)


def test_two_wheels_that_bring_the_same_file_are_refused_by_name(base: Path, tmp_path: Path) -> None:
    one = wheel(tmp_path, {"same.py": b"x = 1\n"})
    other = wheel(tmp_path, {"same.py": b"x = 2\n"}, name="other")
    add(base, one)
    add(base, other)
    with pytest.raises(Failure, match=r"thing-1.0.*other-1.0.*both bring .*same.py"):
        assemble(base, one, other)
    assert not venvs.exists(str(base), "v1")


def test_scripts_data_and_entry_points_go_to_their_places(base: Path, tmp_path: Path) -> None:
    files = {
        "thing.py": b"def main():\n    print('hello')\n",
        "thing-1.0.data/scripts/tool": b"#!python\nimport sys; print(sys.prefix)\n",
        "thing-1.0.data/data/share/thing/read.me": b"text",
        "thing-1.0.data/purelib/more.py": b"y = 2\n",
        "thing-1.0.dist-info/entry_points.txt": b"[console_scripts]\nhello = thing:main [extra]\n",
    }
    one = wheel(tmp_path, files)
    add(base, one)
    venv = assemble(base, one)
    assert os.popen(f"{venv}/bin/hello").read() == "hello\n"
    assert os.popen(f"{venv}/bin/tool").read() == f"{venv}\n"
    assert (venv / "share/thing/read.me").read_text() == "text"
    assert (library(venv) / "more.py").exists()
    assert ".partial-" not in (venv / "pyvenv.cfg").read_text() + (venv / "bin/activate").read_text()


def test_a_venv_is_links_into_the_store(base: Path, tmp_path: Path) -> None:
    one = wheel(tmp_path, {"thing.py": b"x = 1\n"})
    add(base, one)
    venv = assemble(base, one)
    assert (library(venv) / "thing.py").stat().st_nlink == 2
    assert len(list((library(venv) / "__pycache__").iterdir())) == 1


@pytest.mark.parametrize("what", ["thing.py", "__pycache__/*.pyc"])
def test_damage_in_the_store_is_found_and_healed_where_no_venv_shares_it(base: Path, tmp_path: Path, what: str) -> None:
    one = wheel(tmp_path, {"thing.py": b"x = 1\n"})
    add(base, one)
    venv = assemble(base, one)
    wheelstore._fresh.clear()
    layout = Layout(str(base))
    assert install.verified(layout, [one]) == []
    damaged = next((base / "wheels" / one["sha256"] / "tree").glob(what))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    with pytest.raises(Failure, match="venvs v1 share the damaged file"):
        install.verified(layout, [one])
    disk.remove(str(venv))
    add(base, one)
    wheelstore._fresh.clear()
    (base / "wheels" / one["sha256"] / "tree/thing.py").write_bytes(b"")
    assert install.verified(layout, [one]) == [one["sha256"]]
    assert wheelstore.missing(str(base), [one]) == [one["sha256"]]


@pytest.mark.parametrize("point", ["venv.EnvBuilder.create", "disk.sync_file_system", "wheelstore.compile_stored"])
def test_what_was_killed_half_way_is_made_again(base: Path, tmp_path: Path, point: str, mocker: Any) -> None:
    one = wheel(tmp_path, {"thing.py": b"x = 1\n"})
    add(base, one)
    pid = os.fork()
    if not pid:
        mocker.patch(f"deploy.hostside.venvs.{point}", side_effect=lambda *_: os._exit(9))
        assemble(base, one)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert not venvs.exists(str(base), "v1")
    assemble(base, one)
    assert venvs.exists(str(base), "v1")
    assert os.listdir(base / "venvs") == ["v1"]


def test_prune_keeps_what_is_used(base: Path, tmp_path: Path) -> None:
    one, other = (wheel(tmp_path, {f"{name}.py": b""}, name=name) for name in ("one", "other"))
    add(base, one)
    add(base, other)
    assemble(base, one)
    assert venvs.prune(str(base), {"v1"}) == {"venvs": [], "wheels": [other["sha256"]]}
    assert venvs.prune(str(base), set()) == {"venvs": ["v1"], "wheels": [one["sha256"]]}


def test_an_altered_manifest_is_refused_on_the_host(tmp_path: Path) -> None:
    wheels = [{"filename": "a-1-py3-none-any.whl", "sha256": "0" * 64, "size": 1}]
    canonical = json.dumps(
        {"target": "cp311-x", "wheels": [["a-1-py3-none-any.whl", "0" * 64, 1]]}, sort_keys=True, separators=(",", ":")
    )
    right = hashlib.sha256(canonical.encode()).hexdigest()
    install.check_digest("cp311-x", wheels, right)
    with pytest.raises(Failure, match="was altered"):
        install.check_digest("cp311-x", [{**wheels[0], "sha256": "1" * 64}], right)
