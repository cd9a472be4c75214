"""The life of a release on this host: begun, pushed, completed, activated, judged, cleaned up."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from typing import Any, Callable

from . import disk, kept, leftovers, looking, removal, repository, tree, troubles
from .failure import Failure
from .layout import Layout, Records, as_name
from .shapes import Shared

VERDICTS = ("good", "bad", "staged")


def begin(layout: Layout, identifier: str) -> dict[str, Any]:
    """Make the directory that the code is pushed into; sweep what earlier runs left unfinished.

    What is out of use and cannot be removed is in nobody's way; cleaning up tells of it.

    :returns: ``partial``, the directory to fill, and ``reference``, the release whose unchanged files are to
        be linked instead of sent ('' on the first deploy).
    """
    sweep(layout)
    with contextlib.suppress(OSError):
        removal.resume(layout)
    records = Records(layout)
    if records.get(identifier):
        raise Failure(f"release {identifier} exists already", "run the command again", "exists")
    # A run may have died before it wrote down what it had pushed, in this very second.
    disk.discard(layout.path("releases"), identifier)
    partial = layout.partial(identifier)
    os.mkdir(partial, 0o755)
    reference = records.live or records.staged
    return {"partial": partial, "reference": layout.release(reference) if reference else ""}


def unfinished(layout: Layout) -> bool:
    """Whether a run that died left something that the next one has to put away; read-only."""
    for directory in _swept(layout):
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        if any(name.startswith(disk.PARTIAL) and not disk.is_set_aside(name) for name in names):
            return True
    if (removal.pending(layout) and not removal.going_on(layout)) or leftovers.there(layout):
        return True
    staged = layout.linked("staged")
    return os.path.lexists(layout.path("staged")) and staged in ("", layout.linked("current"))


def sweep(layout: Layout) -> None:
    """Put away what runs that died left unfinished; who calls holds the deploy lock."""
    for directory in _swept(layout):
        disk.sweep(directory)
    disk.sweep_orphans(layout.path(".deploy"))
    leftovers.sweep(layout)
    disk.sweep(layout.path(".deploy", "units"))
    if layout.linked("staged") in ("", layout.linked("current")):
        disk.remove(layout.path("staged"))


def _swept(layout: Layout) -> list[str]:
    return [layout.base, *(layout.path(kind) for kind in removal.KINDS)]


def link_known(layout: Layout, identifier: str, entries: str) -> dict[str, Any]:
    """Fill a begun release with directories, links, and the files that the reference release has already.

    :param entries: the code, see :func:`tree.pack`.
    :returns: as :func:`begin`, and ``missing``: the paths of the files that have to be sent.
    """
    begun = begin(layout, identifier)
    partial, reference = begun["partial"], begun["reference"]
    missing = []
    place = Place(partial)
    for path, kind, value in sorted(tree.unpack(entries)):
        if kind == "d":
            place.make(path)
            continue
        target = place.target(path)
        if kind == "l":
            os.symlink(value, target)
        elif not (reference and _link_same(os.path.join(reference, path), target, kind, value)):
            missing.append(path)
    return {**begun, "missing": missing}


def inside(root: str, path: str) -> str:
    """The *path* below *root*.

    :raises Failure: it leads out of it, or is none.
    """
    if path.startswith("/") or {"..", ".", ""} & set(path.split("/")) or "\0" in path:
        raise Failure(f"the path {path!a} leaves the release", kind="refused")
    return os.path.join(root, path)


class Place:
    """A release that is being filled: nothing is written through a link, which may lead anywhere."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._real: set[str] = set()

    def target(self, path: str) -> str:
        """Where the file *path* is to be written; its directory is there.

        :raises Failure: it would not be in the release.
        """
        target = inside(self._root, path)
        self.make(os.path.dirname(path))
        return target

    def make(self, path: str) -> None:
        """Make the directory *path* where there is none."""
        if not path or path in self._real:
            return
        target = inside(self._root, path)
        self.make(os.path.dirname(path))
        try:
            os.mkdir(target, 0o755)
        except FileExistsError:
            if not looking.is_directory(target):
                raise Failure(f"{path!a} is in the way of what is to be below it", kind="refused") from None
        self._real.add(path)


def _link_same(known: str, target: str, kind: str, value: str) -> bool:
    try:
        found = tree.entry(os.path.dirname(known), os.path.basename(known))
        if (found.kind, found.value[: tree.SHORT]) != (kind, value):
            return False
        os.link(known, target, follow_symlinks=False)
    except (OSError, Failure):
        return False
    return True


