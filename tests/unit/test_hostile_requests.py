"""Whatever the host program is asked, and whatever lies in its files: an answer, never a crash, and nothing outside.

Examples are the same in every run.
"""

from __future__ import annotations

import base64
import getpass
import hashlib
import importlib
import io
import json
import os
import shutil
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from deploy.hostside import deploylock, dotenv, server, setup, shapes, tree
from deploy.hostside.failure import Failure
from deploy.hostside.layout import Layout, Records

BOUNDED = settings(
    derandomize=True,
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

HOSTILE = st.sampled_from(
    ["", ".", "..", "/", "../../outside", "/etc/passwd", "a/../../outside/x", "a\0b", "a\nb", "\ud800", "\udcff", "-x",
     ".partial-x", "x" * 300, "link/x", "current", "one", "0" * 64, "live", "good", "all", "git"]
)  # fmt: skip
TEXTS = HOSTILE | st.text(max_size=8)
NUMBERS = st.integers(-3, 3) | st.sampled_from([1 << 62, -(1 << 63), 1 << 70, 10**400])
LEAVES = st.none() | st.booleans() | NUMBERS | st.floats(allow_nan=True) | TEXTS
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))

# They wait, run what they are told to, ask the system for long, or are about files that lie elsewhere; their arguments
# are looked at like all others'.
UNCALLED = {
    *(name for name in server.OPERATIONS if name.startswith(("haproxy_", "nginx_", "healthfile_"))),
    *(name for name in server.OPERATIONS if name.endswith(("_maintenance", "_units"))),
    "migrate",
    "take_back",
    "run",
    "verify",
    "prove",
    "packages",
    "libraries",
}


def _operation(name: str) -> Any:
    module, _, function = server.OPERATIONS[name].partition(".")
    return getattr(importlib.import_module(f"deploy.hostside.{module}"), function)


def _of(shape: str) -> st.SearchStrategy[Any]:
    """Values of a shape, with hostile words in them."""
    return _of_tree(shapes._read(shape))


def _of_tree(read: Any) -> st.SearchStrategy[Any]:
    name, inner = read
    plain = {"str": TEXTS, "bool": st.booleans(), "int": NUMBERS, "float": st.integers(-1, 2), "None": st.none()}
    if name in plain:
        return plain[name]
    if name == "|":
        return st.one_of([_of_tree(each) for each in inner])
    if name in ("list", "Sequence"):
        return st.lists(_of_tree(inner[0]), max_size=3)
    if name == "tuple":
        return st.tuples(*map(_of_tree, inner)).map(list)
    if name in ("dict", "Mapping"):
        return st.dictionaries(_of_tree(inner[0]), _of_tree(inner[1]), max_size=2)
    kind = shapes._CLASSES.get(name)
    if kind is None:
        return JSON
    fields = {key: _of(getattr(value, "__forward_arg__", value)) for key, value in kind.__annotations__.items()}
    needed = {key: fields[key] for key in kind.__required_keys__}
    return st.fixed_dictionaries(needed, optional={key: fields[key] for key in fields.keys() - needed.keys()})


