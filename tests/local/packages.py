"""A package index on loopback that is watched and can be made to fail, and a project that gets its wheels from it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import ssl
import subprocess
import sys
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.fab import FAB, fab

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
    """A package index (PyPA, "Simple repository API") that remembers what it was asked for.

    :ivar ranges: the ranges of bytes that were asked for.
    :ivar cuts: how often a file is cut off in the middle from now on.
    :ivar refusals: statuses that are answered instead, one after the other, to requests for files.
    :ivar login: who may ask, `user:password`; '' for everybody.
    :ivar json: whether pages are JSON (PEP 691).
    :ivar attributes: of a file's link, such as ``data-yanked``.
    :ivar together: who asks for a file waits there until as many have asked as it is made for.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.ranges: list[str] = []
        self.cuts = 0
        self.refusals: list[int] = []
        self.login = ""
        self.json = False
        self.attributes: dict[str, str] = {}
        self.together: threading.Barrier | None = None
        index = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if index.login and self.headers.get("Authorization") != index.basic:
                    self.plain(401)
                    return
                is_file = self.path.startswith("/files/")
                if is_file and index.together:
                    index.together.wait()
                if is_file and index.refusals:
                    self.plain(index.refusals.pop(0))
                    return
                content = index.answer(self.path)
                if content is None:
                    self.plain(404)
                    return
                start = 0
                if asked := self.headers.get("Range"):
                    index.ranges.append(asked)
                    start = int(asked.removeprefix("bytes=").rstrip("-"))
                    if start >= len(content):
                        self.plain(416)
                        return
                self.send_response(206 if start else 200)
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
                page = "application/vnd.pypi.simple.v1+json" if index.json else "text/html"
                self.send_header("Content-Type", "application/octet-stream" if is_file else page)
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                if is_file and index.cuts:
                    index.cuts -= 1
                    self.wfile.write(content[start : start + (len(content) - start) // 2])
                    self.close_connection = True
                    return
                self.wfile.write(content[start:])

            def plain(self, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.url = f"{'https' if context else 'http'}://127.0.0.1:{self.port}/simple/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, path: str) -> bytes | None:
        self.asked.append(path)
        kind, name = path.strip("/").split("/")
        if kind == "files":
            return self.files.get(name)
        own = [file for file in self.files if file.startswith(f"{name}-")]
        if self.json:
            files = [
                {"filename": file, "url": f"/files/{file}", "hashes": {"sha256": self.sha256(file)}} for file in own
            ]
            document = {"meta": {"api-version": "1.0"}, "name": name, "files": files}
            return json.dumps(document).encode() if own else None
        links = [f'<a href="/files/{file}" {self.attributes.get(file, "")}>{file}</a>' for file in own]
        return "\n".join(links).encode() if links else None

    @property
    def basic(self) -> str:
        return f"Basic {base64.b64encode(self.login.encode()).decode()}"

    def sha256(self, file: str) -> str:
        return hashlib.sha256(self.files[file]).hexdigest()

    @property
    def fetched(self) -> list[str]:
        """The files that were downloaded."""
        return [path.removeprefix("/files/") for path in self.asked if path.startswith("/files/")]

    def wheel(self, name: str, version: str, data: bytes = b"") -> str:
        """Publish a wheel, with *data* in it; its line for the lock file."""
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
            archive.writestr(f"{name}.dat", data)
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
        table = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        return self._sdist("native", {"pyproject.toml": table, "backend.py": backend, "native.c": source})

    def pure_sdist(self, code: str = "") -> str:
        """Publish the source distribution ``plain-1.0.tar.gz``, Python alone; its line for the lock file."""
        files = {"pyproject.toml": MODULE.format(name="plain"), "backend.py": PURE_BACKEND, "code.py": code}
        return self._sdist("plain", files)

    def _sdist(self, name: str, files: dict[str, str]) -> str:
        buffer = io.BytesIO()
        information = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for file, text in {"PKG-INFO": information, **files}.items():
                member = tarfile.TarInfo(f"{name}-1.0/{file}")
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))
        return self._publish(f"{name}-1.0.tar.gz", buffer.getvalue(), f"{name}==1.0")

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

    def target(self, target: str, more: str = "", **keys: object) -> None:
        """Write the configuration."""
        keys = {"app": "x", "base_path": "/srv/x", **keys}
        more += "".join(f"{key}: {json.dumps(value)}, " for key, value in keys.items())
        (self.directory / "fabric.yaml").write_text(
            f"deploy: {{{more}target: {target}, stages: {{s: [nowhere.invalid]}}}}\n"
        )

    def configure(self, **keys: object) -> None:
        self.target("local", **keys)

    def lock(self, *lines: str) -> None:
        self.write(f"--index-url {self.index.url}\n", *lines)

    def write(self, *lines: str) -> None:
        """A lock file that names no index."""
        (self.directory / "requirements.txt").write_text("".join(lines))

    @property
    def lock_text(self) -> str:
        return (self.directory / "requirements.txt").read_text()

    def create(self, expect: int = 0, **variables: str) -> str:
        return self.fab("create-bundle", expect=expect, **variables)

    def manifest(self) -> dict[str, Any]:
        """The wheels of the one bundle that there is, by name."""
        (path,) = self.cache.glob("fabric-wheelhouse/bundles/*.json")
        return {wheel["name"]: wheel for wheel in json.loads(path.read_text())["wheels"]}

    def origin(self, name: str) -> dict[str, Any]:
        """Where a wheel of that bundle came from."""
        origin: dict[str, Any] = self.manifest()[name]["origin"]
        return origin

    def fab(self, *words: str | Path, expect: int = 0, **variables: str) -> str:
        code, said = fab(words, self.directory, self.environment(**variables))
        assert code == expect, said
        assert "Traceback" not in said, said
        return said

    def start(self, *words: str | Path, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [FAB, *words],
            cwd=self.directory,
            env=self.environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def environment(self, **variables: str) -> dict[str, str]:
        foreign = ("PIP_", "UV_", "SSH_", "SOURCE_DATE")
        own = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        return {
            **own, "XDG_CACHE_HOME": str(self.cache), "HOME": str(self.cache.parent), "PIP_CONFIG_FILE": os.devnull,
            **variables,
        }  # fmt: skip


MODULE = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "{name}"
version = "1.0"
"""
PURE_BACKEND = """\
import base64, hashlib, os, tomllib, zipfile

def build_wheel(directory, settings=None, metadata=None):
    with open("pyproject.toml", "rb") as stream:
        name = tomllib.load(stream)["project"]["name"]
    wheel = "%s-1.0-py3-none-any.whl" % name
    with zipfile.ZipFile(os.path.join(directory, wheel), "w") as archive:
        record = []
        def write(path, text):
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
            record.append("%s,sha256=%s,%d\\n" % (path, digest, len(text.encode())))
            archive.writestr(zipfile.ZipInfo(path), text)
        with open("code.py") as stream:
            write(name + ".py", stream.read())
        at = name + "-1.0.dist-info/"
        write(at + "METADATA", "Metadata-Version: 2.1\\nName: %s\\nVersion: 1.0\\n" % name)
        write(at + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        write(at + "entry_points.txt", "[console_scripts]\\n%s = %s:main\\n" % (name, name))
        archive.writestr(zipfile.ZipInfo(at + "RECORD"), "".join(record) + at + "RECORD,,\\n")
    open("litter", "w").close()
    return wheel
"""


def source(directory: Path, name: str) -> Path:
    """A project that builds without anything from an index, and counts in `litter` where it was built."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "pyproject.toml").write_text(MODULE.format(name=name))
    (directory / "backend.py").write_text(PURE_BACKEND)
    (directory / "code.py").write_text("def main():\n    print('one')\n")
    return directory
