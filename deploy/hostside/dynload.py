"""Open shared objects as an import would, in a process of their own, and say in the loader's words what went wrong.

A file that crashes the process, or does not come back, costs that file alone: the others are opened in the next one.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping
from typing import Optional

TIMEOUT_S = 60.0
"""How long the opening of all files, and after a failure of one, may take."""

# Runs in the interpreter that will import the modules. ctypes adds RTLD_NOW to every mode, as an import does: a symbol
# that nobody defines is found now, and not when it is called.
_CHILD = r"""
import ctypes, json, os, sys
answers = os.fdopen(os.dup(1), 'w')
nothing = os.open(os.devnull, os.O_WRONLY)
os.dup2(nothing, 1); os.dup2(nothing, 2)
for path in json.load(sys.stdin):
    answers.write(json.dumps([path]) + '\n'); answers.flush()
    try:
        ctypes.CDLL(path, mode=ctypes.RTLD_LOCAL); words = ''
    except Exception as error:
        words = str(error) or type(error).__name__
    answers.write(json.dumps([path, words]) + '\n'); answers.flush()
answers.flush(); os._exit(0)
"""


def open_each(
    python: str,
    paths: Iterable[str],
    env: Optional[Mapping[str, str]] = None,  # noqa: UP045 - Python 3.9
) -> dict[str, str]:
    """Open *paths* (files, or names that the loader looks up) in a child process of the interpreter *python*.

    :param env: all variables of the process; None for our own.
    :returns: path → what went wrong, of those that could not be opened.
    """
    waiting = list(dict.fromkeys(paths))
    suspects: list[str] = []
    while waiting:
        outcome = _open(python, waiting, env)
        suspects += [path for path, words in outcome.items() if words]
        waiting = [path for path in waiting if path not in outcome]
    # Many libraries in one process may be in each other's way (thread-local storage): alone is what counts.
    alone = {path: _open(python, [path], env)[path] for path in suspects}
    return {path: words for path, words in alone.items() if words}


def _open(python: str, paths: list[str], env: Optional[Mapping[str, str]]) -> dict[str, str]:  # noqa: UP045
    """What came of *paths*, up to the first that ended the process."""
    child = subprocess.Popen(
        [python, "-I", "-S", "-c", _CHILD],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        said, _ = child.communicate(json.dumps(paths).encode(), timeout=TIMEOUT_S)
        end = f"it ended the process with {_status(child.returncode)}"
    except subprocess.TimeoutExpired:
        child.kill()
        said, _ = child.communicate()
        end = f"it was not open after {TIMEOUT_S:g} s"
    outcome: dict[str, str] = {}
    for line in said.splitlines():
        try:
            path, *words = json.loads(line)
        except ValueError:
            continue  # cut off by the end of the process
        outcome[path] = words[0] if words else end
    # A process that said nothing would be started for ever.
    return outcome or dict.fromkeys(paths, end)


def _status(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    import signal

    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
