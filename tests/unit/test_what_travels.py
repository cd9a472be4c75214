"""The snapshot: what travels, and what never does."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from deploy.errors import BuildError, ConfigurationError
from deploy.source import outputs
from deploy.source.snapshot import take


def paths(root: Path, exclude: list[str], shared: list[str]) -> list[str]:
    return [item.path for item in take(root, exclude, shared).entries]


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "media/photos").mkdir(parents=True)
    for name in (".env", "app.py", "a.txt", "*.txt", "media/photos/one.jpg", "media/logo.svg"):
        (tmp_path / name).touch()
    return tmp_path


def test_secrets_stay_even_if_a_pattern_calls_them_back(code: Path) -> None:
    assert ".env" not in paths(code, ["!.env"], [])


def test_what_is_shared_stays_by_its_name_and_nothing_else_does(code: Path) -> None:
    assert paths(code, [], ["*.txt", "media/photos"]) == ["a.txt", "app.py", "media", "media/logo.svg"]


@pytest.mark.parametrize("pattern", ["!", "\\", "[z-a]"])
def test_a_pattern_that_is_none_is_named(code: Path, pattern: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        take(code, ["*.log", pattern])
    assert repr(pattern) in str(caught.value)
    assert "deploy.source.exclude" in str(caught.value)


LEAVING = {
    "absolute": "/etc/passwd",
    "above": "..",
    "far": "../../../../etc",
    "sub/up": "../../x",
    "out and in": "../{root}/app.py",
    "absolute within": "{path}/app.py",
    "by another": "sub/self/../../x",
    "by an absolute one": "absolute/x",
}


@pytest.mark.parametrize("name", LEAVING)
def test_a_link_that_leaves_the_tree_is_refused_by_its_name(code: Path, name: str) -> None:
    (code / "sub").mkdir()
    (code / "sub/self").symlink_to(".")
    (code / "absolute").symlink_to("/etc/passwd")
    target = LEAVING[name].format(root=code.name, path=code)
    (code / name).unlink(missing_ok=True)
    (code / name).symlink_to(target)
    with pytest.raises(BuildError) as caught:
        take(code)
    assert f"{name} -> {target}" in str(caught.value)
    assert ".deployignore" in str(caught.value)
    assert name not in paths(code, [name, "absolute"], [])


def test_links_within_the_tree_and_to_what_is_shared_travel(code: Path) -> None:
    links = {
        "sub/up": "../app.py",
        "dir": "media/photos/../..",
        "nowhere": "missing/x",
        "sub/deep/down": "../../media/logo.svg",
        "loop": "loop",
        "round": "sub/deep/round",
        "sub/deep/round": "../../round",
        "logo": "uploads/logo.png",
        "dots": "./sub//deep/.",
    }
    (code / "sub/deep").mkdir(parents=True)
    for name, target in links.items():
        (code / name).symlink_to(target)
    (code / "uploads").symlink_to("/srv/of/this/laptop")
    kept = {item.path: item.value for item in take(code, [], ["uploads"]).entries if item.kind == "l"}
    assert kept == links


def test_what_is_no_file_is_refused_all_of_it_by_name(code: Path) -> None:
    os.mkfifo(code / "media/pipe")
    os.mkfifo(code / "new\nline")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(code)  # the path of a socket is short
        listener.bind("app.sock")
        os.chdir(here)
    with pytest.raises(BuildError) as caught:
        take(code)
    said = str(caught.value)
    assert "app.sock is a socket" in said
    assert "media/pipe is a named pipe" in said
    assert r"'new\nline' is a named pipe" in said
    assert paths(code, ["app.sock", "pipe", "new*"], ["media/photos"]) == [
        "*.txt",
        "a.txt",
        "app.py",
        "media",
        "media/logo.svg",
    ]


def test_what_was_built_travels_whatever_excludes_it_but_secrets_do_not(code: Path) -> None:
    (code / "static/js").mkdir(parents=True)
    for name in ("static/js/app.js", "static/.env", "static/other.txt", "odd[1].css", ".hidden.css"):
        (code / name).touch()
    (code / "static/js/link").symlink_to("../other.txt")
    (code / "media/built.txt").touch()
    built = outputs.below(code, code, ["static/js", "static/.env", "*.css", "odd[1].css", "media/*", "nosuch/**"])
    travels = [item.path for item in take(code, ["*"], ["media/photos"], built).entries]
    assert travels == [
        ".hidden.css", "media", "media/built.txt", "media/logo.svg", "odd[1].css",
        "static", "static/js", "static/js/app.js", "static/js/link",
    ]  # fmt: skip


def test_what_was_built_outside_the_source_or_behind_a_link_stays(code: Path) -> None:
    (code / "src").mkdir()
    (code / "elsewhere").mkdir()
    for name in ("src/app.js", "beside.js", "elsewhere/far.js"):
        (code / name).touch()
    (code / "src/way").symlink_to(code / "elsewhere")
    assert outputs.below(code / "src", code, ["**/*.js"]) == ["app.js"]
