"""Whatever is in `fabric.yaml`, and in the variables that override it: settings, or one message; by Fabric itself.

Examples are the same in every run.
"""

from __future__ import annotations

import contextlib
import copy
import datetime
import importlib
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fabric.main import make_program
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from invoke import util

import deploy.tasks
from deploy import config, masking
from deploy.errors import ConfigurationError
from deploy.flows.projects import plain
from tests.unit.altering import holder, places

_yaml: Any = util.yaml  # type: ignore[attr-defined]

BOUNDED = settings(
    derandomize=True,
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

FABFILE = """
import importlib
import deploy, deploy.tasks
importlib.reload(deploy.tasks)
from deploy.executor import FleetTask
from deploy.flows.projects import Project
ns = deploy.tasks.ns
def settle(c):
    project = Project.of(c.config)
    project.stages(every=True)
    print("settled", project.stage()[0])
ns.add_task(FleetTask(settle, name="settle"))
"""

SECRET = "xK7-hidden-word-3f"
SECTION: dict[str, Any] = {
    "app": "guestbook",
    "base_path": "/srv/guestbook",
    "deploy_user": "guestbook",
    "requirements": "requirements.txt",
    "env": {"DB_PASSWORD": SECRET, "DEBUG": "1"},
    "index": {"url": f"https://ana:{SECRET}@example.org/simple", "extra_urls": ["https://example.org/more"]},
    "target": {"python": "3.11", "platform": "manylinux_2_36_x86_64"},
    "builders": [{"native": {}}, {"container": {"image": "debian"}}],
    "source": {"strategy": "rsync", "path": ".", "exclude": ["node_modules"]},
    "build": ["make", {"command": "npm run build", "inputs": ["src/**"], "outputs": ["static"]}],
    "shared": {"files": [".env"], "dirs": ["media"]},
    "migrate": {"command": "manage migrate", "head": "manage head", "rollback": {"command": "manage back"}},
    "service": {"manager": "systemd", "unit": "guestbook@.service", "instances": 2},
    "health": {"url": "http://127.0.0.1:8000/{instance}", "timeout": 30},
    "rolling": {"batch": "25%", "canary": {"hosts": ["web1"]}},
    "balancer": {"kind": "haproxy", "backend": "app", "hosts": ["lb1"]},
    "maintenance": {"by": "balancer"},
    "hooks": {"before_build": ["true"], "after_deploy": [{"command": "true", "where": "local"}]},
    "audit": {"ignore": [{"id": "PYSEC-1", "reason": "none", "expires": "2030-01-01"}]},
    "system_packages": {"apt": ["libpq5"]},
    "max_unreachable": "10%",
    "keep_releases": 5,
    "lock": {"expiry": 60},
    "stages": {
        "production": {"hosts": ["deploy@web1", {"host": "web2:2222", "primary": True}], "env": {"TOKEN": SECRET}},
    },
}
DOCUMENT: dict[str, Any] = {
    "tasks": {"executor_class": "deploy.executor.Executor"},
    "run": {"echo": False},
    "sudo": {"password": SECRET},
    "deploy": SECTION,
}

WORDS = st.sampled_from(
    ["", "stages", "deploy", "hosts", "env", "production", "..", "../../x", "/", "/etc/passwd", "a\0b", "a\nb",
     "\x1b[31m", "\ud800", "-x", "x" * 300, "off", "auto", "all", "50%", "999999999%", "{instance}", "{", "%s", "$(x)",
     "\u0661\u0662", "http://[", "http://a:99999/", "//[::1", "a@b@c", "[::1%x]:1", "1:30", "~", "~nobody/x", "items",
     "clear", "\u2028", "^(a+)+$", "[!"]
)  # fmt: skip
TEXTS = WORDS | st.text(max_size=8)
NUMBERS = st.integers(-3, 3) | st.sampled_from([1 << 62, 1 << 70, 10**400, -(10**400), 65535, 65536])
LEAVES = st.none() | st.booleans() | NUMBERS | st.floats() | TEXTS | st.dates() | st.datetimes() | st.binary(max_size=3)
KEYS = TEXTS | st.sampled_from(sorted(config.Settings.model_fields)) | st.none() | st.booleans() | st.integers(-1, 1)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))


@pytest.fixture(autouse=True, scope="module")
def _tasks_of_others() -> Iterator[None]:
    """The fabfile adds one to the tasks of the program."""
    yield
    importlib.reload(deploy.tasks)


PLACES = sorted(places(DOCUMENT), key=str)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """The document above with something else in one to three places."""
    document = copy.deepcopy(DOCUMENT)
    for place in draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=3)):
        at = holder(document, place)
        if at is None:
            continue  # the former place held it
        match draw(st.sampled_from(["replace", "remove", "rename", "add"])):
            case "replace":
                at[place[-1]] = draw(VALUES)
            case "remove":
                del at[place[-1]]
            case "rename" if isinstance(at, dict):
                at[draw(KEYS)] = at.pop(place[-1])
            case _ if isinstance(at, dict):
                at[draw(KEYS)] = draw(VALUES)
            case _:
                at.append(draw(VALUES))
    return document


