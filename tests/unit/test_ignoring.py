"""What stays behind: ignore files, git's own word, and who has the last one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from deploy.errors import BuildError, ConfigurationError
from deploy.source.snapshot import Snapshot, take


def write(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def git(root: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "protocol.file.allow=always"]
    return subprocess.run(
        ["git", *identity, *words], cwd=root, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ).stdout


def files(snapshot: Snapshot) -> list[str]:
    """What travels, but for directories and the ignore files themselves."""
    return [
        item.path
        for item in snapshot.entries
        if item.kind != "d" and not item.path.endswith((".deployignore", "gitignore"))
    ]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "app"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    write(root, {"app.py": "", "kept.log": "", ".gitignore": "*.log\n/dist/\n", "sub/.gitignore": "*\n!.gitignore\n"})
    git(root, "add", "-A")
    git(root, "add", "-f", "kept.log")
    git(root, "commit", "-q", "-m", "first")
    return root


def test_a_deployignore_names_what_stays_behind_as_a_gitignore_does(tmp_path: Path) -> None:
    write(tmp_path, {
        ".deployignore": "\ufeff# notes\r\n*.log\r\n!kept.log\n/docs\nnode_modules/\na/**/z\n\\#hash\nspace\\ \n",
        "app.py": "", "x.log": "", "kept.log": "", "docs/index": "", "sub/docs/index": "", "#hash": "", "space ": "",
        "sub/node_modules/x": "", "a/b/c/z": "", "node_modules.txt": "",
    })  # fmt: skip
    assert files(take(tmp_path)) == ["app.py", "kept.log", "node_modules.txt", "sub/docs/index"]


def test_of_several_ignore_files_the_nearest_has_the_last_word(tmp_path: Path) -> None:
    write(tmp_path, {
        ".deployignore": "*.txt\n/sub/here\n", "a.txt": "", "sub/.deployignore": "!b.txt\n/deep/only\n",
        "sub/b.txt": "", "sub/c.txt": "",
        "sub/here": "", "sub/deep/only": "", "sub/deep/.deployignore": "b.txt", "sub/deep/b.txt": "",
        "deep/only": "",
    })  # fmt: skip
    assert files(take(tmp_path)) == ["deep/only", "sub/b.txt"]


def test_the_configuration_has_the_last_word_but_for_what_never_goes(tmp_path: Path) -> None:
    write(tmp_path, {
        ".deployignore": "a\n!b\n!.env\n!*.pyc\n", "a": "", "b": "", ".env": "", "sub/.env": "", "x.pyc": "",
        "sub/.deployignore": "!.env",
    })  # fmt: skip
    assert files(take(tmp_path, ["!a", "b", "!.env"])) == ["a"]


def test_a_directory_that_was_called_back_comes_whole(tmp_path: Path) -> None:
    write(tmp_path, {".gitignore": "dist/\n", ".deployignore": "!/static/dist/\n", "dist/x": "", "static/dist/y/z": ""})
    assert files(take(tmp_path, gitignore=True)) == ["static/dist/y/z"]


def test_a_pattern_that_is_none_is_named_with_file_and_line(tmp_path: Path) -> None:
    write(tmp_path, {"sub/.deployignore": "fine\n[z-a]\n"})
    with pytest.raises(ConfigurationError) as caught:
        take(tmp_path)
    assert "sub/.deployignore:2: '[z-a]'" in str(caught.value)


@pytest.mark.parametrize("outside", [False, True], ids=["repository", "no repository"])
def test_gitignore_counts_when_asked_for_and_only_then(repository: Path, outside: bool) -> None:
    write(repository, {"x.log": "", "dist/y": "", "sub/dist/y": "", "sub/z": "", "new.py": ""})
    if outside:
        shutil.rmtree(repository / ".git")
    assert {"x.log", "dist/y", "sub/z"} < set(files(take(repository)))
    known = ["kept.log"] if not outside else []  # no file can tell what a repository holds nevertheless
    assert files(take(repository, gitignore=True)) == ["app.py", *known, "new.py"]
    assert "dist" not in [item.path for item in take(repository, gitignore=True).entries]


def test_what_git_was_told_elsewhere_counts_too(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"home/ignored": "*.swp\n", "home/.gitconfig": f"[core]\nexcludesFile = {tmp_path}/home/ignored\n"})
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write(repository, {".git/info/exclude": "scratch\n", "scratch": "", "x.swp": "", "new\nline.swp": "", "ü.swp": ""})
    assert files(take(repository, gitignore=True)) == ["app.py", "kept.log"]


def test_a_part_of_a_repository_is_asked_about_by_its_own_paths(repository: Path) -> None:
    write(repository, {"sub/.gitignore": "", "sub/dist/y": "", "sub/x.log": "", "sub/deep/x.log": "", "sub/app.py": ""})
    assert files(take(repository / "sub", gitignore=True)) == ["app.py", "dist/y"]


def test_a_directory_that_its_repository_ignores_has_only_files_of_its_own(repository: Path) -> None:
    write(repository, {"dist/.gitignore": "*.map\n", "dist/a.js": "", "dist/a.js.map": "", "dist/x.log": ""})
    taken = take(repository / "dist", gitignore=True)
    assert files(taken) == ["a.js", "x.log"]
    assert taken.revision == taken.digest[:7]


def test_a_submodule_is_asked_as_well(repository: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q", "-b", "main")
    write(other, {"lib.py": "", ".gitignore": "*.o\n"})
    git(other, "add", "-A")
    git(other, "commit", "-q", "-m", "lib")
    git(repository, "submodule", "add", str(other), "lib")
    write(repository, {"lib/x.o": "", "lib/deep/y.o": ""})
    assert "lib/x.o" not in files(take(repository, gitignore=True))
    assert "lib/deep/y.o" not in files(take(repository, gitignore=True))
    assert "lib/lib.py" in files(take(repository, gitignore=True))
    assert "lib/.git" not in files(take(repository, gitignore=True))


def test_a_repository_without_a_commit_is_asked_too(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    write(tmp_path, {".gitignore": "*.log\n", "x.log": "", "app.py": ""})
    taken = take(tmp_path, gitignore=True)
    assert files(taken) == ["app.py"]
    assert (taken.revision, taken.changes) == (taken.digest[:7], ())


def test_a_repository_that_git_does_not_read_is_an_error_only_where_it_must_be_read(repository: Path) -> None:
    (repository / ".git/config").write_text("[core\n")
    taken = take(repository)
    assert "bad config" in taken.doubt
    assert taken.revision == taken.digest[:7]
    with pytest.raises(BuildError) as caught:
        take(repository, gitignore=True)
    assert "git does not read its repository" in str(caught.value)


# --- what no commit holds ---


def test_changes_are_those_that_travel_and_those_that_are_gone(repository: Path) -> None:
    write(repository, {"a": "", "b": "", "c": ""})
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "second")
    clean = take(repository)
    assert clean.changes == ()
    assert clean.revision == git(repository, "rev-parse", "--short=7", "HEAD").strip()
    (repository / "a").unlink()
    write(repository, {"app.py": "changed", ".deployignore": "left\n", "left/new": "", "new/one\nline": "", ".env": ""})
    git(repository, "mv", "b", "renamed")
    (repository / "c").chmod(0o755)
    taken = take(repository)
    assert list(taken.changes) == [".deployignore", "a", "app.py", "c", "new/one\nline", "renamed"]
    assert taken.revision == clean.revision + "-dirty"


def test_a_change_of_what_stays_behind_is_none(repository: Path) -> None:
    write(repository, {"docs/index": "", "media/x": ""})
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "second")
    write(repository, {"docs/index": "changed", "docs/new": "", "media/y": "", ".env": ""})
    (repository / "media/x").unlink()
    taken = take(repository, ["docs"], ["media"])
    assert taken.changes == ()
    assert "-dirty" not in taken.revision


def test_what_was_built_comes_out_of_a_directory_that_git_ignores_and_nothing_else_does(repository: Path) -> None:
    write(repository, {"dist/app.js": "", "dist/app.js.map": "", "dist/deep/x": "", "kept.log": ""})
    taken = take(repository, [], [], ["dist", "dist/app.js"], gitignore=True)
    assert files(taken) == ["app.py", "dist/app.js", "kept.log"]
    assert taken.changes == ()