def receive(layout: Layout, identifier: str, files: list[tuple[str, bool, int, int]], stream: Any) -> dict[str, Any]:
    """Write files that arrive on *stream* one after another: ``[path, executable, size, time]`` each.

    The time of modification (ns) travels because web servers make answers of it, and several hosts should agree.
    """
    place = Place(layout.partial(identifier))
    for path, executable, size, modified in files:
        target = place.target(path)
        assert_fits(path, size, modified)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        with open(descriptor, "wb") as output:
            digest = copy(stream, output, size)
            output.flush()
            os.fchmod(output.fileno(), 0o755 if executable else 0o644)
            os.utime(output.fileno(), ns=(modified, modified))
            tree.remember(output.fileno(), digest)
    return {}


def assert_fits(path: str, size: int, modified: int) -> None:
    """
    :param modified: in nanoseconds.
    :raises Failure: no file has that size or time.
    """
    if size < 0 or abs(modified) >= 1 << 63:
        raise Failure(f"{path!a} has a size or a time that no file has", kind="refused")


def copy(stream: Any, output: Any, size: int) -> str:
    """Copy exactly *size* bytes; their SHA-256, in hex.

    :raises Failure: the stream ended before.
    """
    digest = hashlib.sha256()
    while size:
        chunk = stream.read(min(size, 1 << 18))
        if not chunk:
            raise Failure("the connection ended in the middle of a file", kind="cut")
        digest.update(chunk)
        output.write(chunk)
        size -= len(chunk)
    return digest.hexdigest()


def finish_push(
    layout: Layout,
    identifier: str,
    digest: str,
    shared: Shared,
    record: dict[str, Any],
) -> dict[str, Any]:
    """Verify the pushed code, link what is shared into it, and give it its name.

    :returns: ``verified``; False when the code that arrived is not the code that was sent.
    """
    partial = layout.partial(identifier)
    if tree.digest(tree.walk(partial)) != digest:
        return {"verified": False}
    for path in shared["dirs"]:
        inside(layout.path("shared"), path)
        disk.make_directories(layout.path("shared"), path)
    for path in [*shared["files"], *shared["dirs"]]:
        link = inside(partial, path)
        parent, real = os.path.dirname(link), os.path.realpath(partial)
        # What the link points at would be removed, wherever that is.
        if os.path.realpath(parent) != os.path.normpath(os.path.join(real, os.path.dirname(path))):
            raise Failure(f"{path} is to be shared, but the code has a link on the way to it", kind="refused")
        disk.make_way(parent)
        disk.remove(link)
        depth = path.count("/")
        os.symlink("../" * (depth + 2) + "shared/" + path, link)
    os.chmod(partial, 0o755)
    disk.sync_file_system(partial)
    os.rename(partial, layout.release(identifier))
    disk.sync_directory(layout.path("releases"))
    records = Records(layout)
    records.update(identifier, **{**record, "state": "pushed", "id": identifier, "tree": digest, "pushed": now()})
    records.save()
    disk.link_atomically(f"releases/{identifier}", layout.path("staged"))
    return {"verified": True}


def complete(layout: Layout, identifier: str, venv: str, manifest: dict[str, Any]) -> dict[str, Any]:
    """Give a pushed release its venv and, last of all, its manifest: from here on it never changes.

    :param manifest: what `.release.json` adds to the record made at push (bundle, tool version, ...).
    """
    records = Records(layout)
    if records.state(identifier) not in ("pushed", "staged"):
        raise Failure(f"release {identifier} is {records.state(identifier) or 'not there'}, not pushed", "run fab push")
    release = layout.release(identifier)
    disk.link_atomically(f"../../venvs/{as_name(venv)}", os.path.join(release, ".venv"))
    pushed = {key: value for key, value in records.get(identifier).items() if key not in ("state", "venv", "bundle")}
    disk.write_json(os.path.join(release, ".release.json"), {"schema": 1, **pushed, **manifest, "venv": venv})
    records.update(identifier, state="staged", venv=venv, bundle=str(manifest.get("bundle", "")))
    records.save()
    return {"release": identifier, "venv": venv}


def activate(layout: Layout, identifier: str) -> dict[str, Any]:
    """Switch `current` to a complete release by rename(2), and count the activation."""
    records = Records(layout)
    release = layout.release(identifier)
    state = records.state(identifier)
    if (
        not layout.has(identifier)
        or looking.kind(os.path.join(release, ".release.json")) != stat.S_IFREG
        or not looking.leads_somewhere(os.path.join(release, ".venv", "bin", "python"))
    ):
        raise Failure(f"release {identifier} is not complete", "run fab update-deps", "incomplete")
    if state == "bad":
        raise Failure(f"release {identifier} was bad before", "deploy a mended one", "bad")
    former = records.live
    number = records.set_live(identifier, activated=now())
    # The record is written first and takes its place last: a disk that is full is found before anything is switched.
    records.save(then=lambda: disk.link_atomically(f"releases/{identifier}", layout.path("current")))
    if records.staged == identifier:
        disk.remove(layout.path("staged"))
    return {"former": former, "activation": number, "was_good": state == "good"}


