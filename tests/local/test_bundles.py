"""`fab create-bundle` with a package index on loopback that is watched: what is fetched, built and refused."""

from __future__ import annotations

import json
import shutil
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.bundle import Target
from tests.local.packages import C, Index, Project

CC = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
HEADER = Path(sysconfig.get_path("include")) / "Python.h"
needs_compiler = pytest.mark.skipif(not (CC and HEADER.exists()), reason="no C compiler, or no headers of Python")


@pytest.fixture
def index() -> Iterator[Index]:
    served = Index()
    yield served
    served.close()


@pytest.fixture
def project(tmp_path: Path, index: Index) -> Project:
    return Project(tmp_path, index)


def test_one_changed_requirement_fetches_that_wheel_and_nothing_else(project: Project, index: Index) -> None:
    first, second, third = index.wheel("one", "1.0"), index.wheel("two", "1.0"), index.wheel("three", "1.0")
    project.lock(first, second, third)
    assert "created: 3 wheels" in project.create()
    index.asked.clear()
    project.lock(first, index.wheel("two", "2.0"), third)
    assert "created: 3 wheels" in project.create()
    assert index.fetched == ["two-2.0-py3-none-any.whl"]
    assert {path for path in index.asked if path.startswith("/simple/")} == {"/simple/two/"}


def test_a_bundle_that_exists_needs_no_index(project: Project, index: Index) -> None:
    project.lock(index.wheel("one", "1.0"))
    project.create()
    index.close()
    assert "is there already: 1 wheel" in project.create()


def test_a_former_lock_file_needs_no_index_either(project: Project, index: Index) -> None:
    former = index.wheel("one", "1.0")
    project.lock(former)
    project.create()
    project.lock(former, index.wheel("two", "1.0"))
    project.create()
    index.close()
    project.lock("# going back\n", former)
    assert "is there already" in project.create()


def test_an_altered_manifest_is_made_again_and_said(project: Project, index: Index) -> None:
    project.lock(index.wheel("one", "1.0"))
    project.create()
    (manifest,) = project.cache.glob("fabric-wheelhouse/bundles/*.json")
    former = manifest.read_text()
    manifest.write_text(former.replace('"size": ', '"size": 1'))
    said = project.create()
    assert f"warning: {manifest}: the manifest was altered" in said
    assert "the bundle is made again" in said
    assert manifest.read_text() == former
    assert "warning" not in project.create()


def test_the_manifest_of_another_lock_file_is_not_taken_for_this_ones(project: Project, index: Index) -> None:
    one, two = index.wheel("one", "1.0"), index.wheel("two", "1.0")
    project.lock(one)
    project.create()
    (manifest,) = project.cache.glob("fabric-wheelhouse/bundles/*.json")
    project.lock(one, two)
    project.create()
    (other,) = set(project.cache.glob("fabric-wheelhouse/bundles/*.json")) - {manifest}
    shutil.copy(manifest, other)
    said = project.create()
    assert f"warning: {other}: the manifest is that of another lock file or target" in said
    assert "created: 2 wheels" in said


def test_a_damaged_wheel_is_fetched_again_and_said(project: Project, index: Index) -> None:
    project.lock(index.wheel("one", "1.0"))
    project.create()
    (wheel,) = project.cache.glob("fabric-wheelhouse/wheels/*/*.whl")
    wheel.write_bytes(b"cut off")
    index.asked.clear()
    assert f"warning: {wheel}: the wheel is damaged" in project.create()
    assert index.fetched == [wheel.name]
    assert "is there already: 1 wheel" in project.create()


def test_an_index_that_is_gone_is_said(project: Project, index: Index) -> None:
    project.lock(index.wheel("one", "1.0"))
    index.close()
    said = project.create(expect=3)
    assert "no index is in reach: one 1.0" in said
    assert "is the index in reach?" in said


def test_a_wheel_that_is_not_the_locked_one_is_refused_by_name(project: Project, index: Index) -> None:
    project.lock(index.wheel("one", "1.0"))
    index.files["one-1.0-py3-none-any.whl"] += b"more"
    said = project.create(expect=3)
    assert "one==1.0" in said
    assert "a file is not the one that was locked" in said


def test_a_requirement_without_a_hash_is_refused_by_name(project: Project, index: Index) -> None:
    project.lock(index.wheel("one", "1.0"), "two==1.0\n")
    assert "requirements.txt:3: two==1.0: no hash" in project.create(expect=3)
    assert not index.asked


