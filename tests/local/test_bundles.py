"""`fab create-bundle` with a package index on loopback that is watched: what is fetched, built and refused."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deploy.bundle import Target
from tests.local.conftest import FAB

CC = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
HEADER = Path(sysconfig.get_path("include")) / "Python.h"
needs_compiler = pytest.mark.skipif(not (CC and HEADER.exists()), reason="no C compiler, or no headers of Python")

# A build backend that lies in the sdist itself (PEP 517, "In-tree build backends") and needs nothing but a C compiler.
BACKEND = """\
import os, subprocess, sysconfig, zipfile

def _metadata(name, tag):
    return {
        "%s-1.0.dist-info/METADATA" % name: "Metadata-Version: 2.1\\nName: %s\\nVersion: 1.0\\n" % name,
        "%s-1.0.dist-info/WHEEL" % name: "Wheel-Version: 1.0\\nRoot-Is-Purelib: false\\nTag: %s\\n" % tag,
        "%s-1.0.dist-info/RECORD" % name: "",
    }

def _tag():
    minor = "cp" + sysconfig.get_python_version().replace(".", "")
    return "%s-%s-%s" % (minor, minor, sysconfig.get_platform().replace("-", "_").replace(".", "_"))

def prepare_metadata_for_build_wheel(directory, settings=None):
    for path, text in _metadata("native", _tag()).items():
        os.makedirs(os.path.dirname(os.path.join(directory, path)), exist_ok=True)
        with open(os.path.join(directory, path), "w") as stream:
            stream.write(text)
    return "native-1.0.dist-info"

def build_wheel(directory, settings=None, metadata=None):
    module = "native" + sysconfig.get_config_var("EXT_SUFFIX")
    subprocess.check_call(["cc", "-shared", "-fPIC", "-I", sysconfig.get_path("include"), "-o", module, "native.c"])
    name = "native-1.0-%s.whl" % _tag()
    with zipfile.ZipFile(os.path.join(directory, name), "w") as archive:
        archive.write(module)
        for path, text in _metadata("native", _tag()).items():
            archive.writestr(path, text)
    return name
