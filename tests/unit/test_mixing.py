"""Which units would give their processes two releases at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.hostside.layout import Layout
from deploy.hostside.mixing import doubts, of_text, of_unit

CURRENT = "/srv/app/current"


def told(command: str, environment: str = "") -> tuple[str, str]:
    path = command.split()[0]
    return f"{{ path={path} ; argv[]={command} ; ignore_errors=no ; pid=0 ; status=0/0 }}", environment


@pytest.mark.parametrize(
    "text",
    [
        told("/usr/bin/env .venv/bin/gunicorn app"),
        told("/usr/bin/env .venv/bin/python serve.py", "LANG=C PATH=/usr/bin"),
        told(f"{CURRENT}/.venv/bin/gunicorn app"),
        told("/srv/app/currently/.venv/bin/python serve.py"),
        ("", ""),
    ],
)
def test_a_unit_that_follows_the_link_once_is_well(text: tuple[str, str]) -> None:
    assert of_unit(*text, CURRENT) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (told(f"{CURRENT}/.venv/bin/python -m gunicorn app"), "/usr/bin/env .venv/bin/python"),
        (told(f"{CURRENT}/.venv/bin/python3.13 serve.py"), "python3.13"),
        (told(f"/usr/bin/env .venv/bin/gunicorn --chdir {CURRENT} app"), "--chdir"),
        (told(f"/usr/bin/env .venv/bin/gunicorn --chdir={CURRENT} app"), "--chdir"),
        (told(f"/usr/bin/env .venv/bin/gunicorn --pythonpath {CURRENT}/lib app"), "--pythonpath"),
        (told("/usr/bin/env .venv/bin/gunicorn", f"A=b PYTHONPATH=/opt:{CURRENT}"), "PYTHONPATH"),
        (told("/usr/bin/env gunicorn", f"PATH={CURRENT}/.venv/bin:/usr/bin"), "PATH"),
    ],
)
def test_a_unit_that_goes_through_the_link_is_told_what_to_change(text: tuple[str, str], expected: str) -> None:
    [doubt] = of_unit(*text, CURRENT)
    assert expected in doubt


def test_a_unit_file_is_read_as_systemd_reads_it() -> None:
    start = f"ExecStart=-/usr/bin/env gunicorn \\\n  --chdir {CURRENT} app"
    text = f"[Service]\nEnvironment='PATH={CURRENT}/bin' A=b\n{start}\n"
    assert [doubt.split(" ")[0] for doubt in of_text(text, CURRENT)] == ["its", "--chdir"]
    assert (
        of_text(f"[Service]\nWorkingDirectory={CURRENT}\nExecStart=/usr/bin/env .venv/bin/gunicorn app\n", CURRENT)
        == []
    )


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_process_is_read_where_a_pidfile_names_it(tmp_path: Path) -> None:
    current = tmp_path / "current"
    command = [sys.executable, "-c", "print(flush=True); input()", "--chdir", str(current)]
    layout, service = Layout(str(tmp_path)), {"manager": "signal", "pidfile": "app.pid"}
    assert doubts(layout, service) == []
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env={"PWD": str(current)}, **pipes) as process:
        assert process.stdout and process.stdout.readline()  # until it has begun, /proc shows no words
        (tmp_path / "app.pid").write_text(str(process.pid))
        found = doubts(layout, service)
    assert f"process {process.pid} would mix releases: --chdir {current}" in found[0]
    assert "its variable PWD" in found[1]
    assert doubts(layout, {"manager": "touch"}) == []