@st.composite
def fitting_requests(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Operations with arguments of the right shapes; their values are as bad as can be."""
    name = draw(st.sampled_from(sorted(set(server.OPERATIONS) - UNCALLED)))
    operation = _operation(name)
    taken = operation.__code__.co_varnames[1 : operation.__code__.co_argcount]
    wanted = [each for each in taken if each not in ("stream", "progress")]
    arguments = {each: draw(_of(str(operation.__annotations__[each]))) for each in wanted}
    if name in ("link_known", "fill"):
        rows = draw(st.lists(st.tuples(TEXTS, st.sampled_from("dflx"), TEXTS), max_size=4))
        packed = zlib.compress(json.dumps(rows).encode())
        arguments["entries" if name == "link_known" else "paths"] = base64.b85encode(packed).decode()
    if name == "cleanup":
        arguments["thorough"] = True  # or what is removed goes on while one looks
    return name, arguments


class World:
    """A base path with something in it, and something beside it."""

    def __init__(self, directory: Path) -> None:
        self.outside = directory / "outside"
        self.base = directory / "srv/app"
        self.layout = Layout(str(self.base))
        self.again()
        self.before = self.look()

    def again(self) -> None:
        shutil.rmtree(self.base, ignore_errors=True)
        shutil.rmtree(self.outside, ignore_errors=True)
        (self.outside / "kept").mkdir(parents=True)
        (self.outside / "file").write_text("sentinel")
        setup.make(self.layout, getpass.getuser())
        partial = Path(self.layout.partial("one"))
        partial.mkdir()
        (partial / "link").symlink_to(self.outside)
        (self.base / "shared/link").symlink_to(self.outside)

    def look(self) -> list[tuple[object, ...]]:
        found = [self.base.parent, *self.base.parent.iterdir(), *sorted(self.outside.rglob("*"))]
        return [
            (str(path), path.lstat().st_mode, path.is_file() and path.read_bytes())
            for path in found
            if path != self.base
        ]

    def ask(self, lines: bytes) -> list[dict[str, Any]]:
        output = io.BytesIO()
        wire = server.Wire.__new__(server.Wire)
        wire.stream, wire._pending, wire._output, wire._mutex = io.BytesIO(lines), [], output, threading.Lock()
        try:
            server._serve(wire)
        except Failure as failure:
            wire.send(**server._told(failure))
        return [json.loads(line) for line in output.getvalue().splitlines()]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("HOME", str(tmp_path))
    return World(tmp_path)


def _assert_answered(world: World, answers: list[dict[str, Any]]) -> None:
    for answer in answers:
        assert "crash" not in answer, answer["crash"]
        if "failure" in answer:
            assert answer["failure"]["what"] and "Traceback" not in answer["failure"]["what"]
    if world.look() != world.before:
        now = world.look()
        world.again()
        raise AssertionError(f"touched: {[row for row in now if row not in world.before]}")


@BOUNDED
@given(name=st.sampled_from(sorted(server.OPERATIONS)) | TEXTS, arguments=st.dictionaries(TEXTS, JSON, max_size=4))
def test_an_operation_with_any_arguments_is_answered(world: World, name: str, arguments: dict[str, Any]) -> None:
    line = json.dumps({"base": str(world.base), "ops": [[name, arguments]]}).encode()
    _assert_answered(world, world.ask(line + b"\n"))


@settings(BOUNDED, max_examples=250)
@given(request=fitting_requests(), payload=st.binary(max_size=40))
@example(request=("probe", {"shared_files": [], "services": [], "units": {"": None}}), payload=b"")
def test_arguments_that_fit_and_mean_harm_touch_nothing_outside(
    world: World, request: tuple[str, dict[str, Any]], payload: bytes
) -> None:
    name, arguments = request
    line = json.dumps({"base": str(world.base), "ops": [[name, arguments]]}).encode()
    _assert_answered(world, world.ask(line + b"\n" + payload)[:1])


@BOUNDED
@given(line=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_what_is_no_request_is_answered(world: World, line: bytes) -> None:
    answers = world.ask(line.replace(b"\n", b" ") + b"\n")
    assert all("failure" in answer for answer in answers)
    _assert_answered(world, answers)


def test_brackets_without_end_are_answered(world: World) -> None:
    assert "failure" in world.ask(b"[" * 200_000 + b"\n")[0]


def test_without_a_base_path_balancers_are_spoken_with_and_nothing_else_is_done(world: World) -> None:
    looking = ["haproxy_look", {"address": str(world.outside / "none.sock"), "backend": "web"}]
    said = [
        world.ask(json.dumps({"base": "", "ops": operations}).encode() + b"\n")[0]["failure"]["what"]
        for operations in ([looking], [looking, ["records", {}]], [["records", {}]])
    ]
    assert said[0].startswith(f"haproxy's socket {world.outside}/none.sock does not answer")
    assert said[1:] == ["'' is no base path"] * 2


DOCUMENTS = {
    ".deploy/releases.json": "Records",
    ".deploy/lock.json": "Held",
    ".deploy/checks.json": "Checks",
    ".deploy/drained.json": "Drained",
    ".deploy/migrations.json": "Migrations",
    ".deploy/maintenance.json": "Closed",
    "venvs/v/.venv.json": "Venv",
    "repo/deploy.json": "Repository",
    "wheels/" + "0" * 64 + "/wheel.json": "Stored",
}
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("probe", {"shared_files": [], "services": []}),
    ("lock", {"token": "t", "owner": {"user": "u", "host": "h", "pid": 1, "message": ""}, "expiry": 60}),
    ("records", {}),
    ("noted_maintenance", {"file": ".deploy/maintenance.json"}),
    ("decide_migration", {"identifier": "two", "reference": "one", "only_if_changed": ["*"], "later": True, "by": "u"}),
    ("begin", {"identifier": "two"}),
    ("discard", {"identifier": "two"}),
    ("lacking", {"digest": "d", "wheels": [{"filename": "f", "sha256": "0" * 64}]}),
    ("cleanup", {"keep": 1, "thorough": True}),
    ("unlock", {"token": "t"}),
    ("break_lock", {"user": "u", "host": "h", "force": True}),
]


@settings(BOUNDED, max_examples=25)
@pytest.mark.parametrize("path", DOCUMENTS)
@given(data=st.data())
def test_documents_of_any_kind_are_answered_for(world: World, path: str, data: st.DataObject) -> None:
    world.again()
    value = data.draw(JSON | _of(DOCUMENTS[path]))
    target = world.base / path
    target.parent.mkdir(parents=True, exist_ok=True)
    sealed = {"schema": 2, "value": value, "seal": hashlib.sha256(json.dumps(value).encode()).hexdigest()}
    target.write_text(json.dumps(sealed if path.endswith("wheel.json") else value))
    (world.base / "wheels" / ("0" * 64) / "tree").mkdir(parents=True, exist_ok=True)
    for call in CALLS:
        line = json.dumps({"base": str(world.base), "ops": [call]}).encode()
        _assert_answered(world, world.ask(line + b"\n"))


@BOUNDED
@given(text=st.text() | st.lists(st.sampled_from(["A=", "'", '"', "\\", "\n", "#", "export ", "=", " "])).map("".join))
def test_an_environment_file_of_any_text_is_read(text: str) -> None:
    parsed = dotenv.parse(text)
    assert all(name.isidentifier() and "\0" not in value for name, value in parsed.values.items())


@BOUNDED
@given(text=st.text(max_size=60) | st.binary(max_size=60).map(lambda data: base64.b85encode(data).decode()))
def test_a_list_of_files_of_any_text_is_refused_or_read(text: str) -> None:
    try:
        assert all(isinstance(each, tree.Entry) for each in tree.unpack(text))
    except Failure as failure:
        assert failure.kind == "refused"


def test_a_list_of_files_that_would_fill_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "LARGEST", 1 << 16)
    packed = zlib.compress(b"[" + b" " * (1 << 20) + b"]")
    with pytest.raises(Failure, match="cannot be read"):
        tree.unpack(base64.b85encode(packed).decode())


def test_a_record_whose_name_leads_elsewhere_is_no_release(world: World) -> None:
    record = {"state": "good", "activation": 1}
    document = {"schema": 1, "activations": 1, "releases": {"../../../outside": record, "..": record}}
    (world.base / ".deploy/releases.json").write_text(json.dumps(document))
    assert Records(world.layout).releases == {}
    _assert_answered(world, [server.attempt("cleanup", world.layout, None, {"keep": 1, "thorough": True})])  # type: ignore[arg-type]


def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(world: World) -> None:
    for name in ("lock.json", "lock.guard", "journal.jsonl", "releases.json"):
        os.mkfifo(world.base / ".deploy" / name)
    owner = shapes.Owner(user="u", host="h", pid=1, message="")
    with pytest.raises(Failure, match=r"lock\.guard is not a file of its own"):
        deploylock.acquire(world.layout, "t", owner, 60)
    for name, arguments in (("journal", {"entry": {}}), ("records", {})):
        answer = server.attempt(name, world.layout, None, arguments)  # type: ignore[arg-type]
        assert "is not a file of its own" in answer["failure"]["what"]


def test_what_is_no_text_is_not_written(world: World) -> None:
    line = json.dumps({"base": str(world.base), "ops": [["put_signers", {"text": "\udcff", "owner": ""}]]}).encode()
    (answer,) = world.ask(line + b"\n")
    assert answer["failure"]["kind"] == "refused"
    assert "is no text" in answer["failure"]["what"]
