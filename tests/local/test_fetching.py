"""Fetching over a network that fails, from indexes that want a login, a certificate, a proxy; and from repositories."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.local.packages import Index, Project, source

OPENSSL = shutil.which("openssl")
GIT = shutil.which("git")
needs_git = pytest.mark.skipif(not GIT, reason="git is not installed")
SECRET = "s3cret-word"


@pytest.fixture
def index() -> Iterator[Index]:
    served = Index()
    yield served
    served.close()


@pytest.fixture
def project(tmp_path: Path, index: Index) -> Project:
    return Project(tmp_path, index)


def large(index: Index, name: str = "large") -> str:
    """A wheel of a MiB that does not compress."""
    return index.wheel(name, "1.0", os.urandom(1 << 20))


def test_a_download_that_is_cut_off_goes_on_where_it_stopped(project: Project, index: Index) -> None:
    project.lock(large(index))
    index.cuts = 2
    assert "created: 1 wheel " in project.create()
    first, second = (int(asked.removeprefix("bytes=").rstrip("-")) for asked in index.ranges)
    assert 0 < first < second < len(index.files["large-1.0-py3-none-any.whl"])


def test_four_files_are_fetched_at_a_time(project: Project, index: Index) -> None:
    index.together = threading.Barrier(4, timeout=60)
    project.lock(*(index.wheel(name, "1.0") for name in ("one", "two", "three", "four")))
    assert "created: 4 wheels" in project.create()


def test_a_server_that_is_busy_is_asked_again(project: Project, index: Index) -> None:
    project.lock(index.wheel("one", "1.0"))
    index.refusals = [503, 502]
    assert "created: 1 wheel " in project.create()


def test_a_server_that_stays_busy_is_said(project: Project, index: Index) -> None:
    project.lock(index.wheel("one", "1.0"))
    index.refusals = [503] * 100
    said = project.create(expect=3)
    assert "error: one==1.0: the index stays busy: too many 503 error responses for /" in said


def test_a_page_may_be_json_or_html(project: Project, index: Index) -> None:
    index.json = True
    project.lock(index.wheel("one", "1.0"), index.wheel("two", "1.0"))
    assert "created: 2 wheels" in project.create()


def test_a_file_with_another_hash_than_its_page_says_is_refused(project: Project, index: Index) -> None:
    project.lock(index.wheel("one", "1.0"))
    index.json = True
    index.sha256 = lambda file: project.lock_text.rpartition("sha256:")[2].strip()  # type: ignore[method-assign]
    index.files["one-1.0-py3-none-any.whl"] += b"more"
    said = project.create(expect=3)
    assert "error: one==1.0: a file has the hash " in said
    assert "a file is not the one that was locked" in said
    assert not list(project.cache.glob("fabric-wheelhouse/wheels/*/*.whl"))


def test_where_only_the_source_is_locked_a_wheel_of_the_index_is_not_taken_for_another_machine(
    project: Project, index: Index
) -> None:
    project.target("{python: '3.11', platform: manylinux_2_31_aarch64}")
    source = index.pure_sdist()
    index.wheel("plain", "1.0")
    project.lock(source)
    assert "created: 1 wheel " in project.create()
    assert project.origin("plain")["kind"] == "sdist"

    index.pure_sdist("altered")
    shutil.rmtree(project.cache / "fabric-wheelhouse")
    assert "a file is not the one that was locked" in project.create(expect=3)


def test_a_release_that_was_withdrawn_is_taken_and_said(project: Project, index: Index) -> None:
    project.lock(index.wheel("one", "1.0"))
    index.attributes["one-1.0-py3-none-any.whl"] = 'data-yanked="it eats data"'
    assert "warning: one-1.0-py3-none-any.whl was withdrawn by its authors: it eats data" in project.create()


def test_a_release_for_another_python_is_not_taken(project: Project, index: Index) -> None:
    project.lock(index.wheel("one", "1.0"))
    index.attributes["one-1.0-py3-none-any.whl"] = 'data-requires-python="&lt;3"'
    assert "1.0 Requires-Python <3" in project.create(expect=3)


def test_everything_that_is_lacking_is_named_at_once(project: Project, index: Index) -> None:
    one, two = index.wheel("one", "1.0"), index.wheel("two", "1.0")
    del index.files["one-1.0-py3-none-any.whl"]
    index.files["two-2.0-py3-none-any.whl"] = index.files.pop("two-1.0-py3-none-any.whl")
    project.lock(one, two, index.wheel("three", "1.0"))
    said = project.create(expect=3)
    assert "error: 2 requirements cannot be fetched:\n" in said
    assert "one==1.0: no index has it, or no file of it fits" in said
    assert "two==1.0: no index has that version with a file that fits" in said
    assert "of others: 2.0" in said


def test_a_login_comes_from_netrc(project: Project, index: Index, tmp_path: Path) -> None:
    index.login = f"ana:{SECRET}"
    project.lock(index.wheel("one", "1.0"))
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login ana password {SECRET}\n")
    assert "created: 1 wheel " in project.create(NETRC=str(netrc))


def test_without_a_login_it_is_said_where_one_is_looked_for(project: Project, index: Index, tmp_path: Path) -> None:
    index.login = f"ana:{SECRET}"
    project.lock(index.wheel("one", "1.0"))
    said = project.create(expect=3, NETRC=str(tmp_path / "netrc"))
    assert "HTTP 401" in said
    assert "a login comes from the URL of the index, or from ~/.netrc (or the file that NETRC names)" in said


def test_a_login_in_a_url_is_used_and_never_shown(project: Project, index: Index) -> None:
    index.login = f"ana:{SECRET}"
    project.configure(index={"url": f"http://ana:{SECRET}@127.0.0.1:{index.port}/simple/"})
    project.write(index.wheel("one", "1.0"))
    said = project.create()
    index.login = f"ana:{SECRET}-changed"
    project.write(index.wheel("one", "2.0"))
    said += project.create(expect=3)
    index.close()
    project.write(index.wheel("one", "3.0"))
    said += project.create(expect=3)
    assert "created: 1 wheel " in said
    assert "HTTP 401" in said
    assert "is the index in reach?" in said
    assert SECRET not in said
    kept = [path for path in project.cache.rglob("*") if path.is_file() and path.suffix != ".whl"]
    assert kept
    assert not [path for path in kept if SECRET in path.read_text(errors="replace")]


def test_a_login_of_the_lock_file_may_be_a_variable(project: Project, index: Index) -> None:
    index.login = f"ana:{SECRET}"
    place = f"--index-url http://ana:${{INDEX_PASSWORD}}@127.0.0.1:{index.port}/simple/\n"
    project.write(place, index.wheel("one", "1.0"))
    assert "names the variable INDEX_PASSWORD, and it is not set" in project.create(expect=2)
    assert "created: 1 wheel " in project.create(INDEX_PASSWORD=SECRET)


@pytest.mark.skipif(not OPENSSL, reason="openssl is not installed")
def test_a_certificate_of_ones_own_is_trusted_where_it_is_configured(tmp_path: Path) -> None:
    certificate, key = tmp_path / "ca.pem", tmp_path / "key.pem"
    subprocess.run(
        [str(OPENSSL), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        capture_output=True, check=True,
    )  # fmt: skip
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    index = Index(context)
    try:
        project = Project(tmp_path, index)
        project.lock(index.wheel("one", "1.0"))
        said = project.create(expect=3)
        assert "the connection is not trusted" in said
        assert "index: {ca: FILE}" in said
        project.configure(index={"ca": "../ca.pem"})
        assert "created: 1 wheel " in project.create()
        project.configure(index={"ca": "../none.pem"})
        project.lock(index.wheel("one", "2.0"))
        assert "deploy.index.ca: there is no file" in project.create(expect=2)
    finally:
        index.close()


class Proxy:
    """A proxy for http that remembers what it was asked for, and wants a login if it has one."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                proxy.asked.append(self.path)
                # The name is one that only a proxy knows.
                with urlopen(self.path.replace("index.invalid", "127.0.0.1")) as answer:
                    content = answer.read()
                    self.send_response(200)
                    self.send_header("Content-Type", answer.headers["Content-Type"])
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.parametrize("how", ["configuration", "environment"])
def test_a_proxy_is_used(project: Project, index: Index, how: str) -> None:
    proxy = Proxy()
    try:
        place = f"http://index.invalid:{index.port}/simple"
        settings = {"url": place} | ({"proxy": proxy.url} if how == "configuration" else {})
        project.configure(index=settings)
        project.write(index.wheel("one", "1.0"))
        variables = {"http_proxy": proxy.url} if how == "environment" else {}
        assert "created: 1 wheel " in project.create(**variables)
        assert f"{place}/one/" in proxy.asked
    finally:
        proxy.close()


