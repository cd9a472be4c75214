"""Whether source is Python alone, so that any machine builds the same wheel of it."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ..errors import BuildError

# What a compiler reads, and what drives one.
_SUFFIXES = frozenset({
    ".c", ".cc", ".cpp", ".cxx", ".h", ".hpp", ".pyx", ".pxd", ".rs", ".go", ".f", ".f90", ".s", ".asm", ".mm", ".zig",
})  # fmt: skip
_NAMES = frozenset({"Cargo.toml", "meson.build", "CMakeLists.txt", "configure", "configure.ac"})


def to_compile(source: Path) -> str:
    """The first file of a source distribution or directory that is there to be compiled; '' where it is Python alone.

    An extension may be optional, and a package quietly do without where no compiler is; so files are looked at, and
    not what a build makes of them.

    :raises BuildError: it cannot be read.
    """
    for name in sorted(_names(source)):
        path = PurePosixPath(name)
        if path.suffix.lower() in _SUFFIXES or path.name in _NAMES:
            return name
    return ""


def _names(source: Path) -> Iterator[str]:
    if source.is_dir():
        yield from (str(path.relative_to(source)) for path in source.rglob("*") if path.is_file())
        return
    try:
        if source.suffix == ".zip":
            with zipfile.ZipFile(source) as archive:
                yield from archive.namelist()
        else:
            with tarfile.open(source) as archive:
                yield from archive.getnames()
    except Exception as error:  # the modules and their decompressors have no common one
        raise BuildError(f"{source.name} cannot be unpacked ({error})") from None
