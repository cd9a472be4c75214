"""Wheels that lie, leave their place or are damaged are refused; what was killed half-way is made again."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from deploy.hostside import arrivals, disk, entrypoints, install, newvenv, venvs, wheelstore
from deploy.hostside.failure import Failure
from deploy.hostside.layout import Layout
from deploy.hostside.wheelfile import record_digest

CHECK: dict[str, Any] = {"imports_of": "all", "ignore": [], "env": {}}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    root = tmp_path / "srv"
    for name in ("wheels", "venvs", ".deploy"):
        (root / name).mkdir(parents=True)
    return root


def wheel(
    directory: Path,
    files: dict[str, bytes],
    name: str = "thing",
    lie: str = "",
    omit: str = "",
    algorithm: str = "sha256",
    record: str = "",
) -> dict[str, Any]:
    """A wheel made by hand; *lie* names a file whose hash is wrong, *omit* one that RECORD does not list, *record* is
    added to RECORD."""
    info = f"{name}-1.0.dist-info"
    files = {
        **files,
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
    }
    rows = [
        f"{path},{record_digest(b'another' if path == lie else content, algorithm)},{len(content)}\n"
        for path, content in files.items()
        if path != omit
    ]
    path = directory / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in files.items():
            archive.writestr(member, content)
        archive.writestr(f"{info}/RECORD", "".join(rows) + f"{info}/RECORD,,\n{record}")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"filename": path.name, "sha256": sha256, "size": path.stat().st_size, "path": str(path)}


def add(base: Path, one: dict[str, Any]) -> None:
    with Path(one["path"]).open("rb") as stream:
        arrivals.add_wheels(Layout(str(base)), [one], stream)


def assemble(base: Path, *wheels: dict[str, Any]) -> Path:
    partial = newvenv.make(str(base), "v1", install.opened(Layout(str(base)), list(wheels)))
    newvenv.place(str(base), "v1", partial)
    return base / "venvs/v1"


def verified(base: Path, one: dict[str, Any]) -> list[str]:
    """Read a wheel of the store; it is thrown out where it is damaged."""
    layout = Layout(str(base))
    with wheelstore.Verification(install.opened(layout, [one])) as verification:
        return install.thrown_out(layout, verification.damaged())


def tree(base: Path, one: dict[str, Any]) -> Path:
    return base / "wheels" / one["sha256"] / "tree"


def library(venv: Path) -> Path:
    return next(venv.glob("lib/python*/site-packages"))


def test_a_wheel_that_is_not_the_one_of_the_manifest_is_refused(base: Path, tmp_path: Path) -> None:
    one = wheel(tmp_path, {"thing.py": b"x = 1\n"})
    content = Path(one["path"]).read_bytes()
    Path(one["path"]).write_bytes(content[:-1] + b"!")
    with pytest.raises(Failure, match="damaged on the way"):
        add(base, one)
    assert os.listdir(base / "wheels") == []


def test_a_record_that_lies_and_one_that_omits_are_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(Failure, match="not what RECORD says"):
        add(base, wheel(tmp_path, {"thing.py": b"x = 1\n"}, lie="thing.py"))
    with pytest.raises(Failure, match="without a hash for thing"):
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
    content = Path(one["path"]).read_bytes()
    one.update(sha256=hashlib.sha256(content).hexdigest(), size=len(content))
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


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("what", ["thing.py", "__pycache__/*.pyc", "thing-1.0.dist-info/METADATA"])
def test_damage_in_the_store_is_found_and_healed_where_no_venv_shares_it(
    base: Path, tmp_path: Path, what: str, algorithm: str
) -> None:
    one = wheel(tmp_path, {"thing.py": b"x = 1\n"}, algorithm=algorithm)
    add(base, one)
    venv = assemble(base, one)
    wheelstore._fresh.clear()
    assert verified(base, one) == []
    damaged = next(tree(base, one).glob(what))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    with pytest.raises(Failure, match="venvs v1 share the damaged file"):
        verified(base, one)
    disk.remove(str(venv))
    add(base, one)
    wheelstore._fresh.clear()
    (tree(base, one) / "thing.py").write_bytes(b"")
    assert verified(base, one) == [one["sha256"]]
    assert wheelstore.missing(str(base), [one]) == [one["sha256"]]


@pytest.mark.parametrize("harm", ["lost", "other content"])
def test_no_venv_is_made_of_a_damaged_wheel(base: Path, tmp_path: Path, harm: str) -> None:
    one = wheel(tmp_path, {"thing.py": b"x = 1\n"})
    add(base, one)
    wheelstore._fresh.clear()
    path = tree(base, one) / "thing.py"
    path.unlink() if harm == "lost" else path.write_bytes(b"x = 2\n")
    listed = [[one["filename"], one["sha256"], one["size"]]]
    canonical = json.dumps({"target": "any", "wheels": listed}, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    layout = Layout(str(base))

    def update() -> dict[str, Any]:
        return install.install(layout, "any", digest, [one], "", {}, CHECK, lambda text: None)

    assert update() == {"missing": [one["sha256"]]}
    assert os.listdir(base / "venvs") == os.listdir(base / "wheels") == []
    add(base, one)
    assert update()["missing"] == []
    assert len(os.listdir(base / "venvs")) == 1


def test_after_a_power_cut_no_document_is_taken_for_a_smaller_wheel(base: Path, tmp_path: Path) -> None:
    """Every file of a stored wheel in turn is emptied, cut, and lost: it is never used as it is."""
    one = wheel(tmp_path, {"thing.py": b"x = 1\n", "pkg/__init__.py": b"", "pkg/data.txt": b"text"})
    add(base, one)
    place = base / "wheels" / one["sha256"]
    names = [path.relative_to(place) for path in place.rglob("*") if path.is_file() and path.stat().st_size]
    assert len(names) >= 7
    for name in names:
        for harm in ("empty", "cut", "zeros", "lost"):
            disk.remove(str(place))
            add(base, one)
            wheelstore._fresh.clear()
            size = (place / name).stat().st_size
            if harm == "lost":
                (place / name).unlink()
            else:
                content = {"empty": b"", "cut": (place / name).read_bytes()[: size // 2], "zeros": b"\0" * size}[harm]
                (place / name).write_bytes(content)
            if wheelstore.missing(str(base), [one]):
                continue
            found = verified(base, one)
            # Lost notes about bytecode are made again; all else is found.
            lost_notes = not found and install.opened(Layout(str(base)), [one])[0].bytecode is None
            assert found == [one["sha256"]] or lost_notes, (name, harm)
            if lost_notes:
                wheelstore.compile_lacking(str(base), install.opened(Layout(str(base)), [one]))
                assert install.opened(Layout(str(base)), [one])[0].bytecode


@pytest.mark.parametrize("point", ["venv.EnvBuilder.create", "disk.sync_file_system", "disk.replace_directory"])
def test_what_was_killed_half_way_is_made_again(base: Path, tmp_path: Path, point: str, mocker: Any) -> None:
    one = wheel(tmp_path, {"thing.py": b"x = 1\n"})
    add(base, one)
    pid = os.fork()
    if not pid:
        mocker.patch(f"deploy.hostside.newvenv.{point}", side_effect=lambda *_: os._exit(9))
        assemble(base, one)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert not venvs.exists(str(base), "v1")
    assemble(base, one)
    assert venvs.exists(str(base), "v1")
    assert os.listdir(base / "venvs") == ["v1"]


def test_a_venv_without_its_marker_stays_until_the_new_one_is_there(base: Path, tmp_path: Path) -> None:
    one, other = wheel(tmp_path, {"thing.py": b"x = 1\n"}), wheel(tmp_path, {"thing.py": b"x = 2\n"}, name="other")
    add(base, one)
    add(base, other)
    venv = assemble(base, one)
    (venv / ".venv.json").unlink()
    with pytest.raises(Failure):
        assemble(base, one, other)
    assert (library(venv) / "thing.py").exists()
    assemble(base, one)
    assert (venv / ".venv.json").exists()
    disk.sweep(str(base / "venvs"))
    assert os.listdir(base / "venvs") == ["v1"]


@pytest.mark.parametrize(
    "path",
    ["bin/python", "bin/python3", "pyvenv.cfg", "bin/activate", "bin/Activate.ps1", ".venv.json", "lib", "bin"],
)
def test_no_wheel_replaces_what_makes_the_venv(base: Path, tmp_path: Path, path: str) -> None:
    one = wheel(tmp_path, {f"thing-1.0.data/data/{path}": b"evil"})
    add(base, one)
    with pytest.raises(Failure, match=rf"thing-1.0.*{path}"):
        assemble(base, one)
    assert not venvs.exists(str(base), "v1")


def test_no_command_replaces_the_interpreter(base: Path, tmp_path: Path) -> None:
    points = b"[console_scripts]\npython = thing:main\n"
    one = wheel(tmp_path, {"thing.py": b"", "thing-1.0.dist-info/entry_points.txt": points})
    add(base, one)
    with pytest.raises(Failure, match=r"the venv itself and thing-1.0.*both bring bin/python"):
        assemble(base, one)


def test_the_same_file_by_two_wheels_is_no_conflict(base: Path, tmp_path: Path) -> None:
    """A namespace's `__init__.py`, as older packages ship it."""
    space = b"__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n"
    one = wheel(tmp_path, {"space/__init__.py": space, "space/one.py": b""})
    other = wheel(tmp_path, {"space/__init__.py": space, "space/other.py": b""}, name="other")
    add(base, one)
    add(base, other)
    venv = assemble(base, one, other)
    script = "import space.one, space.other, space; print(space.__cached__)"
    cached = subprocess.check_output([venv / "bin/python", "-c", script], text=True).strip()
    assert Path(cached).exists()
    for name in ("thing", "other"):
        assert "space/__init__.py" in (library(venv) / f"{name}-1.0.dist-info/RECORD").read_text()


