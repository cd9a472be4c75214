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
# It runs out of memory: a file in a directory that others may write to would be theirs to look for. What Python made of
# it in an earlier run is taken from beside it, where nobody but the user who runs it can write: the directory is looked
# at, and what is read is in that very one. At the end all is said and written, and Python is not taken down piece by
# piece: that is a tenth of a short run.
LOADER = r"""
import sys
if sys.version_info < (3, 9):
    sys.stdout.write('{"old_python": "%d.%d"}\n' % sys.version_info[:2]); sys.exit(3)
import os, hashlib, marshal
from importlib.machinery import ModuleSpec
sys.dont_write_bytecode = True
wanted, folder = sys.argv[1:3]
private = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
place = None
if folder:
    try:
        place = os.open(folder, private | os.O_DIRECTORY)
        look = os.fstat(place)
        if look.st_uid != os.geteuid() or look.st_mode & 0o022: folder = ''
    except FileNotFoundError: pass
    except OSError: folder = ''
path = folder and os.path.join(folder, 'hostside-' + wanted + '.pyz')
beside = path and '%s.%s-%x' % (path[:-4], sys.implementation.cache_tag, sys.hexversion)
given, pending, made = sys.stdin.buffer, [], {}
def read(path):
    if not path or place is None: return b''
    try:
        with os.fdopen(os.open(os.path.basename(path), private, dir_fd=place), 'rb') as f: return f.read()
    except OSError: return b''
data = read(path)
known = hashlib.sha256(data).hexdigest() == wanted
sys.stdout.write('{"known": %d}\n' % known); sys.stdout.flush()
if not known:
    line = given.readline()
    while line and not line.startswith(b'program '):
        pending.append(line); line = given.readline()
    if not line: sys.exit(4)
    data = given.read(int(line.split()[1]))
    if hashlib.sha256(data).hexdigest() != wanted: sys.exit(4)
else:
    kept = memoryview(read(beside))
    if kept[:32] == hashlib.sha256(kept[32:]).digest(): made = marshal.loads(kept[32:])
class Finder:
    archive = None
    def find_spec(self, name, where=None, target=None):
        if name.partition('.')[0] == 'hostside':
            inner = name.replace('.', '/') + ('.py' if '.' in name else '/__init__.py')
            spec = ModuleSpec(name, self, origin='hostside-' + wanted + '.pyz/' + inner, is_package='.' not in name)
            spec.has_location = True
            return spec
    def create_module(self, spec): return None
    def exec_module(self, module):
        origin = module.__spec__.origin
        if module.__name__ not in made:
            import io, zipfile
            self.archive = self.archive or zipfile.ZipFile(io.BytesIO(data))
            code = compile(self.archive.read(origin.partition('/')[2]), origin, 'exec')
            made[module.__name__] = marshal.dumps(code)
        else: code = marshal.loads(made[module.__name__])
        exec(code, module.__dict__)
sys.meta_path.insert(0, Finder())
had = len(made)
from hostside import kept, server
kept.running = kept.Program(path, beside, data, known, made, had)
server.serve(pending)
os._exit(0)
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
