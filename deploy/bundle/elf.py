"""What a compiled file asks of the system that loads it: machine, libraries, where they are looked for (ELF, gABI)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

MAGIC = b"\x7fELF"

# e_machine, as the kernel calls the machine.
_MACHINES = {
    "EM_386": "i686", "EM_X86_64": "x86_64", "EM_AARCH64": "aarch64", "EM_ARM": "armv7l", "EM_PPC64": "ppc64le",
    "EM_S390": "s390x", "EM_RISCV": "riscv64", "EM_LOONGARCH": "loongarch64",
}  # fmt: skip

# The entries whose value is a text, and what the reader calls it.
_NAMED = {"DT_NEEDED": "needed", "DT_SONAME": "soname", "DT_RPATH": "rpath", "DT_RUNPATH": "runpath"}


@dataclass(frozen=True, slots=True)
class Needs:
    """The dynamic section of one file.

    :ivar machine: as ``uname -m`` says it; the name in the ELF specification where that is not known.
    :ivar soname: what others call it by; '' where it has no such name.
    :ivar needed: the libraries that it is linked to (DT_NEEDED), in their order.
    :ivar paths: where they are looked for first (DT_RPATH, DT_RUNPATH), with ``$ORIGIN`` as it is written.
    """

    machine: str
    soname: str
    needed: tuple[str, ...]
    paths: tuple[str, ...]


def read(stream: IO[bytes]) -> Needs | None:
    """What the file in *stream* needs; None where it is no ELF file, or a damaged one."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.dynamic import DynamicSegment
    from elftools.elf.elffile import ELFFile

    named: dict[str, list[str]] = {kind: [] for kind in _NAMED}
    try:
        file = ELFFile(stream)
        for segment in file.iter_segments("PT_DYNAMIC"):
            assert isinstance(segment, DynamicSegment)
            for tag in segment.iter_tags():
                kind = tag.entry.d_tag
                if kind in _NAMED:
                    named[kind].append(str(getattr(tag, _NAMED[kind])))
        machine = str(file.header.e_machine)
    except (ELFError, ValueError, KeyError, AttributeError):
        return None
    paths = [path for value in named["DT_RPATH"] + named["DT_RUNPATH"] for path in value.split(":") if path]
    soname = next(iter(named["DT_SONAME"]), "")
    return Needs(_MACHINES.get(machine, machine), soname, tuple(named["DT_NEEDED"]), tuple(paths))
