"""Lock files as pip-compile, uv and poetry really wrote them (tests/data/locks), read for targets that are not here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from deploy.bundle import Target, locks
from deploy.bundle.compiling import Wish, command
from deploy.bundle.locks import File, Git, Pin, Terms, Tree, exported
from deploy.errors import BuildError, ConfigurationError
from deploy.masking import masked

LOCKS = Path(__file__).resolve().parents[1] / "data/locks"
BULLSEYE = Target.parse({"python": "3.9", "platform": "manylinux_2_31_x86_64"})
BOOKWORM = Target.parse({"python": "3.11", "platform": "manylinux_2_36_x86_64"})
TRIXIE_ARM = Target.parse({"python": "3.13", "platform": "manylinux_2_41_aarch64"})
ALPINE = Target.parse({"python": "3.12", "platform": "musllinux_1_2_x86_64"})
needs_uv = pytest.mark.skipif(not exported.find("uv"), reason="uv is not installed")
needs_poetry = pytest.mark.skipif(not exported.find("poetry"), reason="poetry is not installed")


def pins(path: Path, target: Target, cache: Path, terms: Terms | None = None) -> dict[str, Pin]:
    return {pin.name: pin for pin in locks.read(path, terms or Terms(), cache).select(target)}


@pytest.mark.parametrize("name", ["uv-universal.txt", "pylock.universal.toml"])
def test_a_lock_file_for_several_targets_gives_each_its_own(name: str, tmp_path: Path) -> None:
    old = pins(LOCKS / "plain" / name, BULLSEYE, tmp_path)
    new = pins(LOCKS / "plain" / name, TRIXIE_ARM, tmp_path)
    assert (old["click"].version, new["click"].version) == ("8.1.8", "8.5.1")
    assert "typing-extensions" in old
    assert "typing-extensions" not in new
    assert "colorama" not in {*old, *new}


def test_a_pip_compile_lock_file_is_read_with_all_its_hashes(tmp_path: Path) -> None:
    read = pins(LOCKS / "plain/pip-compile.txt", BOOKWORM, tmp_path)
    assert set(read) == {"click", "markdown-it-py", "markupsafe", "mdurl", "pygments", "rich"}
    assert len(read["markupsafe"].hashes) > 50
    assert all(pin.where.startswith("pip-compile.txt:") for pin in read.values())


@pytest.mark.parametrize(
    ("target", "tag"),
    [
        (BULLSEYE, "cp39-cp39-manylinux2014_x86_64"),
        (TRIXIE_ARM, "cp313-cp313-manylinux2014_aarch64"),
        (ALPINE, "cp312-cp312-musllinux_1_2_x86_64"),
    ],
)
def test_a_pylock_names_the_wheel_of_the_target(target: Target, tag: str, tmp_path: Path) -> None:
    source = pins(LOCKS / "plain/pylock.universal.toml", target, tmp_path)["markupsafe"].source
    assert isinstance(source, File)
    assert tag in source.filename
    assert source.url.startswith("https://")
    assert len(source.sha256) == 64


def test_a_pylock_for_another_python_says_so(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"it is not for cp39-manylinux_2_31_x86_64: .*>=3\.13"):
        pins(LOCKS / "plain/pylock.aarch64.toml", BULLSEYE, tmp_path)


PYLOCK = 'lock-version = "1.0"\ncreated-by = "hand"\n'
WHEEL = '{{ url = "https://example.org/{name}-1.0-{tag}.whl", hashes = {{ {kind} = "{value}" }} }}'


def package(name: str, tag: str = "py3-none-any", kind: str = "sha256", more: str = "") -> str:
    wheel = WHEEL.format(name=name, tag=tag, kind=kind, value="a" * 64)
    return f'\n[[packages]]\nname = "{name}"\nversion = "1.0"\n{more}wheels = [{wheel}]\n'


def test_every_package_of_a_pylock_without_a_fitting_wheel_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pylock.toml"
    path.write_text(PYLOCK + package("a", "cp39-cp39-win32") + package("b") + package("c", "cp39-cp39-win_amd64"))
    with pytest.raises(BuildError, match=r"no wheel for cp311-manylinux_2_36_x86_64: a 1\.0, c 1\.0"):
        pins(path, BOOKWORM, tmp_path)


def test_every_package_of_a_pylock_without_a_sha256_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "pylock.toml"
    path.write_text(PYLOCK + package("a", kind="md5") + package("b") + package("c", kind="sha512"))
    with pytest.raises(BuildError) as caught:
        locks.read(path, Terms(), tmp_path)
    assert "pylock.toml:4: a 1.0: no SHA-256 for 1 of its 1 files" in str(caught.value)
    assert "pylock.toml:14: c 1.0: no SHA-256" in str(caught.value)
    assert len(locks.read(path, Terms(require_hashes=False), tmp_path).warnings) == 2


def test_extras_and_groups_of_a_pylock_are_the_ones_that_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "pylock.toml"
    head = PYLOCK + 'extras = ["fancy"]\ndependency-groups = ["main", "dev"]\ndefault-groups = ["main"]\n'
    path.write_text(
        head
        + package("fancied", more="marker = \"'fancy' in extras\"\n")
        + package("mainly", more="marker = \"'main' in dependency_groups\"\n")
        + package("developed", more="marker = \"'dev' in dependency_groups\"\n")
    )
    assert set(pins(path, BOOKWORM, tmp_path)) == {"mainly"}
    assert set(pins(path, BOOKWORM, tmp_path, Terms(extras=("fancy",)))) == {"mainly", "fancied"}
    assert set(pins(path, BOOKWORM, tmp_path, Terms(groups=("dev",)))) == {"mainly", "developed"}
    with pytest.raises(ConfigurationError, match="the lock file has no fency; it knows: fancy"):
        locks.read(path, Terms(extras=("fency",)), tmp_path)


def test_a_pylock_may_name_commits_and_directories(tmp_path: Path) -> None:
    path = tmp_path / "pylock.toml"
    (tmp_path / "lib").mkdir()
    at = "0123456789abcdef" * 2 + "01234567"
    path.write_text(
        PYLOCK
        + '[[packages]]\nname = "a"\n'
        + f'vcs = {{ type = "git", url = "https://example.org/a", commit-id = "{at}" }}\n'
        + '[[packages]]\nname = "b"\ndirectory = { path = "lib", editable = true }\n'
    )
    read = pins(path, BOOKWORM, tmp_path)
    assert read["a"].source == Git("https://example.org/a", at)
    assert read["b"].source == Tree(tmp_path / "lib")
    assert locks.read(path, Terms(), tmp_path).trees == (tmp_path / "lib",)


@pytest.mark.parametrize("text", ["not toml", 'lock-version = "1.0"\n', PYLOCK.replace("1.0", "9.0") + package("a")])
def test_what_is_no_pylock_is_said(text: str, tmp_path: Path) -> None:
    path = tmp_path / "pylock.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"it is no pylock\.toml"):
        locks.read(path, Terms(), tmp_path)


@needs_uv
def test_a_uv_lock_is_exported_once_without_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(LOCKS / "uv", tmp_path / "shop")
    path = tmp_path / "shop/uv.lock"
    old = pins(path, BULLSEYE, tmp_path / "cache")
    assert set(old) == {"click", "markupsafe", "typing-extensions"}
    monkeypatch.setattr(exported, "find", lambda tool: None)
    assert set(pins(path, BOOKWORM, tmp_path / "cache")) == {"click", "markupsafe"}
    path.write_text(path.read_text() + "\n# changed\n")
    with pytest.raises(ConfigurationError, match="uv is needed to read it"):
        pins(path, BOOKWORM, tmp_path / "cache")


@needs_uv
def test_extras_and_groups_of_a_uv_lock(tmp_path: Path) -> None:
    terms = Terms(extras=("fancy",), groups=("tools",))
    read = pins(LOCKS / "uv/uv.lock", BOOKWORM, tmp_path, terms)
    assert {"rich", "pygments", "iniconfig"} < set(read)


@needs_uv
def test_an_extra_that_a_uv_lock_does_not_have_is_said_in_uvs_words(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="uv export failed") as caught:
        locks.read(LOCKS / "uv/uv.lock", Terms(extras=("fency",)), tmp_path)
    assert "fency" in caught.value.output


@needs_poetry
def test_a_poetry_lock_is_exported(tmp_path: Path) -> None:
    read = pins(LOCKS / "poetry/poetry.lock", BOOKWORM, tmp_path, Terms(extras=("fancy",), groups=("tools",)))
    assert {"click", "rich", "iniconfig"} < set(read)
    assert "colorama" not in read


def test_a_tool_that_is_lacking_is_named_with_the_command_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="poetry is needed to read it, and is not installed") as caught:
        locks.read(LOCKS / "poetry/poetry.lock", Terms(), tmp_path)
    assert "poetry export --format requirements.txt -o requirements.txt" in caught.value.hint


@pytest.mark.parametrize(
    ("targets", "name", "expected"),
    [
        ([Target.local()], "requirements.txt", ("pip-compile", "--generate-hashes")),
        ([BULLSEYE], "requirements.txt", ("uv", "--python-version=3.9", "--python-platform=x86_64-manylinux_2_31")),
        ([TRIXIE_ARM], "pylock.toml", ("uv", "--format=pylock.toml", "--python-platform=aarch64-manylinux_2_40")),
        ([ALPINE], "requirements.txt", ("uv", "--python-platform=x86_64-unknown-linux-musl")),
        ([TRIXIE_ARM, BULLSEYE], "requirements.txt", ("uv", "--universal", "--python-version=3.9")),
    ],
)
def test_the_tool_that_locks_depends_on_the_targets(
    targets: list[Target], name: str, expected: tuple[str, ...]
) -> None:
    wish = Wish(Path(name), tuple(targets))
    assert {wish.tool, *command(wish, Path("requirements.in"), Path(name))} > set(expected)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://ana:word@example.org/simple", "https://***@example.org/simple"),
        ("git+https://token@example.org/x and http://a:b@c/", "git+https://***@example.org/x and http://***@c/"),
        ("ssh://git@example.org/x deploy@host https://example.org/@scope", None),
        ("ssh://git:word@example.org/x", "ssh://***@example.org/x"),
    ],
)
def test_credentials_are_taken_out_of_urls_and_nothing_else(text: str, shown: str | None) -> None:
    assert masked(text) == (shown or text)