def test_two_ways_to_one_place_are_seen(base: Path, tmp_path: Path) -> None:
    """`lib64` is a link to `lib` on many systems; the root and purelib are one directory."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    one = wheel(tmp_path, {"thing.py": b"x = 1\n", "thing-1.0.data/purelib/thing.py": b"x = 2\n"})
    add(base, one)
    with pytest.raises(Failure, match=r"both bring .*thing.py"):
        assemble(base, one)
    path = f"other-1.0.data/data/lib64/{version}/site-packages/same.py"
    one = wheel(tmp_path, {"same.py": b"x = 1\n"})
    other = wheel(tmp_path, {path: b"x = 2\n"}, name="other")
    add(base, one)
    add(base, other)
    if sys.maxsize > 1 << 32 and sys.platform == "linux":
        with pytest.raises(Failure, match=r"both bring .*same.py"):
            assemble(base, one, other)


def test_a_file_of_one_wheel_and_a_directory_of_another_are_refused(base: Path, tmp_path: Path) -> None:
    one = wheel(tmp_path, {"same": b"text"})
    other = wheel(tmp_path, {"same/module.py": b""}, name="other")
    add(base, one)
    add(base, other)
    for pair in ((one, other), (other, one)):
        with pytest.raises(Failure, match=r"same"):
            assemble(base, *pair)


REFUSED = {
    "a file that is a directory too": ({"a": b"", "a/b": b""}, {}, "as a file and as a directory"),
    "an empty part of a path": ({"a//b": b""}, {}, "leaves the venv"),
    "a RECORD that is no CSV": ({"a.py": b""}, {"record": 'x,"y\n'}, "not what the specification says"),
    "a RECORD with rows of one field": ({"a.py": b""}, {"record": "x\n"}, "not what the specification says"),
    "a file that RECORD lists and that is not there": ({"a.py": b""}, {"record": "b.py,,\n"}, "lacks b.py"),
    "weak hashes": ({"a.py": b""}, {"algorithm": "md5"}, "without a hash for a.py"),
    "two .data directories": (
        {"thing-1.0.data/data/a": b"", "Thing-1.0.data/data/b": b""},
        {},
        "one .data directory",
    ),
    "another project's .data": ({"other-1.0.data/data/a": b""}, {}, "one .data directory"),
    "an unknown scheme": ({"thing-1.0.data/etc/a": b""}, {}, "unknown scheme"),
    "a file in place of a scheme": ({"thing-1.0.data/data": b""}, {}, "unknown scheme"),
    "a second .dist-info": ({"other-1.0.dist-info/METADATA": b""}, {}, "2 .dist-info directories"),
    "a command with a path": (
        {"thing-1.0.dist-info/entry_points.txt": b"[console_scripts]\n../x = a:b\n"},
        {},
        "an entry point that is none",
    ),
    "a command that is the directory above": (
        {"thing-1.0.dist-info/entry_points.txt": b"[console_scripts]\n.. = a:b\n"},
        {},
        "an entry point that is none",
    ),
    "a command that calls nothing": (
        {"thing-1.0.dist-info/entry_points.txt": b"[console_scripts]\nx = a\n"},
        {},
        "an entry point that is none",
    ),
    "entry points that are no INI file": (
        {"thing-1.0.dist-info/entry_points.txt": b"x = a:b\n"},
        {},
        "an entry point that is none",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_wheel_that_the_specification_does_not_allow_is_refused(base: Path, tmp_path: Path, what: str) -> None:
    files, options, words = REFUSED[what]
    with pytest.raises(Failure, match=words) as refused:
        add(base, wheel(tmp_path, files, **options))
    assert refused.value.kind == "corrupt"
    assert "thing-1.0-py3-none-any.whl" in refused.value.what
    assert os.listdir(base / "wheels") == []


def test_a_wheel_with_another_projects_dist_info_is_refused(base: Path, tmp_path: Path) -> None:
    one = wheel(tmp_path, {"thing.py": b""})
    with pytest.raises(Failure, match="another project's"):
        add(base, {**one, "filename": "other-1.0-py3-none-any.whl"})


def test_bytecode_in_a_wheel_gives_way_to_ours(base: Path, tmp_path: Path) -> None:
    tag = sys.implementation.cache_tag
    one = wheel(tmp_path, {"thing.py": b"x = 1\n", f"__pycache__/thing.{tag}.pyc": b"old", "bare.pyc": b"kept"})
    add(base, one)
    venv = assemble(base, one)
    assert subprocess.check_output([venv / "bin/python", "-c", "import thing; print(thing.x)"]) == b"1\n"
    assert (library(venv) / "bare.pyc").read_bytes() == b"kept"
    wheelstore._fresh.clear()
    assert verified(base, one) == []


def test_a_script_of_the_name_of_a_command_gives_way_as_with_pip(base: Path, tmp_path: Path) -> None:
    files = {
        "thing.py": b"def main():\n    print('entry point')\n",
        "thing-1.0.data/scripts/hello": b"#!python\nprint('script')\n",
        "thing-1.0.dist-info/entry_points.txt": b"[console_scripts]\nhello = thing:main\n",
    }
    one = wheel(tmp_path, files)
    add(base, one)
    venv = assemble(base, one)
    assert subprocess.check_output([venv / "bin/hello"]) == b"entry point\n"
    assert (library(venv) / "thing-1.0.dist-info/RECORD").read_text().count("bin/hello") == 1


def test_line_ends_of_the_scripts_that_activate_stay(base: Path, tmp_path: Path) -> None:
    venv = assemble(base)
    plain = subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "plain"], check=True)
    assert plain.returncode == 0
    for name in ("Activate.ps1", "activate", "activate.csh"):
        ours, theirs = ((place / "bin" / name).read_bytes().count(b"\r\n") for place in (venv, tmp_path / "plain"))
        assert ours == theirs


def test_bytecode_does_not_depend_on_where_it_is_made(tmp_path: Path) -> None:
    one = wheel(tmp_path, {"pkg/thing.py": b"def f():\n    raise ValueError\n"})
    stores = [tmp_path / name for name in ("a", "b")]
    for store in stores:
        (store / "wheels").mkdir(parents=True)
        add(store, one)
    first, second = (next(tree(store, one).glob("pkg/__pycache__/*.pyc")).read_bytes() for store in stores)
    assert first == second
    assert str(tmp_path).encode() not in first


def test_a_traceback_names_the_file_in_the_venv(base: Path, tmp_path: Path) -> None:
    one = wheel(tmp_path, {"thing.py": b"def f():\n    raise ValueError\n"})
    add(base, one)
    venv = assemble(base, one)
    command = [venv / "bin/python", "-c", "import thing; thing.f()"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    assert f'File "{library(venv)}/thing.py", line 2' in said
    assert "raise ValueError" in said


ORPHANS = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from deploy.hostside import workers
def toil(path):
    while True:
        workers.stop_if_orphaned()
        with open(path, "a") as stream:
            stream.write("x")
        time.sleep(0.01)
with workers.Workers({"toil": toil}) as pool:
    for number in range(2):
        pool.submit(["toil", sys.argv[2] + str(number)])
    pool.finished(wait=True)
"""


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    parent = subprocess.Popen([sys.executable, "-c", ORPHANS, str(root), str(tmp_path / "toil")])
    deadline = time.monotonic() + 20
    while not list(tmp_path.glob("toil*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    time.sleep(0.5)
    sizes = {path: path.stat().st_size for path in tmp_path.glob("toil*")}
    assert sizes
    time.sleep(0.3)
    assert sizes == {path: path.stat().st_size for path in tmp_path.glob("toil*")}


def test_a_failure_in_a_worker_is_told_and_nothing_partial_stays(base: Path, tmp_path: Path) -> None:
    good = wheel(tmp_path, {"good.py": b""}, name="good")
    bad = wheel(tmp_path, {"bad.py": b""}, name="bad", lie="bad.py")
    stream = io.BytesIO(Path(good["path"]).read_bytes() + Path(bad["path"]).read_bytes())
    with pytest.raises(Failure, match=r"bad-1.0.*bad.py is not what RECORD says"):
        arrivals.add_wheels(Layout(str(base)), [good, bad], stream)
    assert [name for name in os.listdir(base / "wheels") if name.startswith(".")] == []


def test_commands_keep_their_case_and_their_extras_are_passed_over() -> None:
    text = "[console_scripts]\nRun = a.b:c.d [extra]\n[gui_scripts]\nwin = e:f\n[other]\nx = not looked at\n"
    assert entrypoints.parse(text) == [("Run", "a.b", "c.d"), ("win", "e", "f")]


def test_what_no_release_and_no_venv_uses_is_found_and_a_venv_set_aside_holds_nothing(
    base: Path, tmp_path: Path
) -> None:
    one, other = (wheel(tmp_path, {f"{name}.py": b""}, name=name) for name in ("one", "other"))
    add(base, one)
    add(base, other)
    assemble(base, one)
    assert venvs.unused(str(base), {"v1"}) == []
    assert venvs.unused(str(base), set()) == ["v1"]
    assert venvs.unused_wheels(str(base)) == [other["sha256"]]
    disk.set_aside(str(base / "venvs"), "v1")
    assert venvs.unused(str(base), set()) == []
    assert set(venvs.unused_wheels(str(base))) == {one["sha256"], other["sha256"]}


def test_an_altered_manifest_is_refused_on_the_host(tmp_path: Path) -> None:
    wheels = [{"filename": "a-1-py3-none-any.whl", "sha256": "0" * 64, "size": 1}]
    canonical = json.dumps(
        {"target": "cp311-x", "wheels": [["a-1-py3-none-any.whl", "0" * 64, 1]]}, sort_keys=True, separators=(",", ":")
    )
    right = hashlib.sha256(canonical.encode()).hexdigest()
    install.check_digest("cp311-x", wheels, right)
    with pytest.raises(Failure, match="was altered"):
        install.check_digest("cp311-x", [{**wheels[0], "sha256": "1" * 64}], right)
