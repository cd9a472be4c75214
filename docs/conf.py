"""How the documentation is built: Sphinx, the furo theme, and the parts that are generated from the code."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))
sys.path.insert(0, str(HERE.parent))

from deploy.version import __version__  # noqa: E402

project = "fabric-wheelhouse"
author = "the fabric-wheelhouse contributors"
copyright = author
release = version = __version__

extensions = ["configuration_reference", "exit_codes", "task_reference"]
exclude_patterns = ["_build", "_ext"]
html_theme = "furo"
html_title = f"fabric-wheelhouse {release}"
highlight_language = "none"
