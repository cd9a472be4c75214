"""Lock files of other tools, by the tools' own exporters: `uv.lock` and `poetry.lock`.

An export is kept under the hash of what it was made from, so the tool runs once for a lock file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...errors import BuildError, ConfigurationError
from . import model, pylock, requirements
from .model import LockFile, Terms


@dataclass(frozen=True, slots=True)
class Exporter:
    """How a tool turns its lock file into one that is a standard.

    :ivar command: what follows the tool's name, for given terms.
    :ivar by_hand: the command that a person types where the tool is elsewhere.
    """

    tool: str
    command: Callable[[Terms], list[str]]
    by_hand: str
    install: str
    read: Callable[[Path, Terms, str], LockFile]


def uv_export(terms: Terms) -> list[str]:
    """The project itself is left out, as `package` builds it; and so are development groups, which no server needs."""
    extras = [f"--extra={name}" for name in terms.extras]
    groups = [f"--group={name}" for name in terms.groups]
    return ["export", "--quiet", "--frozen", "--format=pylock.toml", "--no-emit-project", "--no-header",
            "--no-default-groups", *extras, *groups]  # fmt: skip


def poetry_export(terms: Terms) -> list[str]:
    extras = [f"--extras={name}" for name in terms.extras]
    groups = [f"--with={name}" for name in terms.groups]
    return ["export", "--no-ansi", "--no-interaction", "--format=requirements.txt", *extras, *groups]


def _read_pylock(path: Path, terms: Terms, text: str) -> LockFile:
    # Extras and groups were chosen by the exporter; the file that it wrote knows none.
    return pylock.read(path, Terms(require_hashes=terms.require_hashes), text)


EXPORTERS = {
    "uv.lock": Exporter(
        "uv", uv_export, "uv export --frozen --format pylock.toml --no-emit-project -o pylock.toml", "pip install uv",
        _read_pylock,
    ),
    "poetry.lock": Exporter(
        "poetry", poetry_export, "poetry export --format requirements.txt -o requirements.txt",
        "pip install poetry poetry-plugin-export", requirements.read,
    ),
}  # fmt: skip


def read(path: Path, terms: Terms, cache: Path) -> LockFile:
    """Export a lock file, unless that was done before, and read what came out.

    :raises ConfigurationError: there is no such file, or its tool is not installed.
    :raises BuildError: the exporter failed; with its words.
    """
    exporter = EXPORTERS[path.name]
    content = model.text(path)
    project = path.parent / "pyproject.toml"
    words = exporter.command(terms)
    inputs = [words, content, project.read_text(errors="replace") if project.is_file() else ""]
    kept = cache / f"{hashlib.sha256(json.dumps(inputs).encode()).hexdigest()}-{path.name}"
    try:
        text = kept.read_text(encoding="utf-8")
    except OSError:
        text = _export(path, exporter, words)
        _keep(kept, text)
    return exporter.read(path, terms, text)


def find(tool: str) -> str | None:
    """A tool's program: on PATH, or beside the Python that runs us."""
    return shutil.which(tool) or shutil.which(tool, path=str(Path(sys.executable).parent))


def _export(path: Path, exporter: Exporter, words: list[str]) -> str:
    program = find(exporter.tool)
    elsewhere = f"or, where it is: {exporter.by_hand}\nand name that file in deploy.requirements"
    if program is None:
        raise ConfigurationError(
            f"{exporter.tool} is needed to read it, and is not installed",
            where=str(path),
            hint=f"{exporter.install}\n{elsewhere}",
        )
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    result = subprocess.run(
        [program, *words],
        cwd=path.absolute().parent,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise BuildError(
            f"{exporter.tool} export failed", where=str(path), output=result.stdout + result.stderr, hint=elsewhere
        )
    return result.stdout


def _keep(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=".partial-", delete=False, encoding="utf-8"
    ) as stream:
        stream.write(text)
    Path(stream.name).replace(path)