def judge(layout: Layout, identifier: str, verdict: str, reason: str = "") -> dict[str, Any]:
    """Record what a release turned out to be: ``good`` or ``bad``; or ``staged`` again, where that is not known."""
    if verdict not in VERDICTS:
        raise Failure(f"a release is {', '.join(VERDICTS)}, not {verdict!a}", kind="refused")
    records = Records(layout)
    layout.release(identifier)  # which has to be a name
    records.update(identifier, state=verdict, judged=now(), reason=reason)
    records.save()
    if verdict == "staged" and records.live != identifier:
        disk.link_atomically(f"releases/{identifier}", layout.path("staged"))
    return {"state": verdict}


def discard(layout: Layout, identifier: str) -> dict[str, Any]:
    """Forget a release that never served: after a failure before activation, nothing partial stays."""
    records = Records(layout)
    if records.live == as_name(identifier):
        raise Failure(f"release {identifier} serves", kind="refused")
    staged = records.staged
    disk.discard(layout.path("releases"), identifier)
    if staged == identifier:
        disk.remove(layout.path("staged"))
    if records.get(identifier):
        Records(layout).save()  # reading them again drops what has no directory any more
    repository.forget(layout)
    return {}


def expendable(records: Records, keep: int) -> list[str]:
    """The releases that may go: all but the live, the staged, the rollback target and *keep* good ones.

    Of bad and never-activated ones, those stay that are newer than the oldest good one that is kept.
    """
    good = sorted(
        (identifier for identifier, record in records.releases.items() if record.get("state") == "good"),
        key=lambda identifier: int(records.get(identifier).get("activation", 0)),
        reverse=True,
    )
    kept = {*good[:keep], records.live, records.staged, records.rollback_target()}
    oldest = min((int(records.get(name).get("activation", 0)) for name in kept if name in good), default=0)

    def goes(identifier: str) -> bool:
        record = records.get(identifier)
        if identifier in kept:
            return False
        if record.get("state") in ("pushed", "staged"):
            return True
        return record.get("state") == "good" or int(record.get("activation", 0)) < oldest

    return [identifier for identifier in records.releases if goes(identifier)]


def cleanup(layout: Layout, keep: int, thorough: bool = False) -> dict[str, Any]:
    """Take old releases, then venvs no release uses, then wheels no venv holds out of use, and have them removed.

    :param thorough: wait until they are, and collect the repository even where that is hardly worth while.
    :returns: the names of the ``releases``, ``venvs`` and ``wheels`` that went, the bytes that the ``repository`` gave
        back, and the first ``problem``, '' where there was none: what cannot be removed may fail neither what was
        deployed nor the removal of the rest.
    """
    gone: dict[str, Any] = {"releases": [], "venvs": [], "wheels": [], "repository": 0, "problem": ""}

    def collect() -> None:
        gone["repository"] = repository.collect(layout, thorough)

    steps: list[Callable[[], Any]] = [
        lambda: sweep(layout),
        lambda: removal.resume(layout),
        lambda: _take_out_of_use(layout, keep, gone),
        lambda: removal.now(layout) if thorough else removal.afterwards(layout),
        collect,
        lambda: _forget_programs(layout),
    ]
    for step in steps:
        try:
            step()
        except Failure as failure:
            gone["problem"] = gone["problem"] or failure.what
        except OSError as error:
            gone["problem"] = gone["problem"] or troubles.explain(error, layout.base).what
    return gone


def _take_out_of_use(layout: Layout, keep: int, gone: dict[str, Any]) -> None:
    """Set aside what is not needed, and add the names to *gone*."""
    from . import venvs

    def away(kind: str, names: list[str]) -> None:
        for name in names:
            disk.set_aside(layout.path(kind), name)
            gone[kind].append(name)

    records = Records(layout)
    unknown = [name for name in disk.finished(layout.path("releases")) if name not in records.releases]
    away("releases", expendable(records, keep) + unknown)
    if gone["releases"]:
        disk.sync_directory(layout.path("releases"))  # or a power cut could bring back one that no record knows
    records = Records(layout)  # without those that have no directory any more
    records.save()
    used = {record["venv"] for record in records.releases.values() if record.get("venv")}
    away("venvs", venvs.unused(layout.base, used))
    away("wheels", venvs.unused_wheels(layout.base))


def _forget_programs(layout: Layout) -> None:
    """Remove host programs of other versions, and what other interpreters made of them."""
    for name in os.listdir(layout.path(".deploy")):
        if name.startswith("hostside-") and name not in kept.running.names:
            os.unlink(layout.path(".deploy", name))


def now() -> str:
    """This host's time, UTC, ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