@needs_compiler
def test_a_source_distribution_is_built_once(project: Project, index: Index) -> None:
    native = index.sdist()
    project.lock(native)
    assert "created: 1 wheel " in project.create()
    (made,) = project.cache.glob("fabric-wheelhouse/wheels/*/native-1.0-*.whl")
    assert any(name.endswith(".so") for name in zipfile.ZipFile(made).namelist())
    index.asked.clear()
    project.lock(native, index.wheel("one", "1.0"))
    assert "created: 2 wheels" in project.create()
    assert index.fetched == ["one-1.0-py3-none-any.whl"]


@needs_compiler
def test_a_source_distribution_that_is_not_the_locked_one_is_not_built(project: Project, index: Index) -> None:
    project.lock(index.sdist())
    index.sdist(C + "/* altered */\n")
    said = project.create(expect=3)
    assert "native==1.0" in said
    assert "a file is not the one that was locked" in said
    assert not list(project.cache.glob("fabric-wheelhouse/wheels/*/native-*"))


@needs_compiler
def test_a_build_that_fails_shows_what_the_compiler_said(project: Project, index: Index) -> None:
    project.lock(index.sdist(C.replace("PyModule_Create(&module)", "no_such_thing(&module)") + "#error broken here\n"))
    said = project.create(expect=3)
    assert said.count("error: native-1.0.tar.gz could not be built for ") == 1
    assert "broken here" in said
    assert "native.c" in said


@needs_compiler
def test_a_build_that_fails_before_it_compiles_names_the_package(project: Project, index: Index) -> None:
    project.lock(index.sdist(backend="raise SystemExit('this needs the moon')\n"))
    said = project.create(expect=3)
    assert "error: native==1.0: its build failed" in said
    assert "  | this needs the moon\n" in said


def test_what_has_only_a_source_distribution_is_refused_for_a_foreign_target(project: Project, index: Index) -> None:
    project.target("{python: '3.12', platform: manylinux_2_36_armv7l}")
    project.lock(index.sdist(), index.wheel("one", "1.0"))
    said = project.create(expect=3)
    assert "no wheel for cp312-manylinux_2_36_armv7l: native 1.0 (native-1.0/native.c is to be compiled)" in said
    assert "  native: this machine is " in said
    assert "  zig: " in said
    assert "they have to be built from source: run fab create-bundle on a machine like the hosts," in said
    assert "configure another builder (deploy.builders), or lock versions that have wheels" in said


def test_python_alone_is_built_here_for_a_foreign_target(project: Project, index: Index) -> None:
    project.target("{python: '3.12', platform: manylinux_2_36_armv7l}")
    project.lock(index.pure_sdist(), index.wheel("one", "1.0"))
    assert "plain 1.0: built from source by native" in project.create()
    assert "2 wheels" in project.create()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux's compiled files are read")
def test_a_wheel_that_is_not_what_its_name_says_is_refused_unless_accepted(project: Project, index: Index) -> None:
    project.lock(index.lying_wheel(), index.wheel("one", "1.0"))
    said = project.create(expect=3)
    assert "liar 1.0: liar/program: compiled for " in said
    assert "name the project in deploy.accept_wheels" in said
    project.target("local", "accept_wheels: [Liar],")
    said = project.create()
    assert "warning: liar 1.0: liar/program: compiled for " in said
    assert "created: 2 wheels" in said


@needs_compiler
def test_what_built_a_wheel_is_told_and_kept(project: Project, index: Index) -> None:
    project.lock(index.sdist())
    assert "native 1.0: built from source by native" in project.create()
    (kept,) = project.cache.glob("fabric-wheelhouse/bundles/*.json")
    document = json.loads(kept.read_text())["wheels"][0]["origin"]
    assert (document["builder"], document["grafted"]) == ("native", [])
    assert document["tools"]["python"].startswith(Target.local().python)


def test_builders_of_the_configuration_are_checked_by_name(project: Project, index: Index) -> None:
    project.lock(index.wheel("one", "1.0"))
    for wrong, said in {
        "[magic]": "deploy.builders[0].magic: unknown key",
        "[{native: {}, zig: {}}]": "must be one of native, zig, host and container",
        "[{host: '-oProxyCommand=x'}]": "deploy.builders[0].host.address: must look like",
        "[{container: {image: '--privileged'}}]": "deploy.builders[0].container.image: ",
    }.items():
        project.target("local", f"builders: {wrong},")
        assert said in project.create(expect=2)
    project.target("local", "builders: [zig, {native: }, {host: {address: build@example.org}}, container],")
    project.create()
