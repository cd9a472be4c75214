"""What the header of an ELF file says (System V ABI, chapters 4 and 5; ELF for the Arm Architecture, 4.1)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from . import disk

CLASS_32 = 1
LITTLE_ENDIAN = 1
I386 = 3
ARM = 40
_PT_INTERP = 3
_ARM_EABI_MASK, _ARM_EABI_5, _ARM_HARD_FLOAT = 0xFF000000, 0x05000000, 0x400


class Header(NamedTuple):
    """For which machine a file is, and which loader it asks for ('' for none)."""

    bits: int
    encoding: int
    machine: int
    flags: int
    loader: str

    @property
    def is_i686(self) -> bool:
        return (self.bits, self.encoding, self.machine) == (CLASS_32, LITTLE_ENDIAN, I386)

    @property
    def is_armhf(self) -> bool:
        """Arm with floating point numbers in registers: what manylinux means by ``armv7l``."""
        right = (self.bits, self.encoding, self.machine) == (CLASS_32, LITTLE_ENDIAN, ARM)
        return right and self.flags & _ARM_EABI_MASK == _ARM_EABI_5 and bool(self.flags & _ARM_HARD_FLOAT)


def read(path: str) -> Header | None:
    """The header of *path*; None where it cannot be read or is no ELF file."""
    try:
        with open(disk.open_file(path), "rb") as stream:
            identity = stream.read(16)
            if identity[:4] != b"\x7fELF":
                return None
            bits, encoding = identity[4], identity[5]
            order = "<" if encoding == LITTLE_ENDIAN else ">"
            # e_type, e_machine, e_version, e_entry, e_phoff, e_shoff, e_flags, e_ehsize, e_phentsize, e_phnum
            header = struct.Struct(order + ("HHIIIIIHHH" if bits == CLASS_32 else "HHIQQQIHHH"))
            _, machine, _, _, start, _, flags, _, size, count = header.unpack(stream.read(header.size))
            loader = ""
            for number in range(count):
                stream.seek(start + number * size)
                # p_type and p_offset, p_filesz; the members stand in another order in 32 bits.
                if bits == CLASS_32:
                    kind, offset, _, _, length = struct.unpack(order + "IIIII", stream.read(20))
                else:
                    kind, _, offset, _, _, length = struct.unpack(order + "IIQQQQ", stream.read(40))
                if kind == _PT_INTERP:
                    stream.seek(offset)
                    loader = stream.read(length).rstrip(b"\0").decode(errors="replace")
                    break
            return Header(bits, encoding, machine, flags, loader)
    except (OSError, struct.error, IndexError):
        return None
