"""Archives of others: by Python's own filter, and by ours where Python has none."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from deploy.bundle.builders import unpacking


@pytest.fixture(params=["as Python is", "without its filter"], autouse=True)
def filter_of_python(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without its filter":
        monkeypatch.delattr(tarfile, "data_filter", raising=False)


def member(name: str, kind: bytes = tarfile.REGTYPE, to: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, to, mode
    made.uid = made.gid = 12345
    return made


def unpack(directory: Path, members: Sequence[tarfile.TarInfo]) -> Path:
    target = directory / "here"
    target.mkdir()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for each in members:
            each.size = 4 if each.isreg() else 0
            archive.addfile(each, io.BytesIO(b"text"))
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as archive:
        unpacking.extract(archive, target)
    return target


def test_files_links_and_what_may_run_arrive(tmp_path: Path) -> None:
    here = unpack(
        tmp_path,
        [
            member("a", tarfile.DIRTYPE, mode=0o755),
            member("a/file", mode=0o666),
            member("a/program", mode=0o4775),
            member("a/link", tarfile.SYMTYPE, "../b/file"),
            member("b/file"),
            member("hard", tarfile.LNKTYPE, "a/file"),
            member("/absolute"),
        ],
    )
    assert sorted(path.name for path in here.rglob("*")) == [
        "a", "absolute", "b", "file", "file", "hard", "link", "program",
    ]  # fmt: skip
    assert (here / "a/link").read_text() == "text"
    assert os.path.samefile(here / "hard", here / "a/file")
    assert (here / "a/file").stat().st_mode & 0o7777 == 0o644
    assert (here / "a/program").stat().st_mode & 0o7777 == 0o755
    assert (here / "a/file").stat().st_uid == os.getuid()


@pytest.mark.parametrize(
    "members",
    [
        [member("../outside")],
        [member("a/../../outside")],
        [member("link", tarfile.SYMTYPE, "../outside")],
        [member("link", tarfile.SYMTYPE, "/etc")],
        [member("hard", tarfile.LNKTYPE, "../outside")],
        [member("a", tarfile.SYMTYPE, "."), member("a/link", tarfile.SYMTYPE, ".."), member("link/outside")],
        [member("pipe", tarfile.FIFOTYPE)],
        [member("device", tarfile.CHRTYPE)],
    ],
    ids=lambda members: " ".join(f"{each.name}:{each.linkname}" for each in members),
)
def test_what_would_land_or_lead_outside_is_refused(tmp_path: Path, members: Any) -> None:
    (tmp_path / "outside").write_text("mine")
    with pytest.raises(tarfile.TarError):
        unpack(tmp_path, members)
    assert (tmp_path / "outside").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "outside"]
