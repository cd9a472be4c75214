"""Wheels made by hand, compiled here by gcc, and lock files that name them."""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import zipfile
from pathlib import Path

from deploy.hostside.wheelfile import record_digest

HAVE_GCC = shutil.which("gcc") is not None


def shared_object(path: Path, code: str, *options: str) -> Path:
    """Compile *code* into the shared object *path*."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(path), "-x", "none", *options]
    subprocess.run(command, input=code, text=True, check=True)
    return path


def wheel(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    """A wheel of *files* for any Python on this kind of machine."""
    folder.mkdir(exist_ok=True)
    tag = f"py3-none-linux_{platform.machine()}"
    info = f"{name}-1.0.dist-info"
    members = {
        **files,
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
    }
    path = folder / f"{name}-1.0-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
        rows = [f"{member},{record_digest(content)},{len(content)}\n" for member, content in members.items()]
        archive.writestr(f"{info}/RECORD", "".join(rows) + f"{info}/RECORD,,\n")
    return path


def native(folder: Path, name: str, code: str, *options: str) -> Path:
    """A wheel with the compiled module ``NAME._native``."""
    content = shared_object(folder.parent / "native.so", code, *options).read_bytes()
    return wheel(folder, name, {f"{name}/__init__.py": b"", f"{name}/_native.abi3.so": content})


def lock(project: Path, *made: Path) -> None:
    """Let the project's lock file name the wheels *made*, too; what it named before is in the wheelhouse already."""
    path = project / "requirements.txt"
    lines = [f"--no-index\n--find-links {made[0].parent}\n"]
    for one in made:
        name, version = one.name.split("-")[:2]
        lines.append(f"{name}=={version} --hash=sha256:{hashlib.sha256(one.read_bytes()).hexdigest()}\n")
    path.write_text(path.read_text() + "".join(lines))
