"""The demo where neither sshd nor rsync is installed: asyncssh and the stream take their places."""

from __future__ import annotations

import http.cookiejar
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fab import FAB
from tests.local.conftest import free_port

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
# All that the demo's machine has besides Python.
TOOLS = ("sh", "cat", "dirname", "env", "kill", "mkdir", "nohup", "rm", "seq", "sleep", "tail")

START = """\
import sys
from pathlib import Path
sys.path.insert(0, {examples!r})
import demo, loopback
loopback.SSHD = ""
demo.DEMO = Path({directory!r})
demo.APP = demo.DEMO / "app"
demo.HOSTS = {hosts!r}
sys.exit(demo.main())
"""


class Demo:
    """`bin/demo` without its first step, in a directory and on ports of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "demo"
        self.hosts = {name: (free_port(), free_port()) for name in ("web1", "web2")}
        tools = directory / "bin"
        tools.mkdir()
        for name in TOOLS:
            if found := shutil.which(name):
                (tools / name).symlink_to(found)
        self._environment = {**os.environ, "PATH": str(tools)}

    def run(self, *words: str) -> str:
        start = START.format(examples=str(EXAMPLES), directory=str(self.directory), hosts=self.hosts)
        return self._run([sys.executable, "-c", start, *words], self.directory.parent)

    def fab(self, *words: str) -> str:
        return self._run([str(FAB), *words], self.directory / "app")

    def _run(self, command: list[str], directory: Path) -> str:
        done = subprocess.run(
            command,
            cwd=directory,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{web}/" for _, web in self.hosts.values()]

    def headings(self) -> list[str]:
        pages = [urllib.request.urlopen(url, timeout=10).read().decode() for url in self.urls()]
        return [re.findall("<h1>(.*)</h1>", page)[0] for page in pages]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    made = Demo(tmp_path)
    yield made
    made.run("stop")


def test_the_demo_without_sshd_and_rsync(demo: Demo) -> None:
    said = demo.run()
    assert all(f"{name}: asyncssh on 127.0.0.1 port {ssh}" in said for name, (ssh, _) in demo.hosts.items())
    assert said.count("no rsync on this machine") == 1
    assert all(url in said for url in demo.urls())
    assert demo.headings() == ["Guestbook", "Guestbook"]
    sign(demo.urls()[0], "Ana", "It <b>works</b>")
    assert "<p>It works</p>" in urllib.request.urlopen(demo.urls()[1], timeout=10).read().decode()

    page = demo.directory / "app/templates/book.html"
    page.write_text(page.read_text().replace("<h1>Guestbook", "<h1>Our guestbook"))
    assert len(re.findall(r"pushed .* sent of", demo.fab("deploy"))) == 2
    assert demo.headings() == ["Our guestbook", "Our guestbook"]
    demo.fab("rollback")
    assert demo.headings() == ["Guestbook", "Guestbook"]
    assert demo.fab("status").count(" good ") == 2

    assert "stopped" in demo.run("stop")
    with pytest.raises(OSError):
        demo.headings()


def sign(url: str, name: str, message: str) -> None:
    """Fill in the page's form."""
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    page = browser.open(url, timeout=10).read().decode()
    token = re.findall('name="csrfmiddlewaretoken" value="([^"]+)"', page)[0]
    form = {"csrfmiddlewaretoken": token, "name": name, "message": message}
    browser.open(url, urllib.parse.urlencode(form).encode(), timeout=10)
