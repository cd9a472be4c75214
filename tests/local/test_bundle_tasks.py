"""`fab bundle.…` as a user runs it: what is shown, carried from one wheelhouse to another, refused, and pruned."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.bundle.builders import unpacking
from tests.local.packages import Index, Project


@pytest.fixture
def index() -> Iterator[Index]:
    served = Index()
    yield served
    served.close()


@pytest.fixture
def app(tmp_path: Path, index: Index) -> Project:
    """A project with a bundle of two wheels."""
    made = Project(tmp_path, index)
    made.lock(index.wheel("one", "1.0"), index.wheel("two", "1.0"))
    made.create()
    return made


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An exported bundle."""
    served = Index()
    made = Project(tmp_path_factory.mktemp("exported"), served)
    made.lock(served.wheel("one", "1.0"), served.wheel("two", "1.0"))
    made.create()
    made.fab("bundle.export", "b.tar")
    served.close()
    return (made.directory / "b.tar").read_bytes()


def configure(app: Project, **keys: object) -> None:
    section = {"app": "x", "base_path": "/srv/x", "target": "local", "stages": {"s": ["nowhere.invalid"]}, **keys}
    (app.directory / "fabric.yaml").write_text(json.dumps({"deploy": section}))


def key(directory: Path, name: str) -> Path:
    path = directory / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path], check=True)
    return path


def digest(app: Project) -> str:
    found = re.search(r"^\S* ?bundle +([0-9a-f]{64})$", app.fab("bundle.show"), re.MULTILINE)
    assert found
    return found[1]


# --- look ---


def test_a_bundle_is_shown_with_its_origins_and_listed(app: Project, index: Index) -> None:
    said = app.fab("bundle.show")
    assert re.search(rf"^one +1\.0 +.* KiB +[0-9a-f]{{12}} +index {re.escape(index.url)}$", said, re.MULTILINE)
    assert "(requirements.txt)" in said
    assert "by nobody" in said
    assert digest(app)[:12] in app.fab("bundle.list")
    assert app.fab("bundle.show", "--bundle", digest(app)[:6]).count("\none ") == 1
    assert "there is no bundle 'ffffff'" in app.fab("bundle.show", "--bundle", "ffffff", expect=2)


def test_without_a_bundle_the_next_command_is_told(app: Project, index: Index) -> None:
    app.lock(index.wheel("three", "1.0"))
    assert "fab create-bundle makes it" in app.fab("bundle.show", expect=2)


def test_a_bill_of_materials_lies_in_the_wheelhouse(app: Project) -> None:
    path = re.search(r"sbom +(.*\.cdx\.json)$", app.fab("bundle.show"), re.MULTILINE)
    assert path
    bill = json.loads(Path(path[1]).read_text())
    assert [each["name"] for each in bill["components"]] == ["one", "two"]