class Fabric:
    """`fab` in a directory of its own, in this process."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "fabfile.py").write_text(FABFILE)

    def settle(
        self, content: bytes, name: str = "fabric.yaml", variables: dict[str, str] | None = None
    ) -> tuple[int, str]:
        """Write the file, and have its stages validated: the exit code, and what was said."""
        for suffix in ("yaml", "json"):
            (self.directory / f"fabric.{suffix}").unlink(missing_ok=True)
        (self.directory / name).write_bytes(content)
        said, kept = io.StringIO(), dict(os.environ)
        sys.modules.pop("fabfile", None)
        os.environ.update(variables or {})
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                make_program().run(["fab", "settle"])
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        finally:
            os.environ.clear()
            os.environ.update(kept)
            masking._secrets.clear()
            masking._text_mask = None
        return code, said.getvalue()


@pytest.fixture
def fabric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fabric:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["fab", "settle"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    return Fabric(tmp_path)


def _assert_answered(code: int, said: str, named: str = "fabric.yaml") -> None:
    assert code in (0, 2), said
    assert SECRET not in said
    assert "Traceback" not in said
    assert "defect" not in said
    assert said.replace("\n", "").isprintable(), said
    if code:
        assert said.startswith("error: "), said
        assert named in said or "deploy" in said, said
        assert len(said) < 20_000


def test_the_document_is_valid(fabric: Fabric) -> None:
    assert fabric.settle(_yaml.safe_dump(DOCUMENT).encode()) == (0, "settled production\n")


YAML = st.lists(
    st.sampled_from(
        ["deploy:", " ", "  ", "\n", "\t", "- ", ": ", "? ", "&a ", "*a", "<<: ", "!!python/object:os.system ", "!x ",
         "!!binary ", "!!timestamp ", "!!int ", "!!float ", "!!bool ", "!!omap ", "!!pairs ", "!!set ", "!!null ",
         "!!str ", "!!map ", "!!seq ", "%YAML 1.1\n", "%TAG ! x\n", "---\n", "...\n", "[", "]", "{", "}", ",", "|", ">",
         "'", '"', "#", "@", "`", "stages:", "production:", "hosts:", "web1", "1", ".nan", "2001-99-99", "2001-01-01",
         "0x", "1:30", "\0", "\x85", "\u2028", "\ufeff", "x"]
    )
    | st.text(max_size=4),
    max_size=14,
).map(lambda words: "".join(words).encode("utf-8", "surrogatepass"))  # fmt: skip


@BOUNDED
@given(content=YAML | st.binary(max_size=30))
@example(b"")
@example(b"deploy:\n\tstages: x")
@example(b"\xff\xfed\0")
@example(b"deploy: &a {b: *a}")
@example(b"deploy: {x: &a [*a]}")
@example(b"deploy: " + b"[" * 2_000)
@example(b"deploy: {stages: " + b"{a: " * 60 + b"1" + b"}" * 61)
@example(b"deploy: !!python/object/apply:os.system [touch planted]")
@example(b"deploy: {app: !!timestamp x}")
@example(b"deploy: {app: !!int ''}")
@example(b"deploy: {app: !!bool x}")
@example(b"deploy: {app: 2001-99-99}")
@example(b"deploy: {? [a] : 1}")
@example(b"deploy: {stages: {a: [b]}}\ndeploy: {stages: {c: [d]}}")
@example(b"deploy: {stages: {? 2001-01-01 : [b]}}")
@example(b'deploy: {"\\uD800": 1, stages: {a: [b]}}')
@example(b"run: 3\ndeploy: {stages: {a: [b]}}")
@example(b"deploy: {stage: {a: b}, stages: {a: [b]}}")
def test_a_file_of_any_content_is_answered(fabric: Fabric, content: bytes) -> None:
    _assert_answered(*fabric.settle(content))
    assert not (fabric.directory / "planted").exists()


@BOUNDED
@given(document=documents())
def test_json_with_anything_in_it_is_answered(fabric: Fabric, document: dict[str, Any]) -> None:
    content = json.dumps(document, default=str, skipkeys=True).encode()
    _assert_answered(*fabric.settle(content, "fabric.json"), "fabric.json")


@settings(BOUNDED, max_examples=10)
@given(document=documents())
def test_yaml_with_anything_in_it_is_answered(fabric: Fabric, document: dict[str, Any]) -> None:
    _assert_answered(*fabric.settle(_yaml.safe_dump(document).encode("utf-8", "surrogatepass")))


@settings(BOUNDED, max_examples=300)
@given(document=documents())
def test_a_section_with_anything_in_it_is_settings_or_one_error(document: dict[str, Any]) -> None:
    section = plain(document.get("deploy"))
    try:
        stage = config.choose_stage(section if isinstance(section, dict) else {}, "fabric.yaml")
        assert isinstance(config.load(section, stage, "fabric.yaml"), config.Settings)
    except ConfigurationError as error:
        assert "deploy" in str(error) or "stage" in str(error)
        assert SECRET not in str(error)


@pytest.mark.parametrize("kind", ["[%s]", "{%s}"])
def test_aliases_that_would_fill_the_memory_are_refused(fabric: Fabric, kind: str) -> None:
    text = "deploy:\n  a0: &a0 [x, y]\n"
    for number in range(1, 20):
        inner = ", ".join(f"{key if kind[0] == '{' else ''}*a{number - 1} " for key in ("b: ", "c: "))
        text += f"  a{number}: &a{number} {kind % inner}\n"
    code, said = fabric.settle(text.encode())
    assert code == 2
    assert "fabric.yaml: it has more than 100000 values, aliases counted" in said


def test_a_key_that_is_there_twice_is_told_with_its_line(fabric: Fabric) -> None:
    code, said = fabric.settle(b"deploy:\n  stages: {a: [b]}\n  app: x\n  app: y\n")
    assert code == 2
    assert "fabric.yaml: it cannot be read: line 4, column 3: app is there twice" in said
    code, said = fabric.settle(b'{"deploy": {"app": "x", "app": "y"}}', "fabric.json")
    assert "fabric.json: it cannot be read: app is there twice" in said


def test_merge_keys_are_no_keys_that_are_there_twice(fabric: Fabric) -> None:
    plainest = {key: SECTION[key] for key in ("app", "base_path", "deploy_user")}
    text = _yaml.safe_dump({"deploy": plainest})
    text += "  stages:\n    a: &a {hosts: [web1], env: {X: '1'}}\n    b: {<<: *a, hosts: [web1, web2]}\n"
    assert fabric.settle((text + "  default_stage: b\n").encode()) == (0, "settled b\n")


def test_a_time_that_nobody_can_wait_for_and_a_nul_are_refused(fabric: Fabric) -> None:
    wrong = {**SECTION, "connect_timeout": float("inf"), "build": [{"command": "a\0b", "timeout": 1e300}]}
    code, said = fabric.settle(_yaml.safe_dump({"deploy": wrong}).encode())
    assert code == 2
    assert "deploy.connect_timeout: input should be less than or equal to 31536000 (it is inf)" in said
    assert "deploy.build[0].timeout: input should be less than or equal to 31536000" in said
    assert "deploy.build[0].command: must not hold a NUL" in said


VARIABLES = st.sampled_from(
    ["DEPLOY_STAGE", "DEPLOY_APP", "DEPLOY_KEEP_RELEASES", "DEPLOY_ENV_DEBUG", "DEPLOY_STAGES_PRODUCTION_HOSTS",
     "RUN_ECHO", "SUDO_PASSWORD", "TASKS_EXECUTOR_CLASS", "PORT", "TIMEOUTS_CONNECT", "DEPLOY",
     "DEPLOY_MAX_UNREACHABLE", "DEPLOY_HEALTH_TIMEOUT", "DEPLOY_LOCK_EXPIRY"]
).map("FABRIC_".__add__)  # fmt: skip
GIVEN = st.sampled_from(["production", "1e999", "nan", "1", ""]) | st.binary(max_size=8).filter(
    lambda value: b"\0" not in value
).map(os.fsdecode)


@settings(BOUNDED, max_examples=30)
@given(variables=st.dictionaries(VARIABLES, GIVEN, max_size=3))
def test_variables_of_any_value_are_answered(fabric: Fabric, variables: dict[str, str]) -> None:
    content = json.dumps(DOCUMENT).encode()
    code, said = fabric.settle(content, "fabric.json", variables)
    _assert_answered(code, said, "FABRIC_" if "a variable of" in said else "fabric.json")


def test_a_variable_for_a_key_that_is_no_text_is_answered(fabric: Fabric) -> None:
    content = _yaml.safe_dump({**DOCUMENT, "deploy": {**SECTION, "since": datetime.date(2026, 1, 1)}}).encode()
    code, said = fabric.settle(content, variables={"FABRIC_DEPLOY_SINCE": "x"})
    assert code == 2
    assert "error: a variable of the environment does not fit its key" in said


def test_a_mapping_in_one_file_and_none_in_the_other_is_told(fabric: Fabric, monkeypatch: pytest.MonkeyPatch) -> None:
    (fabric.directory / "more.yaml").write_text("deploy: {lock: 3}\n")
    monkeypatch.setenv("INVOKE_RUNTIME_CONFIG", "more.yaml")
    code, said = fabric.settle(_yaml.safe_dump(DOCUMENT).encode())
    assert code == 2
    assert "more.yaml: deploy.lock: must be a mapping, as it is by default or in another file" in said
