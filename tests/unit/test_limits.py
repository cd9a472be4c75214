"""Commands of the user's functions, limited: what an interrupt finds half begun is ended as well."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from invoke.config import Config
from invoke.context import Context

from deploy.host import limits


def running(word: str) -> list[Path]:
    """The processes with *word* in their command line."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if word.encode() in (process / "cmdline").read_bytes():
                found.append(process)
    return found


def test_an_interrupt_while_a_command_is_being_started_does_not_lose_it(monkeypatch: pytest.MonkeyPatch) -> None:
    mark = f"43{secrets.randbelow(10**9):09}"

    class Slow(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **keywords: Any) -> None:
            super().__init__(*arguments, **keywords)
            while not running(mark):
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)

    monkeypatch.setattr(subprocess, "Popen", Slow)
    context = Context(Config())
    object.__setattr__(context, "limit", limits.Limit(60))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            limits.Here(context).run(f"sleep {mark} & sleep {mark}")
    finally:
        signal.signal(signal.SIGINT, before)
    assert not running(mark)
    assert not [
        thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()
    ]


def test_a_shell_that_is_not_there_is_an_error() -> None:
    context = Context(Config())
    object.__setattr__(context, "limit", limits.Limit(60))
    with pytest.raises(FileNotFoundError):
        limits.Here(context).run("true", shell="/nowhere/sh")
