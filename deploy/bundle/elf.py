"""What an ELF file says of itself: machine, libraries, symbol versions, paths paths. Reads; judges nothing.

System V ABI, "Dynamic Linking"; the GNU symbol versions as in the Linux Standard Base, "Symbol Versioning".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, Any

MAGIC = b"\x7fELF"

# e_machine, byte size and byte order -> as `uname -m` says.
_MACHINES = {
    ("EM_X86_64", 64, True): "x86_64",
    ("EM_386", 32, True): "i686",
    ("EM_AARCH64", 64, True): "aarch64",
    ("EM_ARM", 32, True): "armv7l",
    ("EM_PPC64", 64, True): "ppc64le",
    ("EM_RISCV", 64, True): "riscv64",
    ("EM_S390", 64, False): "s390x",
    ("EM_LOONGARCH", 64, True): "loongarch64",
}
_WEAK = 2  # VER_FLG_WEAK: the loader goes on where that version is lacking


@dataclass(frozen=True, slots=True)
class Needs:
    """One shared library or program.

    :ivar machine: as ``uname -m`` says, or the name that the ELF specification has for one that is not known here.
    :ivar soname: '' where it has none.
    :ivar needed: the libraries that the loader must find (DT_NEEDED).
    :ivar paths: where they are looked for first (DT_RPATH, DT_RUNPATH), as it is written, with ``$ORIGIN``.
    :ivar versions: the symbol versions that it needs, such as ``GLIBC_2.17``, weak ones left out.
    """

    machine: str
    soname: str
    needed: tuple[str, ...]
    paths: tuple[str, ...]
    versions: tuple[str, ...] = ()


def read(stream: IO[bytes]) -> Needs | None:
    """What the file in *stream* needs; None where it is no ELF file, or a damaged one."""
    try:
        return examine(stream)
    except ValueError:
        return None


def examine(stream: IO[bytes]) -> Needs | None:
    """A shared library or program; None for anything else, an object file for the linker included.

    :raises ValueError: it begins as one and cannot be read.
    """
    if stream.read(4) != MAGIC:
        return None
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    stream.seek(0)
    try:
        return _read(ELFFile(stream))
    except (ELFError, AssertionError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"the ELF file cannot be read ({error})") from None


def undefined(stream: IO[bytes]) -> frozenset[str]:
    """The symbols that others must define. Slow for large files: all are looked at."""
    from elftools.elf.elffile import ELFFile

    found = set()
    file: Any = ELFFile(stream)
    for segment in file.iter_segments("PT_DYNAMIC"):
        for symbol in segment.iter_symbols():
            if symbol.entry.st_shndx == "SHN_UNDEF" and symbol.name:
                found.add(symbol.name)
    return frozenset(found)


def _read(file: Any) -> Needs | None:
    if file.header.e_type not in ("ET_DYN", "ET_EXEC"):
        return None
    code = file.header.e_machine
    machine = _MACHINES.get((code, file.elfclass, file.little_endian), str(code))
    dynamic = next(file.iter_segments("PT_DYNAMIC"), None)
    if dynamic is None:
        return Needs(machine, "", (), (), ())
    soname, needed, paths = "", [], []
    for tag in dynamic.iter_tags():
        if tag.entry.d_tag == "DT_NEEDED":
            needed.append(tag.needed)
        elif tag.entry.d_tag == "DT_SONAME":
            soname = tag.soname
        elif tag.entry.d_tag in ("DT_RPATH", "DT_RUNPATH"):
            paths += (tag.rpath if tag.entry.d_tag == "DT_RPATH" else tag.runpath).split(":")
    return Needs(machine, soname, tuple(needed), tuple(paths), _versions(file))


def _versions(file: Any) -> tuple[str, ...]:
    from elftools.elf.gnuversions import GNUVerNeedSection

    found = set()
    for section in file.iter_sections():
        if isinstance(section, GNUVerNeedSection):
            for _, needs in section.iter_versions():
                found |= {need.name for need in needs if not need.entry.vna_flags & _WEAK}
    return tuple(sorted(found))
