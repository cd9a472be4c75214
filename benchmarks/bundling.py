"""Making bundles, which needs no host: cold, warm, and with one requirement changed; beside pip and uv.

    python -m benchmarks.bundling [--runs 3]

All of them get the same files from an index on loopback, and verify the same hashes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median

from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename

from tests.fab import FAB

from .figures import Row, Work, in_turn, seconds, text, timed
from .rivals import HERE, run
from .works import FORTY, OTHERS, pins


def making(directory: Path, runs: int, notes: list[str]) -> list[Row]:
    """Each row's `compared` names all rivals; there is no budget but for what is warm."""
    files = directory / "files"
    _fill(files)
    with _index(files) as url:
        place = _Place(directory, url)
        cold = in_turn(place.ways(FORTY), runs, place.forget)
        changed: dict[str, list[float]] = {}
        for name, pin in pins(OTHERS.read_text()).items():
            place.forget()
            ways = place.ways(FORTY)
            for way in ways.values():
                way()
            place.change(name, pin)
            for who, way in place.ways(place.lock).items():
                changed.setdefault(who, []).append(timed(way))
            if len(changed["ours"]) == runs:
                break
        warm = in_turn(place.ways(place.lock), runs * 3)
    size = sum(path.stat().st_size for path in files.iterdir()) / (1 << 20)
    notes.append(
        f"Making bundles: up to {size:.0f} MiB of wheels from an index on loopback; ours is the whole "
        f"``fab create-bundle``. pip and uv begin with an empty cache where ours begins with an empty wheelhouse, and "
        f"keep it after; pip's and uv's directories are kept as well. uv has no command that only fetches, so "
        f"``uv pip install --target`` unpacks, too."
    )
    return [
        _row("create-bundle, nothing here", cold),
        _row("create-bundle, one requirement changed", {who: median(times) for who, times in changed.items()}),
        _row("create-bundle, nothing changed (whole process)", warm),
    ]


class _Place:
    """A project of ours, and a directory for each rival."""

    def __init__(self, directory: Path, url: str) -> None:
        self._root = directory
        self._url = url
        self.lock = directory / "changed.txt"
        app = directory / "app"
        app.mkdir()
        (app / "fabfile.py").write_text("from deploy import ns\n")
        (app / "fabric.yaml").write_text(
            f"deploy: {{app: x, base_path: /srv/x, target: local, index: {{url: {url!r}}}, stages: {{s: [h]}}}}\n"
        )

    def forget(self) -> None:
        for name in ("cache", "pip", "piptoo", "uv"):
            shutil.rmtree(self._root / name, ignore_errors=True)

    def change(self, name: str, pin: str) -> None:
        content = FORTY.read_text()
        self.lock.write_text(content.replace(pins(content)[name], pin))

    def ways(self, lock: Path) -> dict[str, Work]:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
        cache = self._root / "cache"
        settings = {
            **own, "XDG_CACHE_HOME": str(cache), "PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": self._url,
            "UV_DEFAULT_INDEX": self._url, "UV_NO_CONFIG": "1",
        }  # fmt: skip
        pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
        common = ["--no-deps", "--require-hashes", "-r", str(lock)]
        uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))

        def ours() -> None:
            shutil.copy(lock, self._root / "app/requirements.txt")
            run([str(FAB), "create-bundle"], self._root / "app", settings)

        return {
            "ours": ours,
            "pip download": lambda: run([*pip, "download", *common, "-d", str(self._root / "pip")], HERE, settings),
            "pip wheel": lambda: run([*pip, "wheel", *common, "-w", str(self._root / "piptoo")], HERE, settings),
            "uv": lambda: run(
                [uv, "pip", "install", "-q", *common, "--target", str(self._root / "uv")], HERE, settings
            ),
        }


def _row(work: str, times: dict[str, float]) -> Row:
    others = ", ".join(
        f"{times['ours'] / spent:.2f} × {who} ({seconds(spent)})" for who, spent in times.items() if who != "ours"
    )
    return Row(work, seconds(times["ours"]), "", "", others, "", None)


def _fill(files: Path) -> None:
    """The wheels of both lock files, fetched by pip from wherever it is configured to."""
    for lock in (FORTY, OTHERS):
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(files), "-r", str(lock)]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


@contextmanager
def _index(files: Path) -> Iterator[str]:
    """The simplest index (PEP 503) there can be."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            kind, _, name = self.path.strip("/").partition("/")
            if kind == "files":
                content = (files / name).read_bytes()
            else:
                own = [path.name for path in files.iterdir() if _project(path.name) == name]
                content = "".join(f'<a href="/files/{file}">{file}</a>\n' for file in own).encode()
            self.send_response(200 if content else 404)
            self.send_header("Content-Type", "application/octet-stream" if kind == "files" else "text/html")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/simple"
    finally:
        server.shutdown()
        server.server_close()


def _project(filename: str) -> str:
    parse = parse_wheel_filename if filename.endswith(".whl") else parse_sdist_filename
    return canonicalize_name(parse(filename)[0])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bundling", description="Making bundles: ours, pip, uv.")
    parser.add_argument("--runs", type=int, default=3)
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as directory:
        rows = making(Path(directory), parser.parse_args().runs, notes)
    print(text(rows) + "\n\n" + "\n".join(notes))


if __name__ == "__main__":
    main()
