"""`fab lock-requirements` with the real pip-compile and the real uv, and an index on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.bundle.locks import exported
from tests.local.packages import Index, Project

needs_uv = pytest.mark.skipif(not exported.find("uv"), reason="uv is not installed")
FOREIGN = "{python: '3.13', platform: manylinux_2_41_aarch64}"


@pytest.fixture
def index() -> Iterator[Index]:
    served = Index()
    yield served
    served.close()


@pytest.fixture
def project(tmp_path: Path, index: Index) -> Project:
    made = Project(tmp_path, index)
    made.configure(index={"url": index.url})
    index.wheel("one", "1.0")
    index.wheel("two", "1.0")
    (made.directory / "requirements.in").write_text("one\ntwo; python_version < '3.13'\n")
    return made


def test_pip_compile_writes_a_lock_file_that_makes_a_bundle(project: Project) -> None:
    said = project.fab("lock-requirements")
    assert "requirements.txt: written, for cp3" in said
    assert "by: pip-compile " in said
    assert "--hash=sha256:" in project.lock_text
    assert "127.0.0.1" not in project.lock_text
    assert "requirements.txt: unchanged" in project.fab("lock-requirements")
    assert "created: " in project.create()


PYPROJECT = """\
[project]
name = "shop"
version = "1.0"
requires-python = ">=3.9"
dependencies = ["one"]
[project.optional-dependencies]
fancy = ["two"]
"""


@pytest.mark.parametrize(
    ("target", "tool"), [("local", "pip-compile"), pytest.param(FOREIGN, "uv pip compile", marks=needs_uv)]
)
def test_a_pyproject_is_locked_without_the_project_itself_and_with_its_extras(
    project: Project, index: Index, target: str, tool: str
) -> None:
    (project.directory / "requirements.in").unlink()
    (project.directory / "pyproject.toml").write_text(PYPROJECT)
    project.target(target, index={"url": index.url})
    assert f"by: {tool} " in project.fab("lock-requirements")
    assert "one==1.0" in project.lock_text
    assert "two" not in project.lock_text
    assert "shop==" not in project.lock_text
    project.target(target, "extras: [fancy],", index={"url": index.url})
    project.fab("lock-requirements")
    assert "two==1.0" in project.lock_text


def test_what_is_locked_stays_until_an_upgrade_is_asked_for(project: Project, index: Index) -> None:
    (project.directory / "requirements.in").write_text("one\ntwo\n")
    project.fab("lock-requirements")
    index.wheel("one", "2.0")
    index.wheel("two", "2.0")
    assert "unchanged" in project.fab("lock-requirements")
    project.fab("lock-requirements", "--upgrade-package", "two")
    assert "one==1.0" in project.lock_text
    assert "two==2.0" in project.lock_text
    project.fab("lock-requirements", "--upgrade")
    assert "one==2.0" in project.lock_text


@pytest.mark.parametrize("target", ["local", pytest.param(FOREIGN, marks=needs_uv)])
def test_a_lock_file_is_as_it_was_when_the_requirements_cannot_be_resolved(project: Project, target: str) -> None:
    project.fab("lock-requirements")
    before = project.lock_text
    project.target(target, index={"url": project.index.url})
    (project.directory / "requirements.in").write_text("one\nnosuchthing\n")
    said = project.fab("lock-requirements", expect=3)
    assert "requirements.in cannot be resolved; the lock file is as it was" in said
    assert "nosuchthing" in said.partition("  | ")[2]
    assert project.lock_text == before
    assert sorted(path.suffix for path in project.directory.iterdir()) == [".in", ".py", ".txt", ".yaml"]


@needs_uv
@pytest.mark.parametrize("name", ["requirements.txt", "pylock.toml"])
def test_uv_writes_a_lock_file_for_a_target_that_is_not_here(project: Project, name: str) -> None:
    project.target(FOREIGN, index={"url": project.index.url}, requirements=name)
    said = project.fab("lock-requirements")
    assert f"{name}: written, for cp313-manylinux_2_41_aarch64; by: uv pip compile" in said
    written = (project.directory / name).read_text()
    assert "one" in written
    assert "two" not in written
    assert "created: 1 wheel " in project.create()


def test_places_of_the_source_are_kept_in_the_lock_file_and_those_of_the_configuration_are_not(
    project: Project, index: Index
) -> None:
    project.configure()
    (project.directory / "requirements.in").write_text(
        f"--index-url http://ana:${{INDEX_PASSWORD}}@127.0.0.1:{index.port}/simple\none\n"
    )
    index.login = "ana:s3cret-word"
    said = project.fab("lock-requirements", INDEX_PASSWORD="s3cret-word")
    assert "${INDEX_PASSWORD}" in project.lock_text
    assert "s3cret-word" not in project.lock_text + said
    assert "created: 1 wheel " in project.create(INDEX_PASSWORD="s3cret-word")


def test_with_nothing_to_lock_it_is_said_what_is_looked_for(project: Project) -> None:
    (project.directory / "requirements.in").unlink()
    assert "no requirements.in and no pyproject.toml beside it" in project.fab("lock-requirements", expect=2)


def test_another_tools_lock_file_is_its_own(project: Project) -> None:
    project.configure(requirements="uv.lock")
    assert "it is uv's own lock file\n  uv lock writes it" in project.fab("lock-requirements", expect=2)


def test_a_dry_run_says_what_would_be_written(project: Project) -> None:
    assert "would write requirements.txt with pip-compile, for cp3" in project.fab("--dry", "lock-requirements")
    assert not (project.directory / "requirements.txt").exists()
