"""Whatever another program prints, or a database of vulnerabilities holds: it is understood, or told by name.

Examples are the same in every run.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from deploy.bundle import advisories, pipaudit
from deploy.errors import CheckFailed, ConfigurationError
from deploy.hostside import haproxy, nginx, systemd
from deploy.hostside.failure import Failure
from deploy.hostside.layout import Layout

BOUNDED = settings(
    derandomize=True,
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
WORDS = st.sampled_from(
    ["", "id", "1", "x", "affected", "package", "ecosystem", "PyPI", "name", "thing", "versions", "ranges", "type",
     "ECOSYSTEM", "events", "introduced", "fixed", "0", "1.0", "aliases", "withdrawn", "schema_version", "dependencies",
     "vulns", "fix_versions", "skip_reason", "version"]
)  # fmt: skip
TEXTS = WORDS | st.text(max_size=4)
LEAVES = st.none() | st.booleans() | st.integers(-2, 2) | st.floats() | TEXTS
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=4))
LISTS = st.lists(JSON, max_size=2) | JSON
RANGES = st.lists(st.fixed_dictionaries({"type": st.just("ECOSYSTEM")}, optional={"events": LISTS}) | JSON, max_size=2)
AFFECTED = st.fixed_dictionaries(
    {"package": st.just({"ecosystem": "PyPI", "name": "thing"}) | JSON},
    optional={"versions": LISTS, "ranges": RANGES | JSON},
)
RECORDS = st.fixed_dictionaries(
    {"id": JSON},
    optional={"affected": st.lists(AFFECTED | JSON, max_size=2) | JSON, "aliases": LISTS, "withdrawn": JSON},
)


@settings(BOUNDED, max_examples=200)
@given(record=RECORDS | JSON)
@example(record={"id": "x", "affected": ["thing"]})
@example(record={"id": "x", "affected": 3})
def test_a_record_of_vulnerabilities_of_any_kind_is_understood_or_told(tmp_path: Path, record: Any) -> None:
    (tmp_path / "one.json").write_text(json.dumps(record))
    try:
        advisories.search(tmp_path, {("thing", "1.0")})
    except ConfigurationError as error:
        assert "one.json" in error.where


@settings(BOUNDED, max_examples=50)
@given(content=st.binary(max_size=30) | st.just(b"[" * 100_000))
def test_a_database_of_any_content_is_refused(tmp_path: Path, content: bytes) -> None:
    for name in ("database.zip", "one.json"):
        (tmp_path / name).write_bytes(content)
    for place in (tmp_path, tmp_path / "database.zip"):
        with pytest.raises(ConfigurationError):
            advisories.search(place, {("thing", "1.0")})


DEPENDENCIES = st.lists(
    st.fixed_dictionaries(
        {"name": st.just("thing") | JSON}, optional={"version": JSON, "vulns": LISTS, "skip_reason": JSON}
    )
    | JSON,
    max_size=2,
)


@settings(BOUNDED, max_examples=200)
@given(
    said=st.fixed_dictionaries({"dependencies": DEPENDENCIES | JSON}).map(json.dumps) | st.text(),
    code=st.integers(0, 2),
)
@example(said='{"dependencies": [{"name": "thing", "version": "1.0", "vulns": [3]}]}', code=0)
def test_whatever_pip_audit_prints_is_understood_or_told(monkeypatch: pytest.MonkeyPatch, said: str, code: int) -> None:
    monkeypatch.setattr(pipaudit, "_program", lambda: "pip-audit")
    done = subprocess.CompletedProcess(["pip-audit"], code, said, "")
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **more: done)
    try:
        pipaudit.ask({("thing", "1.0")}, "pypi")
    except CheckFailed as error:
        assert "pip-audit" in str(error) or "could not be audited: thing 1.0" in str(error)


SAID = st.lists(
    st.sampled_from(
        ["# ", "pxname", "svname", "status", "scur", ",", "\n", "app", "web1", "UP", "MAINT", "1", "-", '"', "\r",
         "srv_name", "srv_admin_state", "be_name", " ", "1\n", "x" * 140_000]
    )
    | st.text(max_size=3),
    max_size=14,
).map("".join)  # fmt: skip
HEADER = "# pxname,svname,status,scur,weight,type,addr\n"


@BOUNDED
@given(statistics=SAID | SAID.map(HEADER.__add__), states=SAID | SAID.map("1\n# srv_name srv_admin_state\n".__add__))
@example(statistics=HEADER + "app,web1", states="")
def test_whatever_haproxy_says_is_understood_or_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statistics: str, states: str
) -> None:
    monkeypatch.setattr(haproxy, "_ask", lambda address, command: statistics if command == "show stat" else states)
    try:
        haproxy.look(Layout(str(tmp_path)), "/run/haproxy.sock", "app")
    except Failure as failure:
        assert failure.kind == "balancer"


CONFIGURATION = st.lists(
    st.sampled_from(["upstream app {", "}", "\n", "server ", "web1", "web2:80", ";", " down", "#", "# mark", " "])
    | st.text(max_size=3),
    max_size=16,
).map("".join)  # fmt: skip


@BOUNDED
@given(text=CONFIGURATION, upstream=st.sampled_from(["", "app"]))
def test_any_upstream_of_nginx_is_edited_and_edited_back_or_refused(text: str, upstream: str) -> None:
    try:
        out = nginx.edited(text, "f", upstream, ["web1", "web2:80"], "# mark", taken=True)
        if "# mark" not in text:
            assert nginx.edited(out, "f", upstream, ["web1", "web2:80"], "# mark", taken=False) == text
    except Failure as failure:
        assert failure.kind == "balancer"


@BOUNDED
@given(
    said=st.binary(max_size=40)
    | st.lists(st.sampled_from(["A=", "B=", "=", "\n", "a.socket", " "])).map("".join).map(str.encode)
)
def test_whatever_systemctl_shows_is_understood(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    done = subprocess.CompletedProcess(["systemctl"], 0, said, b"")
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **more: done)
    found = systemd.show("x.service", "A", "B", of_user=False)
    assert not found or set(found) == {"A", "B"}
    assert all(name.endswith(".socket") for name in systemd.sockets_in(found.get("A", "")))
