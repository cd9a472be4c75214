"""`fab targets` against a real SSH server, and what its files are good for: bundles without hosts, changed hosts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.bundle import Target
from tests.local.conftest import LocalProject


@pytest.fixture
def file(project: LocalProject) -> Path:
    """The target file of the only host."""
    said = project.fab("targets")
    (path,) = project.directory.glob("targets/*.json")
    assert f"wrote targets/{path.name}; commit it" in said
    assert f"fab local create-bundle --target {path.stem}" in said
    return path


def change(path: Path, **keys: Any) -> None:
    document = json.loads(path.read_text())
    document["markers"].update(keys.pop("markers", {}))
    path.write_text(json.dumps({**document, **keys}))


def use(project: LocalProject, path: Path) -> None:
    """Let the configuration name the file."""
    project.configure(extra=f"  target: {{files: [targets/{path.name}]}}\n")


def test_targets_shows_the_host_and_writes_the_same_file_each_time(project: LocalProject, file: Path) -> None:
    former = file.read_bytes()
    said = project.fab("targets")
    header = next(line for line in said.splitlines() if line.startswith("target"))
    assert header.split() == ["target", "hosts", "python", "libc", "machine"]
    assert f"targets/{file.name} is up to date" in said
    assert file.read_bytes() == former
    assert "127.0.0.1" not in former.decode()


def test_targets_writes_nothing_in_a_dry_run(project: LocalProject) -> None:
    assert "would write targets/" in project.fab("--dry", "targets")
    assert not (project.directory / "targets").exists()


def test_a_file_that_no_host_is_like_is_told_of(project: LocalProject, file: Path) -> None:
    file.rename(file.with_name("former.json"))
    assert "targets/former.json: no host of local is like that" in project.fab("targets")


@pytest.mark.parametrize("how", ["named on the command line", "named in the configuration"])
def test_a_bundle_is_made_from_the_file_with_no_host_in_reach(project: LocalProject, file: Path, how: str) -> None:
    words = ["create-bundle"]
    if how == "named in the configuration":
        use(project, file)
    else:
        words += ["--target", file.stem]
    project.host.stop()
    said = project.fab("--dry", *words)
    assert f"for {file.stem}" in said
    assert f"{file.stem}: bundle " in project.fab(*words)
    project.host.start()
    assert "is there already" in project.fab("deploy")
    assert project.version == "one"


def test_a_target_that_is_not_there_is_refused_with_those_that_are(project: LocalProject, file: Path) -> None:
    said = project.fab("create-bundle", "--target", "nonsense", expect=2)
    assert "error: --target: there is no targets/nonsense.json" in said
    assert f"there are: {file.stem}" in said
    assert "it names no target" in project.fab("create-bundle", "--target", "", expect=2)
    use(project, Path("gone.json"))
    said = project.fab("create-bundle", expect=2)
    assert "targets/gone.json: the target file cannot be read" in said


def test_a_file_of_a_newer_schema_is_refused(project: LocalProject, file: Path) -> None:
    change(file, schema=2)
    use(project, file)
    said = project.fab("deploy", expect=2)
    assert f"{file}: the target file has schema 2; this version knows 1" in said
    assert "upgrade fabric-wheelhouse" in said


def older_python(path: Path) -> str:
    change(path, python="3.10", abis=["cp310"], markers={"python_version": "3.10", "python_full_version": "3.10.1"})
    return "Python 3.10.1 expected"


def newer_libc(path: Path) -> str:
    change(path, libc="glibc", version="2.99")
    return "libc glibc 2.99 expected"


def other_machine(path: Path) -> str:
    change(path, machine="riscv64", markers={"platform_machine": "riscv64"})
    return "machine riscv64 expected"


@pytest.mark.parametrize("another", [older_python, newer_libc, other_machine])
def test_a_host_that_may_not_take_the_wheels_stops_the_deploy(
    project: LocalProject, file: Path, another: Callable[[Path], str]
) -> None:
    expected = another(file)
    use(project, file)
    for task in ("deploy", "check"):
        said = project.fab(task, expect=5)
        assert f"is not what targets/{file.name} says: " in said
        assert expected in said
        assert "found" in said
        assert "fab local targets writes it anew" in said
    assert not list(project.base.glob("releases/*"))


def test_a_host_that_differs_without_harm_is_warned_of_and_deployed_to(project: LocalProject, file: Path) -> None:
    found = json.loads(file.read_text())["markers"]["python_full_version"]
    change(file, markers={"python_full_version": f"{found}1", "implementation_version": f"{found}1"})
    words = f"is not what targets/{file.name} says: Python {found}1 expected, {found} found; fab local targets writes"
    # With the hosts asked: the file is only for others. With the file named: it decides.
    assert words in project.fab("check")
    use(project, file)
    for task in ("check", "deploy"):
        said = project.fab(task)
        assert f"warning: {words}" in said
    assert project.version == "one"


def test_a_marker_that_would_leave_something_out_stops_the_deploy(project: LocalProject, file: Path) -> None:
    found = json.loads(file.read_text())["markers"]["python_full_version"]
    change(file, markers={"python_full_version": f"{found}1"})
    use(project, file)
    lock = project.directory / "requirements.txt"
    lock.write_text(
        lock.read_text() + f"\nonlyhere==1 ; python_full_version == '{found}' --hash=sha256:{'0' * 64}\n",
    )
    said = project.fab("deploy", expect=5)
    assert f"the bundle for targets/{file.name} would lack onlyhere 1" in said


def test_check_tells_what_the_host_has(project: LocalProject) -> None:
    said = project.fab("check")
    assert "Python 3." in said
    assert "sudo: " in said


def test_a_target_that_is_named_without_a_file_is_compared_too(project: LocalProject) -> None:
    here = Target.local()
    # An older floor than the host's, where the libc has one.
    lower = [tag for tag in here.platforms() if re.match(r"(manylinux|musllinux|macosx)_\d+_\d+_", tag)][:3][-1]
    project.configure(extra=f"  target: {{python: '{here.full_python}', platform: {lower}}}\n")
    assert "warning" not in project.fab("check")
    project.configure(extra=f"  target: {{python: '3.9', platform: {lower}}}\n")
    said = project.fab("deploy", expect=5)
    assert "is not what deploy.target says: Python 3.9.0 expected" in said
    assert "correct it, or let the hosts be asked (target: auto)" in said
