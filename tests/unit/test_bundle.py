"""Lock files, targets and manifests: what is read, what is refused and by which name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.tags import sys_tags

from deploy.bundle import Manifest, Origin, Places, Target, Terms, Wheel
from deploy.bundle.locks import requirements
from deploy.bundle.locks.requirements import Requirements
from deploy.bundle.sources import resolve
from deploy.errors import BuildError, ConfigurationError

HASH = "--hash=sha256:" + "a" * 64
OTHER = "--hash=sha256:" + "b" * 64
BOOKWORM = Target.parse({"python": "3.11", "platform": "manylinux_2_36_x86_64"})


def lock(directory: Path, text: str) -> Requirements:
    path = directory / "requirements.txt"
    path.write_text(text)
    return requirements.read(path, Terms())


def test_the_tags_of_this_machine_are_the_ones_that_pip_would_take() -> None:
    assert [str(tag) for tag in Target.local().tags()] == [str(tag) for tag in sys_tags()]


def test_a_target_knows_what_fits_and_what_fits_best() -> None:
    names = [
        "x-1-py3-none-any.whl",
        "x-1-cp38-abi3-manylinux_2_28_x86_64.whl",
        "x-1-cp311-cp311-manylinux2014_x86_64.whl",
    ]
    assert all(BOOKWORM.fits(name) for name in names)
    assert min(names, key=BOOKWORM.rank) == names[2]
    for name in ("x-1-cp312-cp312-manylinux2014_x86_64.whl", "x-1-cp311-cp311-manylinux_2_39_x86_64.whl"):
        assert not BOOKWORM.fits(name)
    assert not BOOKWORM.fits("x-1-cp311-cp311-musllinux_1_2_x86_64.whl")


def test_a_platform_that_is_no_tag_is_refused_with_examples() -> None:
    with pytest.raises(ConfigurationError, match="no platform tag"):
        Target.parse({"python": "3.11", "platform": "debian12"})


def test_continued_lines_comments_includes_and_markers_are_read(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text(f"idna==3.1 {HASH}\n")
    read = lock(
        tmp_path,
        f"# a comment\n-r more.txt\n--extra-index-url https://example.org/simple\n"
        f"Click[extra]==8.1 ; python_version < '3.10' \\\n    {HASH}\n"
        f"click==8.2 ; python_version >= '3.10' \\\n    {HASH} \\\n    {OTHER}\n    # via -r requirements.in\n",
    )
    assert read.options == ("--extra-index-url", "https://example.org/simple")
    assert [(pin.name, pin.version) for pin in read.select(BOOKWORM)] == [("idna", "3.1"), ("click", "8.2")]
    old = Target.parse({"python": "3.9", "platform": "manylinux_2_31_x86_64"})
    assert [pin.version for pin in read.select(old)] == ["3.1", "8.1"]
    assert len(read.pins[2].hashes) == 2


def test_a_directory_of_wheels_lies_beside_the_lock_file_wherever_fab_runs(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    places = "--find-links wheels\n--find-links=wheels\n--index-url https://example.org/a=b\n"
    read = lock(tmp_path, f"{places}a==1 {HASH}\n")
    found = resolve(Places(), read.options, read.path.parent)
    assert found.find_links == (str(tmp_path / "wheels"),)
    assert found.indexes == ("https://example.org/a=b",)
    assert read.options[1] == "wheels"


@pytest.mark.parametrize(
    "line",
    ["click==8.1", "click>=8 " + HASH, "click==8.* " + HASH, "-e ./gone", "git+https://example.org/x", "./x.whl"],
)
def test_what_has_no_pin_or_no_hash_is_refused_by_name_and_line(tmp_path: Path, line: str) -> None:
    with pytest.raises(BuildError, match=r"requirements.txt:2: .*" + line.split()[0][:4].replace("+", r"\+")):
        lock(tmp_path, f"idna==3.1 {HASH}\n{line}\n")


def test_comments_and_order_do_not_change_a_lock_file_and_hashes_do(tmp_path: Path) -> None:
    one = lock(tmp_path, f"a==1 {HASH}\nb==2 {HASH}\n").sha256
    assert lock(tmp_path, f"# new\nb==2 {HASH}  # why\na==1 {HASH}\n").sha256 == one
    assert lock(tmp_path, f"a==1 {HASH}\nb==2 {OTHER}\n").sha256 != one


def test_a_lock_file_that_is_not_there_names_the_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"deploy\.requirements"):
        requirements.read(tmp_path / "none.txt", Terms())


def test_a_lock_file_in_another_encoding_is_said_and_a_byte_order_mark_is_not_a_word(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text(f"a==1 {HASH}\n", encoding="utf-16")
    with pytest.raises(ConfigurationError, match="it is not UTF-8"):
        requirements.read(path, Terms())
    path.write_text(f"a==1 {HASH}\n", encoding="utf-8-sig")
    assert requirements.read(path, Terms()).pins[0].name == "a"


def test_a_project_that_is_pinned_twice_for_a_target_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="pinned twice"):
        lock(tmp_path, f"a==1 {HASH}\na==2 {HASH}\n").select(BOOKWORM)


WHEEL = Wheel("a-1-py3-none-any.whl", "0" * 64, 10, "a", "1", Origin("index", "0" * 64))


def test_a_manifest_is_read_as_it_was_written() -> None:
    manifest = Manifest(BOOKWORM, "f" * 64, (WHEEL,), "test")
    assert Manifest.from_json(manifest.to_json(), "here") == manifest


def test_an_altered_and_a_newer_manifest_are_refused() -> None:
    manifest = Manifest(BOOKWORM, "f" * 64, (WHEEL,), "test")
    document = json.loads(manifest.to_json())
    with pytest.raises(BuildError, match="was altered"):
        Manifest.from_json(json.dumps({**document, "wheels": [{**document["wheels"][0], "size": 11}]}), "here")
    with pytest.raises(BuildError, match="schema 9"):
        Manifest.from_json(json.dumps({**document, "schema": 9}), "here")
    assert manifest.digest != replace(manifest, wheels=(replace(WHEEL, sha256="1" * 64),)).digest
