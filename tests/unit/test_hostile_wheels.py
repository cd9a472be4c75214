"""Whatever is in a wheel: a host takes it or refuses it, touches nothing outside the base path, and works on.

Examples are the same in every run.
"""

from __future__ import annotations

import csv
import getpass
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.hostside import entrypoints, server, setup, wheelfile
from deploy.hostside.layout import Layout
from deploy.hostside.wheelfile import record_digest

BOUNDED = settings(
    derandomize=True,
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

FILENAME = "thing-1.0-py3-none-any.whl"
INFO = "thing-1.0.dist-info"
DATA = "thing-1.0.data"
WHEEL = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
METADATA = b"Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n"

PARTS = st.sampled_from(
    ["..", ".", "", "a", "A", "a.py", "lib", "lib64", "bin", "python", "python3", "activate", "pyvenv.cfg",
     ".venv.json", "C:", "C:\\x", "a\\b", "nul", "a\nb", "\x1b[2J", "-x", "x" * 300, "x" * 250 + ".py", "\u00e9",
     "e\u0301", "\u202e", "__pycache__", "a.cpython-311.pyc", "site-packages", INFO, DATA, "other-1.0.dist-info",
     "Thing-1.0.data", "purelib", "platlib", "scripts", "data", "headers", "etc", "RECORD", "RECORD.jws", "WHEEL",
     "METADATA", "INSTALLER", "entry_points.txt", "direct_url.json", "tree", "wheel.json", "x.pth", "sitecustomize.py"]
)  # fmt: skip
NAMES = (
    st.lists(PARTS, min_size=1, max_size=4).map("/".join)
    | st.tuples(st.sampled_from([f"{DATA}/{scheme}/" for scheme in wheelfile.SCHEMES]), PARTS, PARTS).map("".join)
    | st.sampled_from(
        ["/etc/planted", "../../../planted", "//planted", "a/" * 2000 + "a", f"{DATA}/data/../../planted"]
    )
)
CONTENTS = st.sampled_from(
    [b"", b"x = 1\n", b"#!python\nprint(1)\n", b"#!python", b"\0", b"# coding: rot13\n", b"# coding: nonsense\n",
     b"\xff", b"(" * 500, b"-" * 5_000 + b"1", b"x" + b".a" * 3_000, b"\xef\xbb\xbfx=1", b"0" * (1 << 20)]
) | st.binary(max_size=20)  # fmt: skip
MODES = st.sampled_from(
    [0, 0o644, 0o755, 0o100644, 0o104755, 0o120777, 0o010644, 0o020644, 0o060644, 0o140644, 0o040755]
)  # fmt: skip
POINTS = st.lists(
    st.sampled_from(
        ["[console_scripts]", "[gui_scripts]", "[DEFAULT]", "[", "]", "\n", "\n ", "=", ":", " ", "a", "a.b",
         "thing:main", "../../planted", "..", "/", "python", "activate", "x" * 300, "\0", "\r", "\x0b", "\x85", "%(a)s",
         "[x]", "#", ";", "\x1b[2J", "\u00e9", "-c"]
    )
    | st.text(max_size=3),
    max_size=10,
).map("".join)  # fmt: skip
ROWS = st.lists(
    st.sampled_from(
        ["a.py,,\n", "a.py,sha256=x,1\n", "\n", ",,\n", '"', "a.py\n", "a,b,c,d\n", "../x,,\n", f"{INFO}/RECORD,,\n",
         "\0", "a.py,md5=x,1\n", f"{INFO}/WHEEL,sha256=,9\n", "x" * 140_000 + ",,\n", "\r", "a/,,\n"]
    )
    | st.text(max_size=6),
    max_size=3,
).map("".join)  # fmt: skip
SIZES = st.sampled_from(["", "0", "-1", "7", "\u00b2", "\u0661", "9" * 5_000, "x", "1e3"])
HEADERS = st.sampled_from(
    [b"", b"\0", b"\xff", b"Wheel-Version: 2.0\n", b"Wheel-Version: 1\n", b"Wheel-Version: \xc3\xa9\n", b"\n\n", b":\n",
     b"Root-Is-Purelib: maybe\nWheel-Version: 1.9\n", b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\n" + b"A: b\n" * 1000]
) | st.binary(max_size=30)  # fmt: skip


def packed(
    members: list[tuple[str, bytes, int, int]], lies: dict[int, str] | None = None, rows: str = "", record: bool = True
) -> bytes:
    """A zip archive of members (name, content, mode, compression) and a RECORD of them.

    :param lies: the number of a member → the size that RECORD gives it.
    """
    stream, listed = io.BytesIO(), []
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w") as archive:
        warnings.simplefilter("ignore")
        for number, (name, content, mode, compression) in enumerate(members):
            info = zipfile.ZipInfo("x")
            info.filename = name  # as it is: the constructor would cut it at a NUL
            info.external_attr = mode << 16
            info.compress_type = compression
            archive.writestr(info, content)
            field = '"' + name.replace('"', '""') + '"'
            listed.append(f"{field},{record_digest(content)},{(lies or {}).get(number, len(content))}\n")
        if record:
            archive.writestr(f"{INFO}/RECORD", "".join(listed) + f"{INFO}/RECORD,,\n{rows}")
    return stream.getvalue()


METHODS = st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
MEMBERS = st.tuples(NAMES, CONTENTS, MODES, METHODS)


@st.composite
def wheels(draw: st.DrawFn) -> bytes:
    """Archives that say of themselves that they are a wheel; what is in them is as bad as can be."""
    members = [("thing.py", b"def main(): pass\n", 0o644, zipfile.ZIP_DEFLATED)]
    members += draw(st.lists(MEMBERS, max_size=3))
    lies: dict[int, str] = {}
    rows = ""
    wheel, metadata = WHEEL, METADATA
    match draw(st.sampled_from(["names", "names", "points", "record", "sizes", "headers"])):
        case "points":
            text = draw(POINTS | st.just("[console_scripts]\n") | POINTS.map("[console_scripts]\n".__add__))
            members.append((f"{INFO}/entry_points.txt", text.encode("utf-8", "surrogatepass"), 0o644, 0))
        case "record":
            rows = draw(ROWS)
        case "sizes":
            lies = draw(st.dictionaries(st.integers(0, 3), SIZES, max_size=2))
        case "headers":
            wheel, metadata = draw(HEADERS), draw(HEADERS)
    members += [(f"{INFO}/WHEEL", wheel, 0o644, 0), (f"{INFO}/METADATA", metadata, 0o644, 0)]
    return packed(members, lies, rows, draw(st.sampled_from([True] * 9 + [False])))


GOOD = packed(
    [
        ("thing.py", b"def main():\n    print('hello')\n" * 20, 0o644, zipfile.ZIP_DEFLATED),
        ("more.txt", b"a" * 500, 0o644, zipfile.ZIP_BZIP2),
        ("other.txt", b"a" * 500, 0o644, zipfile.ZIP_LZMA),
        (f"{INFO}/WHEEL", WHEEL, 0o644, 0),
        (f"{INFO}/METADATA", METADATA, 0o644, 0),
    ]
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good wheel with some bytes changed, cut off, or put before or behind."""
    content = bytearray(GOOD)
    for _ in range(draw(st.integers(1, 4))):
        # Mostly in a header of a member, in the directory or in its end: there every byte means something.
        starts = [at for mark in (b"PK\1\2", b"PK\3\4", b"PK\5\6") for at in _all(content, mark)] or [0]
        at = draw(st.sampled_from(starts)) + draw(st.integers(0, 60))
        piece = draw(
            st.binary(min_size=1, max_size=4) | st.sampled_from([b"\xff" * 4, b"\xff" * 8, b"\0" * 4, b"\1\0"])
        )
        match draw(st.sampled_from(["change", "change", "change", "cut", "insert", "before", "behind"])):
            case "change":
                content[at : at + len(piece)] = piece
            case "cut":
                del content[draw(st.integers(0, len(content))) :]
            case "insert":
                content[at:at] = piece
            case "before":
                content[0:0] = piece
            case "behind":
                content += piece
    return bytes(content)


def _all(content: bytes | bytearray, mark: bytes) -> list[int]:
    return [at for at in range(len(content)) if content.startswith(mark, at)]


class Host:
    """A base path, and a tree around it that nobody may touch."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.base = directory / "srv/app"
        self.layout = Layout(str(self.base))
        for path in ("planted.txt", "etc/planted", "srv/other/file"):
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_text("sentinel")
        setup.make(self.layout, getpass.getuser())
        self.before = self.look()

    def look(self) -> list[tuple[object, ...]]:
        found = [path for path in sorted(self.directory.rglob("*")) if self.base not in (path, *path.parents)]
        return [(str(path), path.lstat().st_mode, path.is_file() and path.read_bytes()) for path in found]

    def take(self, content: bytes, filename: str = FILENAME) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the host program answers when the wheel is sent and when a venv is to be made of it."""
        wheel = {"filename": filename, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        wire: Any = SimpleNamespace(stream=io.BytesIO(content), send=lambda **told: None)
        sent = server.attempt("add_wheels", self.layout, wire, {"wheels": [wheel]})
        if "failure" in sent or "crash" in sent:
            return sent, {}
        listed = json.dumps(
            {"target": "t", "wheels": [list(wheel.values())]}, sort_keys=True, separators=(",", ":")
        ).encode()
        arguments = {
            "target": "t",
            "digest": hashlib.sha256(listed).hexdigest(),
            "wheels": [wheel],
            "release": "",
            "manifest": {},
            "check": {"imports_of": "off", "ignore": [], "env": {}},
        }
        return sent, server.attempt("install", self.layout, wire, arguments)

    def left(self) -> list[str]:
        return [name for place in ("wheels", "venvs") for name in os.listdir(self.base / place) if name[0] == "."]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def _assert_answered(host: Host, content: bytes, filename: str = FILENAME) -> None:
    for answer in host.take(content, filename):
        assert "crash" not in answer, answer["crash"]
        if "failure" in answer:
            assert answer["failure"]["kind"] in ("corrupt", "refused"), answer
            assert answer["failure"]["what"].isprintable(), answer
            assert len(answer["failure"]["what"]) < 2_000
    assert host.left() == []
    assert host.look() == host.before


@BOUNDED
@given(content=wheels())
def test_a_wheel_with_anything_in_it_is_taken_or_refused(host: Host, content: bytes) -> None:
    _assert_answered(host, content)


@settings(BOUNDED, max_examples=60)
@given(content=damaged() | st.binary(max_size=60))
def test_a_damaged_archive_is_taken_or_refused(host: Host, content: bytes) -> None:
    _assert_answered(host, content)


def _with(*members: tuple[str, bytes], lies: dict[int, str] | None = None) -> bytes:
    """A wheel of these members; *lies* as :func:`packed` takes them."""
    rest = [(f"{INFO}/WHEEL", WHEEL), (f"{INFO}/METADATA", METADATA)]
    return packed([(*each, 0o644, zipfile.ZIP_DEFLATED) for each in (*members, *rest)], lies)


def _patched(mark: bytes, offset: int, piece: bytes) -> bytes:
    """The good wheel with *piece* in the headers of its first member that begin with *mark*."""
    at = GOOD.index(mark) + offset
    return GOOD[:at] + piece + GOOD[at + len(piece) :]


_CENTRAL, _LOCAL, _END = b"PK\1\2", b"PK\3\4", b"PK\5\6"
REFUSED = {
    "a member without a name": (_patched(_CENTRAL, 28, b"\0\0"), "is no wheel|leaves the venv"),
    "a version of zip that is not known": (_patched(_CENTRAL, 6, b"\xff\0"), "is no wheel: zip file version 25.5"),
    "an unknown compression": (_patched(_CENTRAL, 10, b"\x63\0"), "is damaged: thing.py"),
    "a member that claims to be encrypted": (_patched(_CENTRAL, 8, b"\1\0"), "is damaged: thing.py"),
    "a wrong checksum": (_patched(_CENTRAL, 16, b"\0\0\0\0"), "is damaged: thing.py: Bad CRC-32"),
    "a size that only zip64 can have, and no zip64": (_patched(_CENTRAL, 24, b"\xff" * 4), "wheel"),
    "a size that nobody has room for": (_patched(_CENTRAL, 24, b"\xfe\xff\xff\xff"), "bytes unpacked, and has"),
    "a member that begins outside": (_patched(_CENTRAL, 42, b"\xff\xff\xff\x7f"), "is damaged: thing.py"),
    "a directory that begins outside": (_patched(_END, 16, b"\xff\xff\xff\x7f"), "is no wheel|is damaged"),
    "half of a file": (GOOD[: len(GOOD) // 2], "is no wheel"),
    "a bomb that says what it is": (_with(("big", b"\0" * (80 << 20))), "would take [0-9]+ bytes unpacked"),
    "a path that no system takes": (_with(("a/" * 2_000 + "a", b"")), "holds a path that is too long: a/a/.*a/a"),
    "a name that no system takes": (_with(("x" * 256, b"")), "holds a path that is too long"),
    "a file where bytecode goes": (_with(("__pycache__", b""), ("a.py", b"")), "in a place of bytecode: __pycache__"),
    "a directory where bytecode goes": (
        _with(("__pycache__/thing.cpython-311.pyc/x", b""), ("thing.py", b"")),
        "in a place of bytecode",
    ),
    "a name that plays with a terminal": (_with(("\x1b[2J", b""), ("\x1b[2J", b"")), r"holds \\x1b\[2J twice"),
    "a command that plays with a terminal": (
        _with((f"{INFO}/entry_points.txt", b"[console_scripts]\n\x1b[2J = a:b\n")),
        r"an entry point that is none: \\x1b",
    ),
    "a command that no system takes": (
        _with((f"{INFO}/entry_points.txt", b"[console_scripts]\n" + b"x" * 256 + b" = a:b\n")),
        "an entry point that is none",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_by_name_and_the_host_works_on(host: Host, what: str) -> None:
    content, words = REFUSED[what]
    _assert_answered(host, content)
    sent, _ = host.take(content)
    assert re.search(words, sent["failure"]["what"]), sent
    assert FILENAME in sent["failure"]["what"]
    assert os.listdir(host.base / "wheels") == []
    _assert_works(host, GOOD)


def _assert_works(host: Host, content: bytes) -> Path:
    _, made = host.take(content)
    venv = host.base / "venvs" / made["result"]["venv"]
    subprocess.run([venv / "bin/python", "-c", "import thing; thing.main()"], check=True, capture_output=True)
    assert host.look() == host.before
    return venv


TAKEN = {
    "a size that is larger than what is there": _patched(_CENTRAL, 24, b"\xff\xff\0\0"),
    "bytes before and behind it": b"#!/bin/sh\n" + GOOD + b"\0" * 20,
    "a size in RECORD that is no number": _with(("thing.py", b"def main(): pass\n"), lies={0: "\u00b2"}),
    "a size in RECORD that is none of the file": _with(("thing.py", b"def main(): pass\n"), lies={0: "9" * 5_000}),
    "names that differ by case or by normal form": _with(
        ("thing.py", b"def main(): pass\n"), ("A", b"1"), ("a", b"2"), ("\u00e9", b"3"), ("e\u0301", b"4")
    ),
    "a source whose bytecode's name no system takes": _with(
        ("thing.py", b"def main(): pass\n"), ("x" * 250 + ".py", b"x = 1\n")
    ),
    "sources that no parser takes": _with(
        ("thing.py", b"def main(): pass\n"), ("a.py", b"(" * 500), ("b.py", b"-" * 100_000 + b"1"), ("c.py", b"\0")
    ),
}


@pytest.mark.parametrize("what", TAKEN)
def test_it_is_taken_and_works(host: Host, what: str) -> None:
    venv = _assert_works(host, TAKEN[what])
    rows = list(csv.reader(next(venv.glob(f"lib/python*/site-packages/{INFO}/RECORD")).open(newline="")))
    assert ["thing.py", record_digest((_library(venv) / "thing.py").read_bytes())] in [row[:2] for row in rows]
    assert all(row[2] == "" or int(row[2]) < 200_000 for row in rows)


def _library(venv: Path) -> Path:
    return next(venv.glob("lib/python*/site-packages"))


def test_what_is_longer_than_the_archive_says_is_not_unpacked(host: Host, tmp_path: Path) -> None:
    """A bomb that says that it is small: its size is in two places, and both lie."""
    content = _with(("big", b"\0" * (250 << 20)))
    content = content.replace((250 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    _assert_answered(host, content)
    script = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (200 << 20, 200 << 20))
sys.path.insert(0, sys.argv[1])
from deploy.hostside import wheelstore
wheelstore.unpack(*sys.argv[2:])
"""
    (tmp_path / "bomb.whl").write_bytes(content)
    root = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-c", script, root, str(tmp_path / "bomb.whl"), FILENAME, str(tmp_path / "partial")]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    assert f"{FILENAME} is damaged: big: Bad CRC-32" in said


@pytest.mark.parametrize("name", ["../x.whl", "/x.whl", "", "..", "a\0.whl", "a\\b.whl", "a\nb.whl", "\ud800.whl"])
def test_a_file_name_that_is_none_is_refused(host: Host, name: str) -> None:
    sent, _ = host.take(GOOD, name)
    assert sent["failure"]["kind"] == "refused"
    assert sent["failure"]["what"].isprintable()
    assert os.listdir(host.base / "wheels") == []
    assert host.look() == host.before


@BOUNDED
@given(text=POINTS | st.text())
def test_entry_points_of_any_text_are_read_or_refused(text: str) -> None:
    try:
        for entry in entrypoints.parse(text):
            assert "/" not in entry.command and entry.command.isprintable()
            compile(entry.script(), "script", "exec")
    except ValueError as error:
        assert not isinstance(error, UnicodeError)
