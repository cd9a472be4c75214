"""Whatever is in a manifest, a lock file, a target's file, an exported bundle or a wheel: it is used, or told by name.

Examples are the same in every run.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from deploy.bundle import (
    Manifest,
    Origin,
    Target,
    Wheel,
    archive,
    inspect,
    locks,
    manifest,
    needs,
    purity,
    sbom,
    targetfile,
)
from deploy.bundle.locks import Terms
from deploy.bundle.wheelhouse import Wheelhouse
from deploy.errors import BuildError, ConfigurationError
from tests.unit.altering import holder, places
from tests.unit.test_hostile_wheels import GOOD, damaged, wheels

BOUNDED = settings(
    derandomize=True,
    deadline=None,
    max_examples=80,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

BOOKWORM = Target.parse({"python": "3.11", "platform": "manylinux_2_36_x86_64"})
FILENAME = "thing-1.0-py3-none-any.whl"
SHA256 = hashlib.sha256(GOOD).hexdigest()
KNOWN = Manifest(
    BOOKWORM,
    "f" * 64,
    (Wheel(FILENAME, SHA256, len(GOOD), "thing", "1.0", Origin("index", SHA256, index="https://example.org/simple")),),
    "fabric-wheelhouse 0.1.0",
)
WORDS = st.sampled_from(
    ["", ".", "..", "../../x", "/etc/passwd", "a\0b", "a\nb", "\x1b[2J", "\ud800", "x" * 300, "C:\\x", "..\\x",
     "\u00e9", "e\u0301", "thing", "1.0", "3.11", "2.36", "3.999999", "3.\u0661", "manylinux", "any", "0" * 64,
     "f" * 64, FILENAME, FILENAME.upper(), f"../{FILENAME}", f"a/{FILENAME}", f"a\\{FILENAME}", f"{FILENAME}\0",
     f"{FILENAME}\n", "thing-1.0-py3-none-../../x.whl", "thing-1.0-py3-none-any\u202e.whl",
     "t" * 300 + "-1.0-py3-none-any.whl",
     "http://[::1", "http://a:x@b", "//[", "git+https://a/b@" + "0" * 40, "sdist", "vcs", "index", "zig"]
)  # fmt: skip
TEXTS = WORDS | st.text(max_size=8)
NUMBERS = st.integers(-3, 3) | st.sampled_from([1 << 62, 1 << 70, 10**400, len(GOOD)])
LEAVES = st.none() | st.booleans() | NUMBERS | st.floats() | TEXTS
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))


@st.composite
def altered(draw: st.DrawFn, document: dict[str, Any]) -> Any:
    """*document* with something else in one to three places."""
    changed = copy.deepcopy(document)
    there = sorted(places(document), key=str)
    for place in draw(st.lists(st.sampled_from(there), min_size=1, max_size=3)):
        at = holder(changed, place)
        if at is None:
            continue  # the former place held it
        if draw(st.integers(0, 5)):
            at[place[-1]] = draw(JSON)
        else:
            del at[place[-1]]
    return changed


def _sealed(document: Any) -> Any:
    """*document* with the digest that fits, where it can have one: who alters it can compute that, too."""
    try:
        rows = [Wheel(row["filename"], row["sha256"], row["size"], "", "", None) for row in document["wheels"]]  # type: ignore[arg-type]
        name = Target.from_document(document["target"]).name
        return {**document, "digest": manifest.digest(name, rows)}
    except (KeyError, TypeError, ValueError, AttributeError, ConfigurationError):
        return document


MANIFESTS = (altered(json.loads(KNOWN.to_json())) | JSON).flatmap(lambda each: st.sampled_from([each, _sealed(each)]))


def _is_plain(text: str) -> bool:
    return text.replace("\n", "").replace("\t", "").isprintable()


def _assert_told(error: BuildError | ConfigurationError, where: str) -> None:
    assert where in error.where, error.where
    assert len(str(error)) < 5_000
    assert _is_plain(str(error)), str(error)


@settings(BOUNDED, max_examples=200)
@given(document=MANIFESTS)
def test_a_manifest_of_any_kind_is_read_or_refused(document: Any) -> None:
    try:
        read = Manifest.from_json(json.dumps(document), "manifest.json")
    except BuildError as error:
        _assert_told(error, "manifest.json")
        return
    assert Manifest.from_json(read.to_json(), "") == read
    sbom.document(read, sbom.time_stamp())
    for wheel in read.wheels:
        assert wheel.filename.isprintable()
        assert Path("/a", wheel.filename).name == wheel.filename
        assert "\\" not in wheel.filename and len(wheel.filename.encode()) <= 255
    assert read.target.tags()


@pytest.mark.parametrize(
    "filename", ["thing-1.0-py3-none-any\\x.whl", "thing-1.0-py3-none-../x.whl", f"thing-1.0-py3-none-{'x' * 300}.whl"]
)
def test_a_name_of_a_file_that_leads_elsewhere_or_is_too_long_is_refused(filename: str) -> None:
    document = json.loads(KNOWN.to_json())
    document["wheels"][0]["filename"] = filename
    with pytest.raises(BuildError, match=r"is no file name|Invalid wheel filename"):
        Manifest.from_json(json.dumps(_sealed(document)), "manifest.json")


@BOUNDED
@given(text=st.text(max_size=40) | st.just("[" * 100_000) | st.just('{"schema": ' + "9" * 5_000))
def test_a_manifest_of_any_text_is_refused(text: str) -> None:
    with pytest.raises(BuildError) as caught:
        Manifest.from_json(text, "manifest.json")
    _assert_told(caught.value, "manifest.json")


@BOUNDED
@given(document=altered(json.loads(targetfile.to_json(BOOKWORM))) | JSON)
def test_a_target_file_of_any_kind_is_read_or_refused(tmp_path: Path, document: Any) -> None:
    path = tmp_path / "target.json"
    path.write_text(json.dumps(document))
    try:
        target = targetfile.read(path)
    except ConfigurationError as error:
        _assert_told(error, "target.json")
        return
    assert "/" not in target.name
    assert target.tags()
    assert target.markers()


@settings(BOUNDED, max_examples=30)
@given(content=st.binary(max_size=30) | st.just(b"[" * 100_000))
def test_a_target_file_of_any_content_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "target.json"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        targetfile.read(path)
    _assert_told(caught.value, "target.json")


LINES = st.lists(
    st.sampled_from(
        ["thing==1.0", " ", "\n", "\\\n", "--hash=sha256:" + "0" * 64, "--hash=md5:x", "#", ";", "python_version", "<",
         "'3'", "'", '"', "and", "(", ")", "[extra]", "@", "-e", "-r", "-c", "--requirement=", "-r requirements.txt",
         "--index-url", "--find-links", "https://[", "https://example.org/a.whl", "git+https://example.org/x", "git+",
         "file:", "~", "~nobody/x", "./", "..", "/etc/passwd", "*", "==", "===", "~=", "1!2", "\0", "\ud800", "\x0b",
         "\u2028", "platform_release", "extra == 'x'", "-", "--", "\x1b[2J", "x" * 5_000]
    )
    | st.text(max_size=4),
    max_size=10,
)  # fmt: skip
TERMS = Terms()


def _assert_lock(path: Path) -> None:
    try:
        lock = locks.read(path, TERMS, path.parent)
        assert len(lock.sha256) == 64
        lock.select(BOOKWORM)
    except (BuildError, ConfigurationError) as error:
        assert len(str(error)) < 20_000
        assert error.where
        assert _is_plain(str(error)), str(error)


@settings(BOUNDED, max_examples=200)
@given(words=LINES)
@example(words=["https://["])
@example(words=["git+https://["])
@example(words=["file://["])
@example(words=["./", "x" * 5_000])
@example(words=["./a\0b"])
@example(words=["-r a\0b"])
@example(words=["./~nobody-of-that-name/x"])
@example(words=["~nobody-of-that-name/x.whl"])
@example(words=['-e "x'])
@example(words=["thing==1.0 \x1b[2J"])
def test_a_requirements_file_of_any_text_is_read_or_refused(tmp_path: Path, words: list[str]) -> None:
    path = tmp_path / "requirements.txt"
    path.write_bytes("".join(words).encode("utf-8", "surrogatepass"))
    _assert_lock(path)


PYLOCK: dict[str, Any] = {
    "lock-version": "1.0",
    "created-by": "x",
    "requires-python": ">=3.9",
    "environments": ["sys_platform == 'linux'"],
    "extras": ["a"],
    "packages": [
        {
            "name": "thing",
            "version": "1.0",
            "marker": "python_version > '3'",
            "index": "https://example.org/simple",
            "wheels": [{"name": FILENAME, "url": f"https://example.org/{FILENAME}", "hashes": {"sha256": "0" * 64}}],
            "sdist": {
                "name": "thing-1.0.tar.gz",
                "path": "thing-1.0.tar.gz",
                "size": 3,
                "hashes": {"sha256": "0" * 64},
            },
        },
        {
            "name": "other",
            "version": "1.0",
            "vcs": {"type": "git", "url": "https://example.org/x", "commit-id": "0" * 40, "subdirectory": "a"},
        },
        {"name": "tree", "directory": {"path": "."}},
        {"name": "file", "archive": {"path": "a.tar.gz", "hashes": {"sha256": "0" * 64}}},
    ],
}


def _toml(value: Any) -> str:
    """Inline TOML; what it has no form for is written as text."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(str(key))} = {_toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    text = json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    return text.encode("utf-8", "replace").decode()


