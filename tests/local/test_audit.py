"""`fab audit` against a database made by hand, and by the real pip-audit against a service made by hand."""

from __future__ import annotations

import json
import threading
import zipfile
from collections.abc import Iterator
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.local.packages import Index, Project
from tests.local.test_bundle_tasks import configure

TOMORROW, TODAY = str(date.today() + timedelta(days=1)), str(date.today())


def record(name: str, package: str, *events: dict[str, str], **more: Any) -> dict[str, Any]:
    affected = {
        "package": {"ecosystem": "PyPI", "name": package},
        "ranges": [{"type": "ECOSYSTEM", "events": list(events)}],
    }
    return {"schema_version": "1.6.0", "id": name, "aliases": [f"CVE-{name}"], "affected": [affected], **more}


HOLE = record("PYSEC-1", "One", {"introduced": "0"}, {"fixed": "1.1"})
MENDED = record("PYSEC-2", "two", {"introduced": "0"}, {"fixed": "0.9"})
WITHDRAWN = record("PYSEC-3", "two", {"introduced": "0"}, withdrawn="2026-01-01T00:00:00Z")
FOREIGN = {"id": "RUST-1", "affected": [{"package": {"ecosystem": "crates.io", "name": "two"}, "versions": ["1.0"]}]}


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Project]:
    """A project with a bundle of one 1.0 and two 1.0."""
    index = Index()
    made = Project(tmp_path, index)
    made.lock(index.wheel("one", "1.0"), index.wheel("two", "1.0"))
    made.create()
    yield made
    index.close()


def database(app: Project, *records: dict[str, Any]) -> None:
    folder = app.directory / "osv/PyPI"
    folder.mkdir(parents=True)
    for each in records:
        (folder / f"{each['id']}.json").write_text(json.dumps(each))


def audited(app: Project, expect: int, **keys: Any) -> str:
    configure(app, audit=keys)
    return app.fab("audit", expect=expect)


# --- a local database ---


def test_what_is_known_is_told_with_the_version_that_mends_it(app: Project) -> None:
    database(app, HOLE, MENDED, WITHDRAWN, FOREIGN)
    said = audited(app, 5, database="osv")
    assert "one      1.0      PYSEC-1        CVE-PYSEC-1    1.1" in said
    assert "1 known vulnerability in 1 package" in said
    assert "PYSEC-2" not in said
    assert "PYSEC-3" not in said
    assert "2 packages audited by" in said
    assert "(4 records)" in said


def test_a_zip_file_of_records_is_a_database_too(app: Project) -> None:
    with zipfile.ZipFile(app.directory / "all.zip", "w") as archive:
        archive.writestr("PYSEC-1.json", json.dumps(HOLE))
    assert "PYSEC-1" in audited(app, 5, database="all.zip")


def test_nothing_known_is_exit_0(app: Project) -> None:
    database(app, MENDED)
    audited(app, 0, database="osv")


def test_what_is_borne_does_not_count_until_its_day(app: Project) -> None:
    database(app, HOLE)
    entry = {"id": "cve-pysec-1", "reason": "the function is not used"}
    said = audited(app, 0, database="osv", ignore=[{**entry, "expires": TOMORROW}])
    assert f"one 1.0: cve-pysec-1 is borne until {TOMORROW}: the function is not used" in said
    said = audited(app, 5, database="osv", ignore=[{**entry, "expires": TODAY}])
    assert f"warning: deploy.audit.ignore: cve-pysec-1 was borne until {TODAY}" in said
    assert "nothing was found that CVE-2" in audited(
        app, 5, database="osv", ignore=[{"id": "CVE-2", "reason": "x", "expires": TOMORROW}]
    )
    assert "deploy.audit.ignore[0].reason: is missing" in audited(
        app, 2, database="osv", ignore=[{"id": "x", "expires": TOMORROW}]
    )


def test_a_database_that_is_not_there_empty_or_damaged_does_not_pass(app: Project) -> None:
    assert "cannot be read" in audited(app, 2, database="osv")
    (app.directory / "osv").mkdir()
    assert "there is no OSV record in it" in audited(app, 2, database="osv")
    database(app, MENDED)
    (app.directory / "osv/half.json").write_text('{"id": "PYS')
    assert "half.json: this is no OSV record" in audited(app, 2, database="osv")
    (app.directory / "osv/half.json").write_text('{"schema_version": "2.0", "id": "x"}')
    assert "this is no OSV record of format 1" in audited(app, 2, database="osv")


def test_without_a_bundle_there_is_nothing_to_audit(app: Project) -> None:
    app.lock(app.index.wheel("three", "1.0"))
    assert "fab create-bundle makes it" in audited(app, 2, database="osv")


# --- pip-audit ---


class Service:
    """Answers as api.osv.dev does (OSV API 1, ``POST /v1/query``)."""

    def __init__(self, *records: dict[str, Any], status: int = 200) -> None:
        self.asked: list[str] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                name = query["package"]["name"]
                service.asked.append(name)
                found = [each for each in records if each["affected"][0]["package"]["name"].lower() == name]
                body = json.dumps({"vulns": found} if found else {}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1/query"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def pip_audit() -> None:
    pytest.importorskip("pip_audit", reason="requirements-dev.txt is not installed; CI installs it")


@pytest.mark.usefixtures("pip_audit")
def test_pip_audit_is_asked_for_all_but_the_private_packages(app: Project) -> None:
    service = Service({**HOLE, "affected": [{**HOLE["affected"][0], "package": {"ecosystem": "PyPI", "name": "one"}}]})
    said = audited(app, 5, service="osv", url=service.url)
    assert "one      1.0      PYSEC-1        CVE-PYSEC-1    1.1" in said
    assert sorted(service.asked) == ["one", "two"]
    service.asked.clear()
    assert "1 package audited by pip-audit (osv)" in audited(app, 0, service="osv", url=service.url, private=["One"])
    assert service.asked == ["two"]
    service.close()


@pytest.mark.usefixtures("pip_audit")
def test_a_service_that_is_out_of_reach_or_sick_does_not_pass(app: Project) -> None:
    service = Service(status=503)
    assert "the audit did not take place" in audited(app, 5, service="osv", url=service.url)
    service.close()
    said = audited(app, 5, service="osv", url=service.url)
    assert "the audit did not take place" in said
    assert "Connection refused" in said
    assert "is the service in reach?" in said


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ('{"dependencies": []}', "2 of 2 packages could not be audited: one 1.0, two 1.0"),
        (
            '{"dependencies": [{"name": "one", "version": "1.0", "vulns": []},'
            ' {"name": "two", "skip_reason": "not found on PyPI"}]}',
            "1 of 2 packages could not be audited: two 1.0\n  | two: not found on PyPI",
        ),
        ("", "the audit did not take place"),
        ("[]", "the audit did not take place"),
    ],
)
def test_an_exit_code_of_0_alone_does_not_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, said: str
) -> None:
    from deploy.bundle import pipaudit
    from deploy.errors import CheckFailed

    program = tmp_path / "pip-audit"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\n")
    program.chmod(0o755)
    monkeypatch.setattr(pipaudit, "_program", lambda: str(program))
    with pytest.raises(CheckFailed) as caught:
        pipaudit.ask(frozenset({("one", "1.0"), ("two", "1.0")}), "pypi")
    assert said in str(caught.value)
