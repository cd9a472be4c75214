"""What the host program costs to start, before it does anything: against an interpreter that does nothing.

    python -m benchmarks.starts [--runs 40]

Above `parallel` hosts it is started for each phase of each of them. Counted is the processor's time, as often in turn.
"""

from __future__ import annotations

import argparse
import getpass
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from deploy.host.bootstrap import program

from . import figures

PYTHON: str = sys._base_executable  # type: ignore[attr-defined]
PROBE: dict[str, Any] = {"shared_files": [], "services": []}
ASKED: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "nothing": [],
    "records": [("records", {})],
    "probe": [("probe", PROBE)],
    "cleanup": [("cleanup", {"keep": 3})],
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.starts", description="The host program's start.")
    parser.add_argument("--runs", type=int, default=40, help="of each kind (default 40)")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary) / "app"
        commands = {"an interpreter": ([PYTHON, "-I", "-S", "-c", "pass"], b"", 0)}
        for name, operations in ASKED.items():
            request = json.dumps({"base": str(base), "ops": operations}).encode() + b"\n"
            commands[name] = (program().command(PYTHON, str(base / ".deploy")), request, 1 + len(operations))
        _keep(base)
        for command in commands.values():
            _processor_s(*command)  # what is imported first is compiled, and kept
        spent: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(runs):
            for name, command in commands.items():
                spent[name].append(_processor_s(*command))
    bare = median(spent["an interpreter"])
    rows = [(name, figures.seconds(median(each)), f"{median(each) / bare:.1f}") for name, each in spent.items()]
    print(figures.aligned(("asked for", "processor", "against an interpreter"), rows))


def _keep(base: Path) -> None:
    content = program().content
    request = json.dumps({"base": str(base), "ops": [("setup", {"owner": getpass.getuser()})]}).encode()
    sent = b"%s\nprogram %d\n%s" % (request, len(content), content)
    _run(program().command(PYTHON, str(base / ".deploy")), sent, 2)


def _run(command: Sequence[str], request: bytes, answers: int) -> None:
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as asked:
        assert asked.stdin and asked.stdout
        asked.stdin.write(request)
        asked.stdin.flush()
        # Who closes the connection before the answer is not given one.
        answer = b"".join(asked.stdout.readline() for _ in range(answers))
        asked.stdin.close()
    if asked.returncode:
        raise SystemExit(f"exit code {asked.returncode}")
    if b'"failure"' in answer or b'"crash"' in answer:
        raise SystemExit(answer.decode())


def _processor_s(command: Sequence[str], request: bytes, answers: int) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _run(command, request, answers)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