"""
C = """\
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "native"};
PyMODINIT_FUNC PyInit_native(void) { return PyModule_Create(&module); }
"""


class Index:
    """A package index (PyPA, "Simple repository API") that remembers what it was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = index.answer(self.path)
                self.send_response(200 if content is not None else 404)
                self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/simple/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, path: str) -> bytes | None:
        self.asked.append(path)
        kind, name = path.strip("/").split("/")
        if kind == "files":
            return self.files.get(name)
        links = [f'<a href="/files/{file}">{file}</a>' for file in self.files if file.startswith(f"{name}-")]
        return "\n".join(links).encode() if links else None

    @property
    def fetched(self) -> list[str]:
        """The files that were downloaded."""
        return [path.removeprefix("/files/") for path in self.asked if path.startswith("/files/")]

    def wheel(self, name: str, version: str) -> str:
        """Publish a wheel; its line for the lock file."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            information = f"{name}-{version}.dist-info"
            archive.writestr(f"{name}.py", f"version = {version!r}\n")
            archive.writestr(f"{information}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            archive.writestr(
                f"{information}/WHEEL",
                "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            )
            archive.writestr(f"{information}/RECORD", "")
        return self._publish(f"{name}-{version}-py3-none-any.whl", buffer.getvalue(), f"{name}=={version}")

    def lying_wheel(self) -> str:
        """Publish a wheel that holds a program, and whose tag says that it fits any platform; its line."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.write(sys.executable, "liar/program")
            archive.writestr("liar-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: liar\nVersion: 1.0\n")
            archive.writestr("liar-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            archive.writestr("liar-1.0.dist-info/RECORD", "")
        return self._publish("liar-1.0-py3-none-any.whl", buffer.getvalue(), "liar==1.0")

    def sdist(self, source: str = C, backend: str = BACKEND) -> str:
        """Publish the source distribution ``native-1.0.tar.gz``; its line for the lock file."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for name, text in {
                "PKG-INFO": "Metadata-Version: 2.1\nName: native\nVersion: 1.0\n",
                "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
                "backend.py": backend,
                "native.c": source,
            }.items():
                member = tarfile.TarInfo(f"native-1.0/{name}")
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))
        return self._publish("native-1.0.tar.gz", buffer.getvalue(), "native==1.0")

    def _publish(self, filename: str, content: bytes, requirement: str) -> str:
        self.files[filename] = content
        return f"{requirement} --hash=sha256:{hashlib.sha256(content).hexdigest()}\n"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Project:
    """A directory with a lock file, and a wheelhouse of its own; no host is needed, as the target is this machine."""

    def __init__(self, directory: Path, index: Index) -> None:
        self.directory = directory / "app"
        self.cache = directory / "cache"
        self.index = index
        self.directory.mkdir()
        (self.directory / "fabfile.py").write_text("from deploy import ns\n")
        self.target("local")

    def target(self, target: str, more: str = "") -> None:
        (self.directory / "fabric.yaml").write_text(
            f"deploy: {{app: x, base_path: /srv/x, target: {target}, {more} stages: {{s: [nowhere.invalid]}}}}\n"
        )

    def lock(self, *lines: str) -> None:
        (self.directory / "requirements.txt").write_text(f"--index-url {self.index.url}\n" + "".join(lines))

    def create(self, expect: int = 0) -> str:
        return self.fab("create-bundle", expect=expect)

    def fab(self, *words: str | Path, expect: int = 0, **variables: str) -> str:
        """What `fab WORDS` says, with its own wheelhouse and home, and some variables besides."""
        own = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "SSH_", "SOURCE_DATE"))}
        environment = {
            **own, "XDG_CACHE_HOME": str(self.cache), "HOME": str(self.cache.parent), "PIP_CONFIG_FILE": os.devnull,
            "PIP_RETRIES": "1", **variables,
        }  # fmt: skip
        done = subprocess.run(
            [FAB, *words],
            cwd=self.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == expect, done.stdout
        assert "Traceback" not in done.stdout, done.stdout
        return done.stdout


@pytest.fixture
def index() -> Iterator[Index]:
    served = Index()
    yield served
    served.close()


@pytest.fixture
def project(tmp_path: Path, index: Index) -> Project:
    return Project(tmp_path, index)


def test_one_changed_requirement_fetches_that_wheel_and_nothing_else(project: Project, index: Index) -> None:
    first, second, third = index.wheel("one", "1.0"), index.wheel("two", "1.0"), index.wheel("three", "1.0")
    project.lock(first, second, third)
    assert "created: 3 wheels" in project.create()
    index.asked.clear()
    project.lock(first, index.wheel("two", "2.0"), third)
    assert "created: 3 wheels" in project.create()
    assert index.fetched == ["two-2.0-py3-none-any.whl"]
    assert {path for path in index.asked if path.startswith("/simple/")} == {"/simple/two/"}


def test_a_bundle_that_exists_needs_no_index(project: Project, index: Index) -> None:
    project.lock(index.wheel("one", "1.0"))
    project.create()
    index.close()
    assert "is there already: 1 wheel" in project.create()


def test_a_former_lock_file_needs_no_index_either(project: Project, index: Index) -> None:
    former = index.wheel("one", "1.0")
    project.lock(former)
    project.create()
    project.lock(former, index.wheel("two", "1.0"))
    project.create()
    index.close()
    project.lock("# going back\n", former)
    assert "is there already" in project.create()


def test_an_altered_manifest_is_made_again_and_said(project: Project, index: Index) -> None:
    project.lock(index.wheel("one", "1.0"))
    project.create()
    (manifest,) = project.cache.glob("fabric-wheelhouse/bundles/*.json")
    former = manifest.read_text()
    manifest.write_text(former.replace('"size": ', '"size": 1'))
    said = project.create()
    assert f"warning: {manifest}: the manifest was altered" in said
    assert "the bundle is made again" in said
    assert manifest.read_text() == former
    assert "warning" not in project.create()


def test_the_manifest_of_another_lock_file_is_not_taken_for_this_ones(project: Project, index: Index) -> None:
    one, two = index.wheel("one", "1.0"), index.wheel("two", "1.0")
    project.lock(one)
    project.create()
    (manifest,) = project.cache.glob("fabric-wheelhouse/bundles/*.json")
    project.lock(one, two)
    project.create()
    (other,) = set(project.cache.glob("fabric-wheelhouse/bundles/*.json")) - {manifest}
    shutil.copy(manifest, other)
    said = project.create()
    assert f"warning: {other}: the manifest is that of another lock file or target" in said
    assert "created: 2 wheels" in said


def test_a_damaged_wheel_is_fetched_again_and_said(project: Project, index: Index) -> None:
    project.lock(index.wheel("one", "1.0"))
    project.create()
    (wheel,) = project.cache.glob("fabric-wheelhouse/wheels/*/*.whl")
    wheel.write_bytes(b"cut off")
    index.asked.clear()
    assert f"warning: {wheel}: the wheel is damaged" in project.create()
    assert index.fetched == [wheel.name]
    assert "is there already: 1 wheel" in project.create()


def test_an_index_that_is_gone_is_said(project: Project, index: Index) -> None:
    project.lock(index.wheel("one", "1.0"))
    index.close()
    said = project.create(expect=3)
    assert "one==1.0" in said
    assert "is the index in reach?" in said


def test_a_wheel_that_is_not_the_locked_one_is_refused_by_name(project: Project, index: Index) -> None:
    project.lock(index.wheel("one", "1.0"))
    index.files["one-1.0-py3-none-any.whl"] += b"more"
    said = project.create(expect=3)
    assert "one==1.0" in said
    assert "a file is not the one that was locked" in said


def test_a_requirement_without_a_hash_is_refused_by_name(project: Project, index: Index) -> None:
    project.lock(index.wheel("one", "1.0"), "two==1.0\n")
    assert "requirements.txt:3: two==1.0: no hash" in project.create(expect=3)
    assert not index.asked


@needs_compiler
def test_a_source_distribution_is_built_once(project: Project, index: Index) -> None:
    native = index.sdist()
    project.lock(native)
    assert "created: 1 wheel " in project.create()
    (made,) = project.cache.glob("fabric-wheelhouse/wheels/*/native-1.0-*.whl")
    assert any(name.endswith(".so") for name in zipfile.ZipFile(made).namelist())
    index.asked.clear()
    project.lock(native, index.wheel("one", "1.0"))
    assert "created: 2 wheels" in project.create()
    assert index.fetched == ["one-1.0-py3-none-any.whl"]


@needs_compiler
def test_a_source_distribution_that_is_not_the_locked_one_is_not_built(project: Project, index: Index) -> None:
    project.lock(index.sdist())
    index.sdist(C + "/* altered */\n")
    said = project.create(expect=3)
    assert "native==1.0" in said
    assert "a file is not the one that was locked" in said
    assert not list(project.cache.glob("fabric-wheelhouse/wheels/*/native-*"))


@needs_compiler
def test_a_build_that_fails_shows_what_the_compiler_said(project: Project, index: Index) -> None:
    project.lock(index.sdist(C.replace("PyModule_Create(&module)", "no_such_thing(&module)") + "#error broken here\n"))
    said = project.create(expect=3)
    assert said.count("error: native-1.0.tar.gz could not be built for ") == 1
    assert "broken here" in said
    assert "native.c" in said


@needs_compiler
def test_a_build_that_fails_before_it_compiles_names_the_package(project: Project, index: Index) -> None:
    project.lock(index.sdist(backend="raise SystemExit('this needs the moon')\n"))
    said = project.create(expect=3)
    assert "error: native could not be built\n  | this needs the moon\n" in said


def test_what_has_only_a_source_distribution_is_refused_for_a_foreign_target(project: Project, index: Index) -> None:
    project.target("{python: '3.12', platform: manylinux_2_36_armv7l}")
    project.lock(index.sdist(), index.wheel("one", "1.0"))
    said = project.create(expect=3)
    assert "no wheel for cp312-manylinux_2_36_armv7l: native 1.0" in said
    assert "  native: this machine is " in said
    assert "  zig: " in said
    assert "they have to be built from source: run fab create-bundle on a machine like the hosts," in said
    assert "configure another builder (deploy.builders), or lock versions that have wheels" in said


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux's compiled files are read")
def test_a_wheel_that_is_not_what_its_name_says_is_refused_unless_accepted(project: Project, index: Index) -> None:
    project.lock(index.lying_wheel(), index.wheel("one", "1.0"))
    said = project.create(expect=3)
    assert "liar 1.0: liar/program: compiled for " in said
    assert "name the project in deploy.accept_wheels" in said
    project.target("local", "accept_wheels: [Liar],")
    said = project.create()
    assert "warning: liar 1.0: liar/program: compiled for " in said
    assert "created: 2 wheels" in said


@needs_compiler
def test_what_built_a_wheel_is_told_and_kept(project: Project, index: Index) -> None:
    project.lock(index.sdist())
    assert "native 1.0: built from source by native" in project.create()
    (kept,) = project.cache.glob("fabric-wheelhouse/bundles/*.json")
    document = json.loads(kept.read_text())["wheels"][0]["origin"]
    assert (document["builder"], document["grafted"]) == ("native", [])
    assert document["tools"]["python"].startswith(Target.local().python)


def test_builders_of_the_configuration_are_checked_by_name(project: Project, index: Index) -> None:
    project.lock(index.wheel("one", "1.0"))
    for wrong, said in {
        "[magic]": "deploy.builders[0].magic: unknown key",
        "[{native: {}, zig: {}}]": "must be one of native, zig, host and container",
        "[{host: '-oProxyCommand=x'}]": "deploy.builders[0].host.address: must look like",
        "[{container: {image: '--privileged'}}]": "deploy.builders[0].container.image: ",
    }.items():
        project.target("local", f"builders: {wrong},")
        assert said in project.create(expect=2)
    project.target("local", "builders: [zig, {native: }, {host: {address: build@example.org}}, container],")
    project.create()