def test_a_difference_by_git_revision_lock_file_digest_and_exported_file(app: Project, index: Index) -> None:
    former = digest(app)
    git = ["git", "-C", app.directory, "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*git[:3], "init", "-q"], check=True)
    subprocess.run([*git, "add", "requirements.txt"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "one"], check=True)
    app.fab("bundle.export", "former.tar")
    app.lock(index.wheel("two", "2.0"), index.wheel("three", "1.0"))
    app.create()
    rows = [
        r"added +three +1\.0 .*",
        r"removed +one +1\.0",
        r"changed +two +1\.0 +2\.0 .*",
        r".*is sent .*\((\d+) bytes\)",
    ]
    expected = r"\n".join(rows)
    sent = set()
    for word in ("HEAD", former[:10], "former.tar"):
        found = re.search(expected, app.fab("bundle.diff", word, "requirements.txt"))
        assert found, word
        sent.add(int(found[1]))
    assert sent == {sum(len(index.files[f"{name}-py3-none-any.whl"]) for name in ("two-2.0", "three-1.0"))}
    assert "no difference" in app.fab("bundle.diff", "requirements.txt", "requirements.txt")
    assert "there is no bundle 'nonsense'" in app.fab("bundle.diff", "nonsense", "HEAD", expect=2)


# --- carry ---


def test_the_same_bundle_gives_the_same_bytes(app: Project, tmp_path: Path) -> None:
    app.fab("bundle.export", "a.tar")
    for wheel in app.cache.rglob("*.whl"):
        os.utime(wheel, (1, 1))
    app.fab("bundle.export", "b.tar", SOURCE_DATE_EPOCH="1000000000")
    assert (app.directory / "a.tar").read_bytes() == (app.directory / "b.tar").read_bytes()
    with tarfile.open(app.directory / "a.tar") as archive:
        assert [member.name for member in archive] == [
            "manifest.json", "sbom.cdx.json", "wheels/one-1.0-py3-none-any.whl", "wheels/two-1.0-py3-none-any.whl",
        ]  # fmt: skip
    assert not list(app.directory.glob(".partial-*"))


def test_an_imported_bundle_is_used_where_no_index_is(app: Project, index: Index) -> None:
    app.fab("bundle.export", "b.tar")
    index.close()
    app.cache = app.cache.with_name("another machine")
    said = app.fab("bundle.import", "b.tar")
    assert "imported" in said
    assert "it is that of requirements.txt" in said
    assert "is here already" in app.fab("bundle.import", "b.tar")
    assert "is there already: 2 wheels" in app.create()
    app.fab("bundle.export", "again.tar")
    assert (app.directory / "again.tar").read_bytes() == (app.directory / "b.tar").read_bytes()


def test_what_the_imported_bundle_lacks_is_refused_by_name(app: Project, index: Index) -> None:
    app.fab("bundle.export", "b.tar")
    app.cache = app.cache.with_name("another machine")
    lock = app.directory / "requirements.txt"
    lock.write_text(lock.read_text() + index.wheel("three", "3.0") + index.wheel("four", "4.0"))
    index.close()
    assert "it is not that of requirements.txt as it lies here" in app.fab("bundle.import", "b.tar")
    said = app.create(expect=3)
    assert "not in the wheelhouse, and no index is in reach: three 3.0, four 4.0\n" in said
    assert "fab bundle.import FILE" in said


def test_a_bundle_that_claims_a_lock_file_and_lacks_an_entry_is_refused_by_name(app: Project, index: Index) -> None:
    app.fab("bundle.export", "b.tar")
    forged = forge(app.directory / "b.tar", drop="two")
    index.close()
    app.cache = app.cache.with_name("another machine")
    said = app.fab("bundle.import", forged, expect=3)
    assert "the bundle is not what requirements.txt asks for: it lacks two 1.0" in said
    assert not list(app.cache.rglob("*.whl"))
    # Even where somebody wrote it into the wheelhouse, it is not taken for the lock file's.
    (app.directory / "requirements.txt").rename(app.directory / "kept")
    app.fab("bundle.import", forged)
    (app.directory / "kept").rename(app.directory / "requirements.txt")
    said = app.create(expect=3)
    assert "it lacks two 1.0; the bundle is made again" in said
    assert "no index is in reach: two 1.0" in said


def forge(path: Path, drop: str) -> Path:
    """An exported bundle that is right in itself, and has a wheel less."""
    from deploy.bundle import Bundle, Manifest, Wheelhouse, archive

    house = Wheelhouse(path.with_suffix(".house"))
    taken = archive.take(path, house).manifest
    less = Manifest(
        taken.target, taken.lock_sha256, tuple(each for each in taken.wheels if each.name != drop), taken.tool
    )
    house.remember(less)
    forged = path.with_name("forged.tar")
    archive.write(Bundle(less, house, False), forged)
    return forged


Members = list[tuple[tarfile.TarInfo, bytes]]


def rewrite(path: Path, change: Callable[[Members], Members]) -> None:
    with tarfile.open(path) as archive:
        members = [(member, archive.extractfile(member).read()) for member in archive]  # type: ignore[union-attr]
    with tarfile.open(path, "w") as archive:
        for member, content in change(members):
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def plain(name: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE, link: str = "") -> Members:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = link
    return [(member, content)]


def edited(member: str, before: bytes, after: bytes) -> Callable[[Members], Members]:
    def change(members: Members) -> Members:
        assert any(info.name == member and before in content for info, content in members)
        return [
            (info, content.replace(before, after, 1) if info.name == member else content) for info, content in members
        ]

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda members: members[:-1], "it lacks two 1.0"),
        (lambda members: members[1:], "does not begin with a manifest"),
        (lambda members: [members[0], *members[2:]], "sbom.cdx.json is lacking"),
        (lambda members: members + plain("wheels/evil-1.0-py3-none-any.whl"), "which its manifest does not name"),
        (lambda members: members + plain("../../evil"), "which its manifest does not name"),
        (lambda members: members + members[-1:], "which its manifest does not name"),
        (lambda members: members + plain("/etc/evil"), "which its manifest does not name"),
        (lambda members: members + plain("wheels", b"", tarfile.DIRTYPE), "is no plain file"),
        (lambda members: members[:-1] + plain(members[-1][0].name, b"", tarfile.SYMTYPE, "/etc/passwd"), "plain file"),
        (lambda members: members[:-1] + plain(members[-1][0].name, b"", tarfile.LNKTYPE, members[0][0].name), "plain"),
        (lambda members: members[:-1] + plain(members[-1][0].name, members[-1][1][:-1] + b"!"), "two-1.0-py3-none"),
        (lambda members: members[:-1] + plain(members[-1][0].name, members[-1][1] + b"!"), "the manifest says"),
        (edited("manifest.json", b'"size": ', b'"size": 1'), "the manifest was altered"),
        (edited("manifest.json", b'"schema": 2', b'"schema": 3'), "upgrade fabric-wheelhouse"),
        (edited("manifest.json", b"one-1.0-py3", b"../-1.0-py3"), "this is no manifest"),
        (edited("sbom.cdx.json", b'"name": "one"', b'"name": "won"'), "sbom.cdx.json is lacking, or is not that"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_what_it_should_be_is_refused_and_nothing_taken_in(
    tmp_path: Path, index: Index, exported: bytes, change: Callable[[Members], Members], said: str
) -> None:
    app = Project(tmp_path, index)
    (app.directory / "b.tar").write_bytes(exported)
    rewrite(app.directory / "b.tar", change)
    assert said in app.fab("bundle.import", "b.tar", expect=3)
    assert not [path for path in app.cache.rglob("*") if path.is_file()]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux's compiled files are read")
def test_an_imported_wheel_that_is_not_what_its_name_says_is_refused_unless_accepted_here(
    tmp_path: Path, index: Index
) -> None:
    app = Project(tmp_path, index)
    app.lock(index.lying_wheel(), index.wheel("one", "1.0"))
    configure(app, accept_wheels=["liar"])
    app.fab("create-bundle")
    app.fab("bundle.export", "b.tar")
    app.cache = app.cache.with_name("another machine")
    configure(app)
    assert "liar 1.0: liar/program: compiled for " in app.fab("bundle.import", "b.tar", expect=3)
    assert not [path for path in app.cache.rglob("*") if path.is_file()]
    configure(app, accept_wheels=["liar"])
    assert "warning: liar 1.0: liar/program: compiled for " in app.fab("bundle.import", "b.tar")
    configure(app)
    assert "liar 1.0: liar/program: compiled for " in app.fab("create-bundle", expect=3)


def test_a_file_that_is_cut_off_compressed_or_none_is_refused(app: Project) -> None:
    app.fab("bundle.export", "b.tar")
    content = (app.directory / "b.tar").read_bytes()
    app.cache = app.cache.with_name("another machine")
    for length in (0, 100, 700, 4000, content.index(b"PK\x03\x04") + 10):
        (app.directory / "b.tar").write_bytes(content[:length])
        app.fab("bundle.import", "b.tar", expect=3)
    with tarfile.open(app.directory / "c.tar", "w:gz") as archive:
        archive.add(app.directory / "requirements.txt")
    assert "this is no exported bundle" in app.fab("bundle.import", "c.tar", expect=3)
    assert "cannot be read" in app.fab("bundle.import", "none.tar", expect=2)
    assert not [path for path in app.cache.rglob("*") if path.is_file()]


def test_a_wheel_that_was_damaged_in_the_wheelhouse_is_not_exported(app: Project) -> None:
    (wheel,) = app.cache.rglob("one-*.whl")
    content = wheel.read_bytes()
    wheel.write_bytes(content[:-1] + b"!")
    assert "the wheel is damaged" in app.fab("bundle.export", "b.tar", expect=3)
    wheel.unlink()
    assert "the wheelhouse lacks one-1.0" in app.fab("bundle.export", "b.tar", expect=3)
    assert not list(app.directory.glob("*b.tar*"))
    assert not list(app.directory.glob(".partial-*"))


# --- sign ---


def test_a_bundle_is_signed_once_and_carried_with_its_signature(app: Project, tmp_path: Path) -> None:
    ana = key(tmp_path, "ana")
    (app.directory / "allowed").write_text(f"ana@example.org {ana.with_suffix('.pub').read_text()}")
    configure(app, bundle={"sign": "../ana", "allowed_signers": "allowed"})
    assert "signed by ana@example.org (ED25519 SHA256:" in app.create()
    (signature,) = app.cache.rglob("*.sig")
    made = signature.stat().st_mtime_ns
    app.create()
    assert signature.stat().st_mtime_ns == made
    app.fab("bundle.export", "b.tar")
    # Whoever has the file can verify it by hand.
    with tarfile.open(app.directory / "b.tar") as archive:
        unpacking.extract(archive, tmp_path / "x")
    command = ["ssh-keygen", "-Y", "verify", "-f", app.directory / "allowed", "-I", "ana@example.org"]
    statement = (tmp_path / "x/statement.json").read_bytes()
    subprocess.run(
        [*command, "-n", "bundle@fabric-wheelhouse", "-s", tmp_path / "x/statement.json.sig"],
        input=statement, stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    assert json.loads(statement)["manifest"] == hashlib.sha256((tmp_path / "x/manifest.json").read_bytes()).hexdigest()
    configure(app, bundle={"allowed_signers": "allowed"})
    app.cache = app.cache.with_name("another machine")
    app.fab("bundle.import", "b.tar")
    assert "by ana@example.org" in app.fab("bundle.show")


def test_an_import_by_a_stranger_unsigned_or_altered_is_refused_where_signers_are_configured(
    app: Project, tmp_path: Path
) -> None:
    key(tmp_path, "mallory")
    (app.directory / "allowed").write_text(f"ana@example.org {key(tmp_path, 'ana').with_suffix('.pub').read_text()}")
    app.fab("bundle.export", "unsigned.tar")
    configure(app, bundle={"sign": "../mallory"})
    app.create()
    app.fab("bundle.export", "stranger.tar")
    shutil.copy(app.directory / "stranger.tar", app.directory / "altered.tar")
    rewrite(app.directory / "altered.tar", edited("manifest.json", b'"index": "http', b'"index": "hxxp'))
    configure(app, bundle={"allowed_signers": "allowed"})
    app.cache = app.cache.with_name("another machine")
    assert "the bundle is not signed" in app.fab("bundle.import", "unsigned.tar", expect=3)
    assert "is not among the allowed signers" in app.fab("bundle.import", "stranger.tar", expect=3)
    assert "it is not what was signed" in app.fab("bundle.import", "altered.tar", expect=3)
    assert not list(app.cache.rglob("*.whl"))


def test_a_signer_who_is_not_allowed_any_more_is_replaced_by_the_configured_key(app: Project, tmp_path: Path) -> None:
    former, ana = key(tmp_path, "former"), key(tmp_path, "ana")
    configure(app, bundle={"sign": str(former)})
    app.create()
    (app.directory / "allowed").write_text(f"ana@example.org {ana.with_suffix('.pub').read_text()}")
    configure(app, bundle={"sign": str(ana), "allowed_signers": "allowed"})
    assert "signed by ana@example.org" in app.create()
    configure(app, bundle={"sign": str(former), "allowed_signers": "allowed"})
    app.create()  # signed by somebody who is allowed, so it is left alone
    assert "by ana@example.org" in app.fab("bundle.show")


def test_true_means_the_identity_or_the_usual_key(app: Project, tmp_path: Path) -> None:
    configure(app, bundle={"sign": True})
    assert "there is no SSH key to sign with" in app.fab("create-bundle", expect=2)
    (app.cache.parent / ".ssh").mkdir()
    key(app.cache.parent / ".ssh", "id_ed25519")
    assert "signed by ED25519 SHA256:" in app.create()
    configure(app, bundle={"sign": True}, identity="../missing")
    assert "there is no file" in app.fab("create-bundle", expect=2)


# --- let go ---


def test_pruning_keeps_what_the_project_and_the_last_bundles_need(app: Project, index: Index) -> None:
    first = (app.directory / "requirements.txt").read_text()
    (two,) = [line for line in first.splitlines(keepends=True) if line.startswith("two")]
    app.lock(two, index.wheel("three", "1.0"))
    app.create()
    app.lock(index.wheel("four", "1.0"))
    app.create()
    names = lambda: sorted(path.name[:5].rstrip("-1") for path in app.cache.rglob("*.whl"))  # noqa: E731
    assert "nothing to remove" in app.fab("bundle.prune", "--keep", "0"), "what is young stays"
    old = time.time() - 3 * 24 * 3600
    for number, path in enumerate(sorted(app.cache.glob("*/bundles/*.json"), key=lambda path: path.stat().st_mtime)):
        os.utime(path, (old + number, old + number))
    for folder in app.cache.glob("*/wheels/*"):
        os.utime(folder, (old, old))
    assert "nothing to remove" in app.fab("bundle.prune")
    said = app.fab("--dry", "bundle.prune", "--keep", "2")
    assert "would remove 1 bundle and 1 wheel" in said, said
    assert "would remove one-1.0-py3-none-any.whl" in said
    assert names() == ["four", "one", "three", "two"]
    (app.directory / "requirements.txt").write_text(first)
    assert "removed 1 bundle and 1 wheel" in app.fab("bundle.prune", "--keep", "1")
    assert names() == ["four", "one", "two"], "the lock file's own bundle stays, however old it is"
    assert "is there already: 2 wheels" in app.create()
    assert "must be a whole number of bundles, not 'all'" in app.fab("bundle.prune", "--keep", "all", expect=2)