def test_a_directory_of_wheels_is_enough_and_no_index_is_asked(project: Project, index: Index, tmp_path: Path) -> None:
    line = index.wheel("one", "1.0")
    wheels = tmp_path / "my wheels"
    wheels.mkdir()
    (wheels / "one-1.0-py3-none-any.whl").write_bytes(index.files["one-1.0-py3-none-any.whl"])
    project.configure(index={"find_links": ["../my wheels"]})
    project.write("--no-index\n", line)
    assert "created: 1 wheel " in project.create()
    assert not index.asked


def test_a_page_of_links_and_another_index_are_asked_as_well(project: Project, index: Index) -> None:
    other = Index()
    try:
        one, two = index.wheel("one", "1.0"), other.wheel("two", "1.0")
        project.configure(index={"url": index.url, "extra_urls": [other.url], "find_links": [f"{index.url}one/"]})
        project.write(one, two)
        assert "created: 2 wheels" in project.create()
        assert project.origin("two")["index"] == other.url
    finally:
        other.close()


def test_pips_own_configuration_counts_where_it_is_said(project: Project, index: Index) -> None:
    project.configure(index={"url": "http://127.0.0.1:9/simple"})
    project.write(index.wheel("one", "1.0"))
    said = project.create(expect=3, PIP_EXTRA_INDEX_URL=index.url)
    assert "index: {ambient: true} in fabric.yaml asks them" in said
    assert not index.asked
    project.configure(index={"ambient": True})
    assert "created: 1 wheel " in project.create(PIP_INDEX_URL=index.url)


