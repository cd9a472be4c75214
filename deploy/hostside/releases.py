"""The life of a release on this host: begun, pushed, completed, activated, judged, cleaned up."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from typing import Any, Callable

from . import disk, kept, leftovers, removal, repository, tree
from .failure import Failure
from .layout import Layout, Records


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
    for path, kind, value in sorted(tree.unpack(entries)):
        target = inside(partial, path)
        if kind == "d":
            os.makedirs(target, 0o755, exist_ok=True)
            continue
        os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
        if kind == "l":
            os.symlink(value, target)
        elif not (reference and _link_same(os.path.join(reference, path), target, kind, value)):
            missing.append(path)
    return {**begun, "missing": missing}


def inside(root: str, path: str) -> str:
    """The *path* below *root*.

    :raises Failure: it leads out of it.
    """
    if os.path.isabs(path) or ".." in path.split("/") or not path:
        raise Failure(f"the path {path!r} leaves the release", kind="refused")
    return os.path.join(root, path)


def _link_same(known: str, target: str, kind: str, value: str) -> bool:
    try:
        found = tree.entry(os.path.dirname(known), os.path.basename(known))
        if (found.kind, found.value[: tree.SHORT]) != (kind, value):
            return False
        os.link(known, target, follow_symlinks=False)
    except (OSError, Failure):
        return False
    return True


def receive(layout: Layout, identifier: str, files: list[list[Any]], stream: Any) -> dict[str, Any]:
    """Write files that arrive on *stream* one after another: ``[path, executable, size, time]`` each.

    The time of modification (ns) travels because web servers make answers of it, and several hosts should agree.
    """
    partial = layout.partial(identifier)
    for path, executable, size, modified in files:
        target = inside(partial, path)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
        with open(descriptor, "wb") as output:
            digest = copy(stream, output, size)
            output.flush()
            os.fchmod(output.fileno(), 0o755 if executable else 0o644)
            os.utime(output.fileno(), ns=(modified, modified))
            tree.remember(output.fileno(), digest)
    return {}


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
    shared: dict[str, list[str]],
    record: dict[str, Any],
) -> dict[str, Any]:
    """Verify the pushed code, link what is shared into it, and give it its name.

    :returns: ``verified``; False when the code that arrived is not the code that was sent.
    """
    partial = layout.partial(identifier)
    if tree.digest(tree.walk(partial)) != digest:
        return {"verified": False}
    for path in shared["dirs"]:
        os.makedirs(inside(layout.path("shared"), path), 0o755, exist_ok=True)
    for path in [*shared["files"], *shared["dirs"]]:
        link = inside(partial, path)
        parent, real = os.path.dirname(link), os.path.realpath(partial)
        # What the link points at would be removed, wherever that is.
        if os.path.realpath(parent) != os.path.normpath(os.path.join(real, os.path.dirname(path))):
            raise Failure(f"{path} is to be shared, but the code has a link on the way to it", kind="refused")
        os.makedirs(parent, 0o755, exist_ok=True)
        disk.remove(link)
        depth = path.count("/")
        os.symlink("../" * (depth + 2) + "shared/" + path, link)
    os.chmod(partial, 0o755)
    disk.sync_file_system(partial)
    os.rename(partial, layout.release(identifier))
    disk.sync_directory(layout.path("releases"))
    records = Records(layout)
    records.update(identifier, state="pushed", id=identifier, tree=digest, pushed=now(), **record)
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
    disk.link_atomically(f"../../venvs/{venv}", os.path.join(release, ".venv"))
    pushed = {key: value for key, value in records.get(identifier).items() if key not in ("state", "venv", "bundle")}
    disk.write_json(os.path.join(release, ".release.json"), {"schema": 1, **pushed, **manifest, "venv": venv})
    records.update(identifier, state="staged", venv=venv, bundle=manifest["bundle"])
    records.save()
    return {"release": identifier, "venv": venv}


def activate(layout: Layout, identifier: str) -> dict[str, Any]:
    """Switch `current` to a complete release by rename(2), and count the activation."""
    records = Records(layout)
    release = layout.release(identifier)
    state = records.state(identifier)
    if not os.path.isfile(os.path.join(release, ".release.json")) or not os.path.exists(
        os.path.join(release, ".venv", "bin", "python")
    ):
        raise Failure(f"release {identifier} is not complete", "run fab update-deps", "incomplete")
    if state == "bad":
        raise Failure(f"release {identifier} was bad before", "deploy a mended one", "bad")
    former = records.live
    disk.link_atomically(f"releases/{identifier}", layout.path("current"))
    number = records.set_live(identifier, activated=now())
    records.save()
    if records.staged == identifier:
        disk.remove(layout.path("staged"))
    return {"former": former, "activation": number, "was_good": state == "good"}


def judge(layout: Layout, identifier: str, verdict: str, reason: str = "") -> dict[str, Any]:
    """Record what a release turned out to be: ``good`` or ``bad``; or ``staged`` again, where that is not known."""
    records = Records(layout)
    records.update(identifier, state=verdict, judged=now(), reason=reason)
    records.save()
    if verdict == "staged" and records.live != identifier:
        disk.link_atomically(f"releases/{identifier}", layout.path("staged"))
    return {"state": verdict}


def discard(layout: Layout, identifier: str) -> dict[str, Any]:
    """Forget a release that never served: after a failure before activation, nothing partial stays."""
    records = Records(layout)
    if records.live == identifier:
        raise Failure(f"release {identifier} serves", kind="refused")
    disk.discard(layout.path("releases"), identifier)
    if os.path.basename(_readlink(layout.path("staged"))) == identifier:
        disk.remove(layout.path("staged"))
    if records.get(identifier):
        Records(layout).save()  # reading them again drops what has no directory any more
    repository.forget(layout)
    return {}


def _readlink(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


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
            gone["problem"] = gone["problem"] or disk.explain(error).what
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
