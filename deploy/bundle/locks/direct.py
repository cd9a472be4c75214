"""Requirements that name a place instead of a version: URLs, repositories, directories (PEP 440, "Direct references").

The forms are pip's: ``name @ URL``, ``-e DIRECTORY``, ``./directory``, ``git+https://host/path@COMMIT#egg=name``.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from packaging.utils import canonicalize_name

from .model import File, Git, Tree

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
ARCHIVES = (".whl", ".tar.gz", ".tgz", ".zip", ".tar.bz2", ".tar.xz")


def place(url: str, directory: Path, *, require_commit: bool) -> tuple[File | Git | Tree | None, str]:
    """What a URL or a path stands for, or what is wrong with it.

    :param directory: what a relative path starts at.
    """
    try:
        return _place(url, directory, require_commit)
    except (ValueError, OSError, RuntimeError) as error:  # of URLs; of paths; of a user whose home is not known
        return None, f"it is neither a URL nor a path ({getattr(error, 'strerror', None) or error})"


def _place(url: str, directory: Path, require_commit: bool) -> tuple[File | Git | Tree | None, str]:
    if re.match(r"(hg|svn|bzr)\+", url):
        return None, "of version-control systems only git can be bundled"
    if url.startswith("git+"):
        return _git(url, require_commit)
    if url.startswith(("http://", "https://")):
        parts = urlsplit(url)
        if "subdirectory" in parse_qs(parts.fragment):
            return None, "a subdirectory of an archive cannot be bundled; name the repository (git+https://...@COMMIT)"
        bare = urlunsplit(parts._replace(fragment=""))
        return File(unquote(parts.path.rpartition("/")[2]), bare, fragment_sha256(parts.fragment)), ""
    if url.startswith("file:"):
        url = unquote(urlsplit(url).path)
    path = directory / Path(url).expanduser()
    if path.is_dir():
        return Tree(path.resolve()), ""
    if path.is_file() and path.name.endswith(ARCHIVES):
        return File(path.name, path.resolve().as_uri()), ""
    return None, "there is no such file or directory"


def fragment_sha256(fragment: str) -> str:
    """The hash that a link carries (PEP 503): ``sha256=...``."""
    found = re.search(r"(?:^|&)sha256=([0-9a-f]{64})(?:&|$)", fragment)
    return found[1] if found else ""


def egg(url: str) -> str:
    """The project that an old-style URL names: ``...#egg=name``."""
    name = parse_qs(urlsplit(url).fragment).get("egg", [""])[0]
    return canonicalize_name(name.partition("[")[0]) if name else ""


def project_name(directory: Path) -> str:
    """The name that a directory's `pyproject.toml` gives (PEP 621), '' where it gives none."""
    try:
        document = tomllib.loads((directory / "pyproject.toml").read_text(encoding="utf-8"))
        return canonicalize_name(document["project"]["name"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""


def _git(url: str, require_commit: bool) -> tuple[Git | None, str]:
    parts = urlsplit(url.removeprefix("git+"))
    path, at, reference = parts.path.rpartition("@")
    if not at:
        path, reference = parts.path, ""
    subdirectory = parse_qs(parts.fragment).get("subdirectory", [""])[0]
    if ".." in Path(subdirectory).parts or subdirectory.startswith("/"):
        return None, "the subdirectory lies outside the repository"
    if require_commit and not COMMIT.fullmatch(reference):
        named = f"{reference} is no commit" if reference else "it names no commit"
        return None, f"{named}; a whole commit hash is needed (@ and 40 digits), as a branch or a tag may move"
    return Git(urlunsplit(parts._replace(path=path, fragment="")), reference or "HEAD", subdirectory), ""