def test_uvs_own_configuration_counts_where_it_is_said(project: Project, index: Index, tmp_path: Path) -> None:
    settings = tmp_path / "uv.toml"
    settings.write_text(f'[[index]]\nurl = "{index.url}"\ndefault = true\n')
    project.configure(index={"ambient": True})
    project.write(index.wheel("one", "1.0"))
    assert "created: 1 wheel " in project.create(UV_CONFIG_FILE=str(settings))


def test_a_requirement_without_a_hash_is_fetched_and_recorded_where_that_is_allowed(
    project: Project, index: Index
) -> None:
    line = index.wheel("one", "1.0")
    project.configure(hashes="warn")
    project.lock("one==1.0\n")
    said = project.create()
    value = line.strip().rpartition(":")[2]
    assert "warning: requirements.txt:2: one==1.0: no hash" in said
    assert f"warning: one==1.0: no hash was locked; one-1.0-py3-none-any.whl has --hash=sha256:{value}" in said
    assert project.manifest()["one"]["sha256"] == value
    index.close()
    assert "is there already" in project.create()


def test_a_file_by_its_url_is_fetched(project: Project, index: Index) -> None:
    line = index.wheel("one", "1.0").partition(" ")[2]
    project.lock(f"one @ http://127.0.0.1:{index.port}/files/one-1.0-py3-none-any.whl {line}")
    assert "created: 1 wheel " in project.create()
    assert index.asked == ["/files/one-1.0-py3-none-any.whl"]


def test_an_interrupt_does_not_wait_for_a_server_that_says_nothing(project: Project, index: Index) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        project.configure(index={"url": f"http://127.0.0.1:{silent.getsockname()[1]}/simple"})
        project.write(index.wheel("one", "1.0"))
        process = project.start("create-bundle")
        connection, _ = silent.accept()
        start = time.monotonic()
        process.terminate()
        said, _ = process.communicate(timeout=100)
        connection.close()
    assert process.returncode == 130, said
    assert time.monotonic() - start < 10
    assert "Traceback" not in said


