"""Text into reStructuredText: what the generated pages share."""

from __future__ import annotations

import re
from collections.abc import Iterable

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

_CODE = re.compile(r"``?([^`]+)``?")


def marked(text: str) -> str:
    """Single backticks, as docstrings and descriptions have them, as literal text."""
    return _CODE.sub(r"``\1``", text)


def parsed(directive: SphinxDirective, lines: Iterable[str]) -> list[nodes.Node]:
    """The nodes that *lines* of reStructuredText make, sections included."""
    return directive.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)
