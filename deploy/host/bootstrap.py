"""The host program as bytes: one zipapp named by its hash, and the few lines that start it on a host."""

from __future__ import annotations

import hashlib
import io
import shlex
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_MAIN = "from hostside.__main__ import main\nimport sys\nmain(sys.argv[1:])\n"

# Runs on the host before anything of ours is there, so it must be understood by any Python, if only to say that
# this one is too old. Requests may already wait on standard input: lines before the program are kept for it.
# Where it cannot be kept it runs out of memory: a file elsewhere would stay when the program is killed, and in a
# directory that others may write to it would be theirs to look for.
LOADER = r"""
import sys
if sys.version_info < (3, 9):
    sys.stdout.write('{"old_python": "%d.%d"}\n' % sys.version_info[:2]); sys.exit(3)
import os, hashlib
sys.dont_write_bytecode = True
wanted, folder = sys.argv[1:3]
path = os.path.join(folder, 'hostside-' + wanted + '.pyz')
given, pending = sys.stdin.buffer, []
def digest(data): return hashlib.sha256(data).hexdigest()
try:
    if not folder: raise OSError
    with open(path, 'rb') as f: known = digest(f.read()) == wanted
except OSError:
    known = False
sys.stdout.write('{"known": %d}\n' % known); sys.stdout.flush()
if not known:
    line = given.readline()
    while line and not line.startswith(b'program '):
        pending.append(line); line = given.readline()
    if not line: sys.exit(4)
    data = given.read(int(line.split()[1]))
    if digest(data) != wanted: sys.exit(4)
    temporary = os.path.join(folder, '.partial-hostside.%d' % os.getpid())
    try:
        if not folder: raise OSError
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
        try:
            with os.fdopen(handle, 'wb') as f: f.write(data)
            os.rename(temporary, path)
        except OSError:
            os.unlink(temporary); raise
        known = True
    except OSError: pass
if known: sys.path.insert(0, path)
else:
    import io, zipfile
    from importlib.machinery import ModuleSpec
    archive = zipfile.ZipFile(io.BytesIO(data))
    class Program:
        def find_spec(self, name, where=None, target=None):
            for inner in (name.replace('.', '/') + '/__init__.py', name.replace('.', '/') + '.py'):
                if inner in archive.namelist():
                    spec = ModuleSpec(name, self, origin=os.path.basename(path) + '/' + inner,
                                      is_package=inner.endswith('/__init__.py'))
                    spec.has_location = True
                    return spec
        def create_module(self, spec): return None
        def exec_module(self, module):
            inner = module.__spec__.origin.partition('/')[2]
            exec(compile(archive.read(inner), module.__spec__.origin, 'exec'), module.__dict__)
    sys.meta_path.insert(0, Program())
from hostside.server import serve
serve(pending)
""".strip()


@dataclass(frozen=True, slots=True)
class Program:
    """The host program: its content and its name."""

    content: bytes
    sha256: str

    @property
    def file_name(self) -> str:
        return f"hostside-{self.sha256}.pyz"

    def command(self, python: str, folder: str) -> list[str]:
        """The command that starts it on a host; *folder* keeps it there, '' to keep nothing."""
        # -I: no environment, no current directory, no user site may change what runs. -S: no site at all.
        return [python, "-I", "-S", "-c", LOADER, self.sha256, folder]


@cache
def program() -> Program:
    """Pack `deploy/hostside` into a zipapp; the same sources give the same bytes."""
    sources = Path(__file__).resolve().parent.parent / "hostside"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "__main__.py", _MAIN.encode())
        for path in sorted(sources.glob("*.py")):
            _add(archive, f"hostside/{path.name}", path.read_bytes())
    content = buffer.getvalue()
    return Program(content, hashlib.sha256(content).hexdigest())


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    archive.writestr(info, content)


def quoted(command: list[str]) -> str:
    """A command line for the login shell: the one place where words become shell."""
    return shlex.join(command)