@BOUNDED
@given(document=altered(PYLOCK))
@example(document=PYLOCK)
def test_a_pylock_with_anything_in_it_is_read_or_refused(tmp_path: Path, document: dict[str, Any]) -> None:
    path = tmp_path / "pylock.toml"
    path.write_text("".join(f"{_toml(key)} = {_toml(value)}\n" for key, value in document.items()))
    _assert_lock(path)


@settings(BOUNDED, max_examples=30)
@given(content=st.binary(max_size=40) | st.text().map(str.encode) | st.just(b"a = " + b"[" * 5_000))
def test_a_pylock_of_any_content_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "pylock.toml"
    path.write_bytes(content)
    _assert_lock(path)


def _exported(wheelhouse: Wheelhouse, directory: Path) -> bytes:
    path = directory / "bundle.tar"
    wheel = directory / FILENAME
    wheel.write_bytes(GOOD)
    wheelhouse.add(wheel, KNOWN.wheels[0].origin)
    wheelhouse.remember(KNOWN)
    archive.write(archive.Bundle(KNOWN, wheelhouse, False, ""), path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory = tmp_path_factory.mktemp("exported")
    return _exported(Wheelhouse(directory / "house"), directory)


def _look(directory: Path) -> list[tuple[str, bytes]]:
    found = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    return [(str(path), path.read_bytes()) for path in found if path.suffix != ".tar"]


def _assert_taken_whole_or_not(directory: Path, content: bytes) -> None:
    (directory / "outside").mkdir(exist_ok=True)
    (directory / "outside/file").write_text("sentinel")
    path, house = directory / "bundle.tar", directory / "house"
    path.write_bytes(content)
    before = _look(directory)
    try:
        archive.read_manifest(path)
        bundle = archive.take(path, Wheelhouse(house))
    except (BuildError, ConfigurationError) as error:
        assert "bundle.tar" in str(error) or FILENAME in str(error), str(error)
        assert _is_plain(str(error)), str(error)
        assert _look(directory) == before
        return
    for wheel in bundle.manifest.wheels:
        assert hashlib.sha256(bundle.path(wheel).read_bytes()).hexdigest() == wheel.sha256
    assert [row for row in _look(directory) if not row[0].startswith(str(house))] == before
    for kept in house.iterdir():
        assert not kept.name.startswith(".")
    shutil.rmtree(house)


MEMBERS = st.tuples(
    st.sampled_from(
        ["manifest.json", "statement.json", "statement.json.sig", "sbom.cdx.json", f"wheels/{FILENAME}", "/planted",
         "../outside/file", "wheels/../../outside/file", "a\nb", "\x1b[2J", "", "wheels", "x" * 300]
    ),
    st.sampled_from(
        [tarfile.REGTYPE, tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE,
         tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE, tarfile.CONTTYPE]
    ),
    st.sampled_from([b"", b"{}", GOOD, KNOWN.to_json().encode(), b"\xff"])
    | MANIFESTS.map(lambda each: json.dumps(each).encode()),
)  # fmt: skip


@BOUNDED
@given(members=st.lists(MEMBERS, max_size=4), start=st.booleans())
def test_an_exported_bundle_of_any_members_is_taken_whole_or_not_at_all(
    tmp_path: Path, members: list[tuple[str, bytes, bytes]], start: bool
) -> None:
    stream = io.BytesIO()
    known = [("manifest.json", tarfile.REGTYPE, KNOWN.to_json().encode())]
    if start:
        known.append(("sbom.cdx.json", tarfile.REGTYPE, sbom.document(KNOWN, sbom.time_stamp()).encode()))
    with tarfile.open(fileobj=stream, mode="w") as made:
        for name, kind, content in [*known[: len(members)], *members]:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(content), "../outside/file"
            made.addfile(info, io.BytesIO(content))
    _assert_taken_whole_or_not(tmp_path, stream.getvalue())


@BOUNDED
@given(data=st.data())
def test_a_damaged_exported_bundle_is_taken_whole_or_not_at_all(
    tmp_path: Path, exported: bytes, data: st.DataObject
) -> None:
    content = bytearray(exported)
    blocks = [at for at in range(0, len(content), 512) if content[at + 257 : at + 262] == b"ustar"]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.sampled_from(blocks)) + data.draw(st.integers(0, 511))
        piece = data.draw(
            st.binary(min_size=1, max_size=4) | st.sampled_from([b"\xff" * 12, b"7" * 12, b"\x80" + b"\0" * 11])
        )
        content[at : at + len(piece)] = piece
        if data.draw(st.booleans()):  # with the checksum that fits
            start = at - at % 512
            header = bytes(content[start : start + 148]) + b" " * 8 + bytes(content[start + 156 : start + 512])
            content[start + 148 : start + 156] = f"{sum(header):06o}\0 ".encode()
    if data.draw(st.integers(0, 4)) == 0:
        del content[data.draw(st.integers(0, len(content))) :]
    _assert_taken_whole_or_not(tmp_path, bytes(content))


