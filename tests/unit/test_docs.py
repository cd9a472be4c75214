"""The documentation: what it says of the code is what the code says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from deploy import config
from deploy.errors import ExitCode

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"


def test_the_schema_for_editors_is_up_to_date() -> None:
    written = json.loads((DOCS / "fabric.schema.json").read_text())
    assert written == config.json_schema(), "run bin/schema"


def test_the_promises_name_only_tests_that_exist() -> None:
    named = re.findall(r"(tests/\w+/\w+\.py)::(\w+)", (DOCS / "promises.rst").read_text())
    assert named
    for file, name in named:
        assert f"def {name}(" in (ROOT / file).read_text(), f"{file}::{name}"


def test_every_task_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    pytest.importorskip("docutils", reason="requirements-dev.txt is not installed; CI installs it")
    import task_reference

    described = re.findall(r"^\.\. task-options:: ([\w.-]+)$", (DOCS / "tasks.rst").read_text(), re.MULTILINE)
    assert sorted(described) == task_reference.names()
    readme = (ROOT / "README.md").read_text()
    for name in described:
        assert f"`{name}`" in readme, name


def test_every_exit_code_has_a_meaning_and_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    pytest.importorskip("docutils", reason="requirements-dev.txt is not installed; CI installs it")
    import exit_codes

    for code in ExitCode:
        assert exit_codes.meaning(code)
        assert exit_codes.REMEDIES[code]


def _examples() -> list[Any]:
    from invoke import util

    yaml: Any = util.yaml  # type: ignore[attr-defined]
    readme = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    blocks = re.findall(
        r"^\.\. code-block:: yaml\n\n((?:    .*\n|\n)+)", (DOCS / "getting-started.rst").read_text(), re.MULTILINE
    )
    return [yaml.safe_load(text) for text in [*readme, *blocks]]


def test_the_examples_of_the_documentation_are_valid() -> None:
    examples = _examples()
    assert len(examples) == 2
    for document in examples:
        for stage in document["deploy"]["stages"]:
            config.load(document["deploy"], stage, "fabric.yaml")
