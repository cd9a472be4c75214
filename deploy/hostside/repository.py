"""The repository `repo/`: commits are pushed into it, and releases are filled from it.

It is a store and nothing more. A release is plain files, so the repository may be lost or damaged: it is made anew, and
filled by the next push. One ref a release (`refs/deploy/<identifier>`) keeps what that release is made of.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from . import disk, looking, tree
from .failure import Failure
from .layout import Layout

if TYPE_CHECKING:
    from .releases import Place

NAME = "repo"
REFS = "refs/deploy"

_MARK = "deploy.json"

# Kept for so long that collecting pays: as many loose objects or packs, or as large as twice what it was when it was
# last collected, and this beside.
_LOOSE = 2_000
_PACKS = 20
_SPARE = 16 << 20

# More names than hg can quickly choose by: then all is laid out.
_NAMED_AT_MOST = 200


def open_repository(layout: Layout, kind: str, form: str, anew: bool = False) -> dict[str, Any]:
    """Make the repository where there is none, and remove what former pushes left unfinished in it.

    :param kind: ``git`` or ``hg``.
    :param form: the format of git's objects, ``sha1`` or ``sha256``; '' for hg.
    :param anew: throw away what is there: it is damaged.
    :returns: its ``path``.
    :raises Failure: something lies there that is not ours, or it cannot be made.
    """
    path = layout.path(NAME)
    known = disk.read_json(os.path.join(path, _MARK), "Repository") if looking.is_directory(path) else None
    if known is None and os.path.lexists(path):
        raise Failure(f"{path} is there and was not made by fabric-wheelhouse", "move it away", "refused")
    cut = os.path.lexists(os.path.join(path, ".hg/store/journal"))  # of a push that could not take itself back
    if known is None or anew or cut or (known["kind"], known["form"]) != (kind, form):
        disk.discard(layout.base, NAME)
        _make(layout, kind, form)
    else:
        _sweep(path, kind)
        forget(layout)
    return {"path": path}


def _make(layout: Layout, kind: str, form: str) -> None:
    partial = layout.path(disk.PARTIAL + NAME)
    disk.remove(partial)
    os.mkdir(partial, 0o700)  # the history may hold what no release does
    if kind == "git":
        # Without templates, so without hooks. The format is said only where it is not every git's.
        formats = [] if form == "sha1" else [f"--object-format={form}"]
        _run([*_git(), "init", "--quiet", "--bare", "--template=", *formats, partial])
        os.chmod(partial, 0o700)
    else:
        _hg(["init", partial])
        # A push to a repository that publishes would change the phases of the local one.
        with open(os.path.join(partial, ".hg", "hgrc"), "w", encoding="utf-8") as stream:
            stream.write("[phases]\npublish = False\n[ui]\ntimeout = 30\n")
    disk.write_json(os.path.join(partial, _MARK), {"kind": kind, "form": form, "size": 0})
    os.rename(partial, layout.path(NAME))
    disk.sync_directory(layout.base)


def _sweep(path: str, kind: str) -> None:
    """Remove what a push that was cut left behind; the deploy lock says that none is running."""
    if kind != "git":
        for name in os.listdir(path):
            if name.startswith("hg-"):  # what was sent; see deploy/source/hg.py
                disk.remove(os.path.join(path, name))
        return
    for directory, names, files in os.walk(path):
        for name in [*names, *files]:
            if name.startswith(("incoming-", "tmp_")) or name.endswith(".lock"):
                disk.remove(os.path.join(directory, name))
        if os.path.basename(directory) == "objects":
            names[:] = [name for name in names if name == "pack" or len(name) == 2]


def fill(layout: Layout, identifier: str, commit: str, prefix: str, paths: str, modified: int) -> dict[str, Any]:
    """Write files of *commit* into a begun release.

    :param prefix: the part of the commit that is the release; '' for all of it.
    :param paths: which files, see :func:`tree.pack`.
    :param modified: their time of modification, in seconds since 1970.
    :raises Failure: the repository has not got them; of the kind ``repository``.
    """
    from .releases import Place, assert_fits

    wanted = tree.unpack(paths)
    if commit.startswith("-") or prefix.startswith("-"):
        raise Failure(f"{commit!a}:{prefix!a} is no commit", kind="refused")
    assert_fits(commit, 0, modified * 10**9)
    place = Place(layout.partial(identifier))
    if os.path.isdir(os.path.join(layout.path(NAME), ".hg")):
        _fill_from_hg(layout, place, commit, prefix, wanted, modified)
        return {}
    import tempfile

    blobs = _blobs(layout, commit, prefix)
    lacking = [item.path for item in wanted if item.path not in blobs]
    if lacking:
        raise Failure(f"commit {commit[:7]} has no {lacking[0]}", kind="repository")
    with tempfile.TemporaryFile(prefix=disk.PARTIAL, dir=layout.path("releases")) as asked:
        asked.write("".join(f"{blobs[item.path]}\n" for item in wanted).encode())
        asked.seek(0)
        with _reading([*_git(layout), "cat-file", "--batch", "--buffer"], asked) as stream:
            for item in wanted:
                header = stream.readline().split()
                if len(header) != 3 or header[1] != b"blob":
                    raise Failure(f"the repository has lost a part of commit {commit[:7]}", kind="repository")
                _write(place.target(item.path), item.kind == "x", stream, int(header[2]), modified)
                stream.read(1)
    return {}


def _fill_from_hg(
    layout: Layout, place: Place, commit: str, prefix: str, wanted: Sequence[tree.Entry], modified: int
) -> None:
    import tempfile

    # Beside the release, so that a rename is enough, and swept like it.
    with tempfile.TemporaryDirectory(prefix=disk.PARTIAL, dir=layout.path("releases")) as folder:
        laid_out, names = os.path.join(folder, "tree"), os.path.join(folder, "names")
        options = []
        if len(wanted) <= _NAMED_AT_MOST:
            with open(names, "wb") as stream:
                stream.writelines(b"path:" + os.fsencode(os.path.join(prefix, item.path)) + b"\0" for item in wanted)
            options = ["--include", f"listfile0:{names}"]
        line = ["archive", "--repository", layout.path(NAME), "--rev", commit, "--type", "files", "--no-decode"]
        _hg([*line, "--config", "ui.archivemeta=false", *options, laid_out])
        for item in wanted:
            source = os.path.join(laid_out, prefix, item.path)
            if not os.path.isfile(source):
                raise Failure(f"commit {commit[:12]} has no {item.path}", kind="repository")
            target = place.target(item.path)
            os.chmod(source, 0o755 if item.kind == "x" else 0o644)
            os.utime(source, (modified, modified))
            os.rename(source, target)


def _write(target: str, executable: bool, stream: Any, size: int, modified: int) -> None:
    from .releases import copy

    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    with open(descriptor, "wb") as output:
        digest = copy(stream, output, size)
        output.flush()
        os.fchmod(output.fileno(), 0o755 if executable else 0o644)
        os.utime(output.fileno(), (modified, modified))
        tree.remember(output.fileno(), digest)


def _blobs(layout: Layout, commit: str, prefix: str) -> dict[str, str]:
    listed = _run([*_git(layout), "ls-tree", "-r", "-z", f"{commit}:{prefix}"])
    blobs = {}
    for line in listed.split(b"\0")[:-1]:
        words, _, path = line.partition(b"\t")
        _mode, kind, oid = words.decode().split()
        if kind == "blob":
            blobs[os.fsdecode(path)] = oid
    return blobs


@contextlib.contextmanager
def _reading(command: Sequence[str], source: Any) -> Iterator[Any]:
    import subprocess

    process = subprocess.Popen(command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield process.stdout
    finally:
        process.kill()
        process.communicate()


def refs(layout: Layout) -> list[str]:
    """The releases that the repository keeps something for."""
    path = layout.path(NAME)
    found = set()
    with contextlib.suppress(OSError):
        found.update(os.listdir(os.path.join(path, REFS)))
    with contextlib.suppress(OSError):
        with open(os.path.join(path, "packed-refs"), encoding="utf-8", errors="replace") as stream:
            names = [line.split()[1] for line in stream if not line.startswith(("#", "^"))]
        found.update(name[len(REFS) + 1 :] for name in names if name.startswith(REFS + "/"))
    return sorted(found)


def forget(layout: Layout) -> list[str]:
    """Delete the refs of releases that are no more; their names."""
    gone = [name for name in refs(layout) if not layout.has(name)]
    if gone and shutil.which("git"):
        _run([*_git(layout), "update-ref", "--stdin"], "".join(f"delete {REFS}/{name}\n" for name in gone).encode())
    return gone


def collect(layout: Layout, thorough: bool) -> int:
    """Delete what no release needs; the bytes that were freed.

    :param thorough: whatever it takes; else only where it has become worth while.
    """
    path = layout.path(NAME)
    known = disk.read_json(os.path.join(path, _MARK), "Repository") if looking.is_directory(path) else None
    if known is None:
        return 0
    before = _size(path)
    if known["kind"] == "hg":
        return _collect_hg(layout, known, before)
    if not shutil.which("git"):
        return 0
    forget(layout)
    if not refs(layout):
        disk.discard(layout.base, NAME)
        return before
    if not thorough:
        if not known["size"]:
            disk.write_json(os.path.join(path, _MARK), {**known, "size": before})
            return 0
        if not _worth_while(path, before, int(known["size"])):
            return 0
    _run([*_git(layout), "gc", "--quiet", "--prune=now"])
    after = _size(path)
    disk.write_json(os.path.join(path, _MARK), {**known, "size": after})
    return max(before - after, 0)


def _collect_hg(layout: Layout, known: dict[str, Any], size: int) -> int:
    """hg deletes nothing from a history: a repository that has doubled is thrown away, and filled by the next push."""
    former = int(known["size"])
    if not former:
        disk.write_json(os.path.join(layout.path(NAME), _MARK), {**known, "size": size})
        return 0
    if size <= 2 * former + _SPARE:
        return 0
    disk.discard(layout.base, NAME)
    return size


def _worth_while(path: str, size: int, former: int) -> bool:
    packs = [name for name in os.listdir(os.path.join(path, "objects/pack")) if name.endswith(".pack")]
    # Names are spread evenly over 256 directories; one of them tells of all.
    sample = os.path.join(path, "objects/17")
    loose = 256 * len(os.listdir(sample)) if os.path.isdir(sample) else 0
    return len(packs) >= _PACKS or loose >= _LOOSE or size > 2 * former + _SPARE


def _size(path: str) -> int:
    return sum(
        os.lstat(os.path.join(directory, name)).st_blocks * 512
        for directory, _, files in os.walk(path)
        for name in files
    )


def _git(layout: Layout | None = None) -> list[str]:
    # What a system or a user configures for people has no say in a store.
    settings = ["-c", "core.hooksPath=/dev/null", "-c", "gc.autoDetach=false", "-c", "core.quotePath=false"]
    return [_program("git"), *settings, *([f"--git-dir={layout.path(NAME)}"] if layout else [])]


def _hg(arguments: Sequence[str]) -> bytes:
    return _run([_program("hg"), *arguments], more={"HGRCPATH": "", "HGPLAIN": "1"})


def _program(name: str) -> str:
    found = shutil.which(name)
    if not found:
        raise Failure(f"there is no {name} on the host", "install it, or set deploy.source.strategy: auto")
    return found


def _run(command: Sequence[str], content: bytes = b"", more: dict[str, str] | None = None) -> bytes:
    import subprocess

    around = {**os.environ, **(more or {})}
    result = subprocess.run(command, input=content, capture_output=True, env=around, check=False)
    if result.returncode:
        said = (result.stderr or result.stdout).decode(errors="replace").strip().splitlines()
        verb = " ".join([os.path.basename(command[0]), *said[-1:]])
        raise Failure(f"{verb} (exit {result.returncode})", kind="repository")
    return result.stdout
