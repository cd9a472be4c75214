"""Commands of the user's as the host program runs them: what they are given, and what is told of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from deploy.hostside import commands, server
from deploy.hostside.layout import Layout

RELEASE = "20261124T080000Z-1f2e3d4"
SECRET = "s3cret \"and' more\nof it, long enough"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    release = tmp_path / "releases" / RELEASE
    release.mkdir(parents=True)
    (tmp_path / "shared").mkdir()
    (release / ".env").symlink_to("../../shared/.env")
    (tmp_path / "shared/.env").write_text("TOLD='from the file'\nPORT=8000\nexport QUIET=\"hush hush\"\n")
    return Layout(str(tmp_path))


def run(layout: Layout, command: str, timeout: float | None = None, **env: str) -> tuple[int, str, list[str]]:
    told: list[str] = []
    result = commands.run(layout, RELEASE, command, env, timeout, told.append)
    return result["exited"], result["output"], told


def test_it_runs_in_the_release_with_both_environments_and_the_venv_first(layout: Layout) -> None:
    code, output, told = run(layout, 'echo "$PORT $A $DEPLOY_RELEASE"; echo "$PATH"; pwd; exit 3', A="b c", PORT="9")
    assert code == 3
    assert told == output.splitlines()
    place = layout.release(RELEASE)
    assert told[0] == f"9 b c {RELEASE}"
    assert told[1].startswith(f"{place}/.venv/bin:")
    assert os.path.samefile(told[2], place)


def test_values_are_hidden_in_pieces_over_lines_and_in_both_streams(layout: Layout) -> None:
    script = 'printf "%s" "${A_TOKEN%e*}"; sleep 0.2; echo "e${A_TOKEN##*e}" >&2; echo "$TOLD $QUIET $PORT $OPEN"'
    code, output, told = run(layout, script, A_TOKEN="tok e n", OPEN="for all to see")
    assert (code, told) == (0, ["***", "*** *** 8000 for all to see"])
    _, output, _ = run(layout, 'echo "<$A_SECRET>"; echo "$A_SECRET" | base64', A_SECRET=SECRET)
    assert output.startswith("<***>\n")
    assert "s3cret" not in output and "long enough" not in output


def test_nothing_of_a_value_is_in_an_argument(layout: Layout) -> None:
    _, output, _ = run(
        layout, "cat /proc/$$/cmdline /proc/$PPID/cmdline | tr '\\0' ' '; echo; env", A_SECRET="sentinel-1"
    )
    assert "sentinel-1" not in output.splitlines()[0]
    assert "A_SECRET=***" in output


def test_it_is_ended_with_what_it_started_when_its_time_is_over(layout: Layout) -> None:
    begun = time.monotonic()
    code, output, _ = run(layout, "echo begun; (sleep 40; touch late) & wait", timeout=0.5)
    assert time.monotonic() - begun < 5
    assert code == -1
    assert output.splitlines() == ["begun", "still running after 0.5 s; ended"]


def test_a_command_that_closes_its_output_is_waited_for(layout: Layout) -> None:
    code, _, _ = run(layout, "exec >/dev/null 2>&1; sleep 0.4; exit 4")
    assert code == 4


def test_what_is_left_behind_with_the_output_open_does_not_hold_up_the_deploy(layout: Layout) -> None:
    begun = time.monotonic()
    code, output, _ = run(layout, "sleep 8 & echo done")
    assert (code, output) == (0, "done")
    assert time.monotonic() - begun < 4


def test_it_goes_on_when_nobody_listens_any_more(layout: Layout, tmp_path: Path) -> None:
    def gone(line: str) -> None:
        raise BrokenPipeError

    result = commands.run(layout, RELEASE, "for i in 1 2 3; do echo $i; done; touch ended", {}, None, gone)
    assert result["exited"] == 0
    assert (tmp_path / "releases" / RELEASE / "ended").exists()


def test_much_output_is_told_and_only_its_end_kept(layout: Layout) -> None:
    code, output, told = run(layout, "seq 20000; head -c 100000 /dev/zero | tr '\\0' x")
    assert code == 0
    assert len(told) > 20_000
    assert len(output.splitlines()) == commands.KEPT_LINES
    assert all(len(line) <= commands.LINE for line in told)


def test_a_person_sees_the_same_environment_by_hand(layout: Layout) -> None:
    script = "from deploy.hostside.__main__ import main; import sys; main(sys.argv[1:])"
    words = [sys.executable, "-c", script, "run", layout.base, RELEASE, 'echo "$QUIET"; pwd']
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[0] == "hush hush"
    assert RELEASE in said


def test_a_defect_of_the_host_program_quotes_no_value(layout: Layout, mocker: Any) -> None:
    mocker.patch("deploy.hostside.layout.summary", autospec=True, side_effect=ValueError("what is hush hush?"))
    outcome = server.attempt("records", layout, mocker.Mock(), {})
    assert "ValueError: what is ***?" in outcome["crash"]


def test_what_other_programs_say_is_masked_or_not_told(layout: Layout) -> None:
    masked: Any = commands.mask(layout, ["it said hush hush", "nothing"])
    assert masked == {"texts": ["it said ***", "nothing"]}
    os.unlink(layout.path("shared", ".env"))
    os.mkdir(layout.path("shared", ".env"))
    assert "not shown" in commands.mask(layout, ["it said hush hush"])["texts"][0]


def test_by_hand_it_runs_in_a_release_or_in_the_base_path_with_what_it_is_told(layout: Layout) -> None:
    def by_hand(*words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "deploy.hostside", "run", *words]
        return subprocess.run(line, capture_output=True, text=True, check=False)

    show = 'pwd; echo "$A|$PORT|$TOLD|$DEPLOY_RELEASE"'
    said = by_hand("--set", "A=it's = b", "--set", "PORT=9", layout.base, RELEASE, show).stdout
    assert said == f"{layout.release(RELEASE)}\nit's = b|9|from the file|{RELEASE}\n"
    assert by_hand(layout.base, "", show).stdout == f"{layout.base}\n|8000|from the file|\n"
    refused = by_hand("--set", "A=b", layout.base, RELEASE)
    assert refused.returncode == 1
    assert "usage: " in refused.stderr