def commit(directory: Path) -> str:
    git = [str(GIT), "-C", str(directory), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "--all"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message=one"], check=True)
    said = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return said.stdout.strip()


@needs_git
def test_a_commit_of_a_repository_is_built_once_and_its_origin_recorded(
    project: Project, index: Index, tmp_path: Path
) -> None:
    at = commit(source(tmp_path / "repo", "fromgit"))
    project.lock(f"fromgit @ git+file://{tmp_path}/repo@{at}\n")
    assert "created: 1 wheel " in project.create()
    origin = project.origin("fromgit")
    assert (origin["kind"], origin["url"], origin["revision"]) == ("vcs", f"file://{tmp_path}/repo", at)
    assert (origin["builder"], set(origin["tools"])) == ("native", {"compiler", "python"})
    shutil.rmtree(tmp_path / "repo")
    project.lock(f"fromgit @ git+file://{tmp_path}/repo@{at}\n", index.wheel("one", "1.0"))
    assert "created: 2 wheels" in project.create()


@needs_git
def test_a_branch_is_refused_by_name_or_resolved_and_said(project: Project, tmp_path: Path) -> None:
    at = commit(source(tmp_path / "repo", "fromgit"))
    subprocess.run([str(GIT), "-C", str(tmp_path / "repo"), "branch", "stable"], check=True)
    project.lock(f"git+file://{tmp_path}/repo@stable#egg=fromgit\n")
    said = project.create(expect=3)
    assert f"requirements.txt:2: git+file://{tmp_path}/repo@stable#egg=fromgit: stable is no commit" in said
    project.configure(hashes="warn")
    assert f"no commit was locked; stable is {at}" in project.create()
    assert project.origin("fromgit")["revision"] == at


@needs_git
def test_a_directory_of_a_repository_is_built(project: Project, tmp_path: Path) -> None:
    source(tmp_path / "repo/lib/inner", "inner")
    at = commit(tmp_path / "repo")
    project.lock(f"git+file://{tmp_path}/repo@{at}#egg=inner&subdirectory=lib/inner\n")
    assert "created: 1 wheel " in project.create()
    assert project.origin("inner")["revision"] == at


@pytest.mark.parametrize("line", ["./lib", "-e ./lib", "-e lib", "inner @ {lib}", "./lib ; python_version >= '3'"])
def test_a_directory_is_built_and_left_as_it_was(project: Project, line: str) -> None:
    lib = source(project.directory / "lib", "inner")
    project.lock(line.replace("{lib}", lib.as_uri()) + "\n")
    assert "created: 1 wheel " in project.create()
    assert project.origin("inner")["kind"] == "path"
    assert sorted(path.name for path in lib.iterdir()) == ["backend.py", "code.py", "pyproject.toml"]


def test_a_directory_is_built_again_when_it_changed_and_only_then(project: Project) -> None:
    lib = source(project.directory / "lib", "inner")
    project.lock("./lib\n")
    assert "created: 1 wheel " in project.create()
    assert "is there already: 1 wheel" in project.create()
    (lib / "code.py").write_text("def main():\n    print('two')\n")
    assert "created: 1 wheel " in project.create()
    (lib / "code.py").write_text("def main():\n    print('one')\n")
    assert "is there already: 1 wheel" in project.create()


def test_the_app_itself_is_built_where_it_is_a_package(project: Project, index: Index) -> None:
    source(project.directory, "theapp")
    project.configure(package=True)
    project.lock(index.wheel("one", "1.0"), "-e .\n")
    assert "created: 2 wheels" in project.create()
    assert project.origin("theapp")["kind"] == "path"


def test_an_app_that_cannot_be_built_is_said(project: Project, index: Index) -> None:
    project.configure(package=True)
    project.lock(index.wheel("one", "1.0"))
    assert "there is no pyproject.toml or setup.py in it, so it cannot be built" in project.create(expect=2)
