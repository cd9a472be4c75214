"""Hooks: their points, and what the fabfile pays for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from deploy import config, hooks

ROOT = Path(__file__).resolve().parent.parent.parent


def test_commands_and_functions_have_the_same_points() -> None:
    assert tuple(config.Hooks.model_fields) == hooks.POINTS
    page = (ROOT / "docs/hooks.rst").read_text()
    assert [point for point in hooks.POINTS if f"\n``{point}``" not in page] == []


def test_the_decorator_costs_next_to_nothing() -> None:
    heavy = "('pydantic', 'fabric', 'paramiko', 'rich', 'deploy.config', 'deploy.tasks')"
    script = f"from deploy import Release, hook; import sys; print([name for name in {heavy} if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said == "[]\n"