@BOUNDED
@given(content=wheels() | damaged() | st.binary(max_size=40))
def test_a_wheel_with_anything_in_it_is_looked_into_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / FILENAME
    path.write_bytes(content)
    try:
        assert inspect.problems(inspect.read(path), BOOKWORM) is not None
        assert list(needs.look_into(path)) == []
    except BuildError as error:
        assert FILENAME in str(error)
        assert _is_plain(str(error)), str(error)


@BOUNDED
@given(content=damaged() | st.binary(max_size=40), suffix=st.sampled_from([".zip", ".tar.gz", ".tar.xz", ".tar"]))
def test_a_source_distribution_of_any_content_is_looked_into_or_refused(
    tmp_path: Path, content: bytes, suffix: str
) -> None:
    path = tmp_path / f"thing-1.0{suffix}"
    path.write_bytes(content)
    try:
        purity.to_compile(path)
    except BuildError as error:
        assert path.name in str(error)


@settings(BOUNDED, max_examples=30)
@given(document=JSON, sha256=st.just("0" * 64))
def test_what_the_wheelhouse_kept_is_used_or_passed_over(tmp_path: Path, document: Any, sha256: str) -> None:
    house = Wheelhouse(tmp_path / "house")
    wheel = house.root / "wheels" / sha256 / FILENAME
    for path in (
        wheel.with_name("origin.json"),
        house.root / f"built/{sha256}-{BOOKWORM.name}.json",
        house.root / f"inspected/{sha256}.json",
        house.root / f"needs/{sha256}.json",
        house.root / "bundles/x.json",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))
    wheel.write_bytes(GOOD)
    house.origin(sha256)
    house.built(sha256, BOOKWORM)
    house.needs(sha256)
    house.bundles()
    assert inspect.problems(house.contents(wheel), BOOKWORM) == []
