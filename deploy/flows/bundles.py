"""`fab bundle.…`: look at the bundles of the wheelhouse, compare them, carry them, and let go of the old ones.

All of it happens on this machine; no host is asked.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from fabric import Config

from ..bundle import Bundle, Manifest, Wanted, Wheel, Wheelhouse, archive, comparing, pruning, signing
from ..config import Settings, relative_to
from ..errors import BuildError, ConfigurationError
from ..report.console import Report, make
from .asking import asked
from .projects import Project
from .run import Options, terminable
from .signing import allowed_path

SHORT = 12
"""Digits of a digest that are shown."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """The wheelhouse, and the lock files of the project that looks at it.

    :ivar locks: hash of each lock file of the chosen stage, or of all, and what it is called in the configuration.
    :ivar wanted: what each of them asks for, by the same hash.
    """

    wheelhouse: Wheelhouse
    project: Project
    stages: Mapping[str, Settings]
    locks: Mapping[str, str]
    wanted: Mapping[str, Wanted]

    @classmethod
    def open(cls, config: Config, *, every: bool = False) -> Shelf:
        """Look at the project of *config*, at *every* stage of it even where one is chosen."""
        project = Project.of(config)
        stages = project.stages(every=every)
        locks, wanted = {}, {}
        for settings in stages.values():
            if relative_to(project.directory, settings.requirements).is_file():
                found = asked(settings, project.directory)
                locks[found.sha256] = settings.requirements
                wanted[found.sha256] = found
        return cls(Wheelhouse(), project, stages, locks, wanted)

    def hash_of(self, lock: Path) -> str:
        """The hash of another lock file, read as the project's stage reads its own."""
        settings = next(iter(self.stages.values()), None)
        if settings is None:
            raise ConfigurationError("no stage says how a lock file is read", where=str(lock))
        return asked(settings, self.project.directory, lock).sha256

    def manifests(self) -> list[Manifest]:
        """Of every bundle, the newest first."""
        return [kept.manifest for kept in self.wheelhouse.bundles() if kept.manifest is not None]

    def ours(self) -> list[Manifest]:
        """The bundles of the project's lock files as they are now.

        :raises ConfigurationError: there is none.
        """
        found = [manifest for manifest in self.manifests() if manifest.lock_sha256 in self.locks]
        if not found:
            named = ", ".join(sorted(set(self.locks.values()))) or "this project's lock file"
            raise ConfigurationError(
                f"there is no bundle of {named} in the wheelhouse",
                where=str(self.wheelhouse.root),
                hint="fab create-bundle makes it; fab bundle.list shows what is there",
            )
        return found

    def find(self, word: str) -> Manifest:
        """The bundle whose digest begins with *word*; of several with that digest ours, else the newest.

        :raises ConfigurationError: there is none, or the beginning is that of several.
        """
        found = [manifest for manifest in self.manifests() if word and manifest.digest.startswith(word.lower())]
        digests = {manifest.digest for manifest in found}
        if len(digests) == 1:
            return next((each for each in found if each.lock_sha256 in self.locks), found[0])
        if digests:
            several = ", ".join(sorted(digest[:SHORT] for digest in digests))
            raise ConfigurationError(f"{word!r} is the beginning of several bundles: {several}")
        raise ConfigurationError(
            f"there is no bundle {word!r} in the wheelhouse",
            where=str(self.wheelhouse.root),
            hint="fab bundle.list shows what is there",
        )

    def bundle(self, manifest: Manifest) -> Bundle:
        return Bundle(manifest, self.wheelhouse, True, self.wheelhouse.signature(manifest))

    def allowed(self) -> Path | None:
        """The allowed signers file of the first stage that has one."""
        for settings in self.stages.values():
            if path := allowed_path(settings, self.project.directory):
                return path
        return None


def show(config: Config, word: str | None) -> None:
    """A bundle in full: *word* is the beginning of its digest or an exported file, None for the project's own."""
    shelf = Shelf.open(config)
    with make() as report:
        if word and archive.is_archive(Path(word)):
            report.say(f"{word} (not verified before it is imported)")
            _show(shelf, archive.read_manifest(Path(word)), report)
            return
        for manifest in [shelf.find(word)] if word is not None else shelf.ours():
            _show(shelf, manifest, report)
            report.say(f"signed   {_signed_by(shelf, manifest, shelf.wheelhouse.signature(manifest))}")
            if (bill := shelf.wheelhouse.bill(manifest)).is_file():
                report.say(f"sbom     {bill}")


def _show(shelf: Shelf, manifest: Manifest, report: Report) -> None:
    report.say(f"bundle   {manifest.digest}")
    report.say(f"target   {manifest.target.name}")
    named = shelf.locks.get(manifest.lock_sha256)
    report.say(f"lock     {manifest.lock_sha256}" + (f" ({named})" if named else ""))
    report.say(f"made by  {manifest.tool}")
    report.table(
        ["package", "version", "size", "sha256", "origin"],
        [
            [wheel.name, wheel.version, size(wheel.size), wheel.sha256[:SHORT], wheel.origin.words]
            for wheel in manifest.wheels
        ],
    )
    report.say(f"{_count(manifest.wheels, 'wheel')}, {size(manifest.size)}")


def _signed_by(shelf: Shelf, manifest: Manifest, signature: str) -> str:
    if not signature:
        return "by nobody"
    try:
        if allowed := shelf.allowed():
            return f"by {signing.verify(manifest, signature, allowed)}"
        return f"by {signing.examine(manifest, signature)}; no list of allowed signers is configured"
    except (BuildError, ConfigurationError) as error:
        return f"not well: {error.what}"


def show_all(config: Config) -> None:
    """Every bundle of the wheelhouse, the newest first."""
    shelf = Shelf.open(config)
    rows = []
    with make() as report:
        for kept in shelf.wheelhouse.bundles():
            manifest = kept.manifest
            if manifest is None:
                report.warn(f"{kept.path} cannot be read; fab bundle.prune removes it")
                continue
            rows.append(
                [
                    manifest.digest[:SHORT],
                    manifest.target.name,
                    _day(kept.made),
                    str(len(manifest.wheels)),
                    size(manifest.size),
                    "yes" if shelf.wheelhouse.signature(manifest) else "no",
                    shelf.locks.get(manifest.lock_sha256, ""),
                ]
            )
        if rows:
            report.table(["bundle", "target", "made", "wheels", "size", "signed", "lock file here"], rows)
        else:
            report.say(f"there is no bundle in {shelf.wheelhouse.root}; next: fab create-bundle")


def diff(config: Config, former: str, new: str) -> None:
    """What is different between two bundles: digests, exported files, lock files, or git revisions of the lock file."""
    shelf = Shelf.open(config)
    pairs = list(product(_candidates(shelf, former), _candidates(shelf, new)))
    alike = [(a, b) for a, b in pairs if a.target == b.target]
    if not alike and len(pairs) > 1:
        raise ConfigurationError(f"{former} and {new} have bundles for different targets; name them by their digests")
    with make() as report:
        for a, b in alike or pairs:
            report.say(f"{a.digest[:SHORT]} → {b.digest[:SHORT]} for {b.target.name}")
            if a.target != b.target:
                report.warn(f"the first is for another target: {a.target.name}")
            found = comparing.compare(a, b)
            rows = [["added", wheel.name, "", wheel.version, size(wheel.size)] for wheel in found.added]
            rows += [["removed", wheel.name, wheel.version, "", ""] for wheel in found.removed]
            rows += [["changed", *_change(before, after), size(after.size)] for before, after in found.changed]
            if found.nothing:
                report.say("no difference")
                continue
            report.table(["", "package", "from", "to", "size"], rows)
            report.say(f"a host that has {a.digest[:SHORT]} is sent {size(found.to_send)} ({found.to_send} bytes)")


def _change(before: Wheel, after: Wheel) -> list[str]:
    if before.version == after.version:
        return [after.name, f"{before.version} ({before.filename})", f"{after.version} ({after.filename})"]
    return [after.name, before.version, after.version]


def _candidates(shelf: Shelf, word: str) -> list[Manifest]:
    """The bundles that a word of the command line may mean."""
    path = Path(word)
    if archive.is_archive(path):
        return [archive.read_manifest(path)]
    if path.is_file():
        return _of_lock(shelf, shelf.hash_of(path), word)
    if any(manifest.digest.startswith(word.lower()) for manifest in shelf.manifests()):
        return [shelf.find(word)]
    found = []
    for requirements in sorted(set(shelf.locks.values())):
        text = _at_revision(relative_to(shelf.project.directory, requirements), word)
        if text is not None:
            with tempfile.TemporaryDirectory() as space:
                former = Path(space) / Path(requirements).name
                former.write_bytes(text)
                found += _of_lock(shelf, shelf.hash_of(former), f"{requirements} of {word}")
    return found or [shelf.find(word)]


def _of_lock(shelf: Shelf, lock_sha256: str, word: str) -> list[Manifest]:
    found = [manifest for manifest in shelf.manifests() if manifest.lock_sha256 == lock_sha256]
    if not found:
        raise ConfigurationError(
            f"there is no bundle of {word} in the wheelhouse",
            where=str(shelf.wheelhouse.root),
            hint="fab create-bundle makes the one of the lock file as it is now",
        )
    return found


def _at_revision(path: Path, revision: str) -> bytes | None:
    """A file as it was in a git revision; None where git knows no such thing."""
    if revision.startswith("-"):
        return None
    command = ["git", "-C", str(path.parent), "show", f"{revision}:./{path.name}"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def export(config: Config, file: str, word: str | None) -> None:
    """Write a bundle to one file; *word* is the beginning of its digest, None for the project's own."""
    shelf = Shelf.open(config)
    if word is not None:
        manifest = shelf.find(word)
    else:
        ours = shelf.ours()
        if len(ours) > 1:
            several = "\n".join(f"--bundle {each.digest[:SHORT]}   {each.target.name}" for each in ours)
            raise ConfigurationError("the lock file has several bundles; which?", hint=several)
        (manifest,) = ours
    with terminable(), make() as report:
        bundle = shelf.bundle(manifest)
        for wheel in manifest.wheels:
            if not bundle.path(wheel).is_file():
                raise BuildError(
                    f"the wheelhouse lacks {wheel.filename} of bundle {manifest.digest[:SHORT]}",
                    where=str(shelf.wheelhouse.root),
                    hint="fab create-bundle makes it again",
                )
        archive.write(bundle, Path(file))
        written = Path(file).stat().st_size
        report.say(f"{file}: bundle {manifest.digest[:SHORT]} for {manifest.target.name}, {size(written)}")
        if not bundle.signature:
            report.say("it is not signed (deploy.bundle.sign)")


def bring_in(config: Config, file: str) -> None:
    """Verify an exported bundle and take it into the wheelhouse."""
    shelf = Shelf.open(config)

    def check(manifest: Manifest, signature: str) -> None:
        allowed = shelf.allowed()
        if signature and allowed:
            signing.verify(manifest, signature, allowed)
        elif signature:
            signing.examine(manifest, signature)
        elif allowed:
            raise BuildError(
                "the bundle is not signed, and deploy.bundle.allowed_signers is set",
                where=file,
                hint="let an allowed signer make it, with deploy.bundle.sign",
            )
        _check_against_lock(shelf, manifest, file)

    with terminable(), make() as report, _disk_errors():
        accept = [name for settings in shelf.stages.values() for name in settings.accept_wheels]
        taken = archive.take(Path(file), shelf.wheelhouse, check, accept, report.warn)
        manifest = taken.manifest
        verb = "is here already" if taken.reused else "imported"
        report.say(f"bundle {manifest.digest[:SHORT]} {verb}: {manifest.target.name}, {size(manifest.size)}")
        named = shelf.locks.get(manifest.lock_sha256)
        if named:
            report.say(f"it is that of {named}; next: fab deploy")
        elif shelf.locks:
            report.warn(f"it is not that of {', '.join(sorted(set(shelf.locks.values())))} as it lies here")


def _check_against_lock(shelf: Shelf, manifest: Manifest, file: str) -> None:
    """Where the project has the lock file that the bundle says it is made for, all of it has to be there."""
    named = shelf.locks.get(manifest.lock_sha256)
    if named is None:
        return
    if problems := shelf.wanted[manifest.lock_sha256].problems(manifest):
        raise BuildError(
            f"the bundle is not what {named} asks for: {'; '.join(problems)}",
            where=file,
            hint="nothing was taken in; create and export it again",
        )


def prune(config: Config, options: Options, keep: str) -> None:
    """Remove what neither the last *keep* bundles nor this project's lock files need.

    :raises ConfigurationError: *keep* is no number.
    """
    if not keep.isascii() or not keep.isdigit():
        raise ConfigurationError(f"must be a whole number of bundles, not {keep!r}", where="--keep")
    shelf = Shelf.open(config, every=True)
    leavings = pruning.plan(shelf.wheelhouse, shelf.locks, int(keep), time.time())
    verb = "would remove" if options.dry else "removed"
    with terminable(), make() as report:
        if leavings.nothing:
            report.say(f"nothing to remove from {shelf.wheelhouse.root}")
            return
        for kept in leavings.bundles:
            manifest = kept.manifest
            name = f"{manifest.digest[:SHORT]} for {manifest.target.name}" if manifest else kept.path.name
            report.say(f"{verb} bundle {name}, made {_day(kept.made)}")
        if options.dry:
            for folder in leavings.wheels:
                report.say(f"{verb} {', '.join(sorted(path.name for path in folder.glob('*.whl'))) or folder.name}")
        else:
            with _disk_errors():
                pruning.prune(shelf.wheelhouse, leavings)
        report.say(
            f"{verb} {_count(leavings.bundles, 'bundle')} and {_count(leavings.wheels, 'wheel')}, {size(leavings.size)}"
        )


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    """A full disk, or a wheelhouse that is somebody else's, as one error."""
    try:
        yield
    except OSError as error:
        raise BuildError(
            f"the wheelhouse cannot be changed: {error.strerror}", where=str(error.filename or Wheelhouse().root)
        ) from None


def _count(things: Sequence[object], word: str) -> str:
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"


def size(number: int) -> str:
    """Bytes in words."""
    return f"{number / (1 << 20):.1f} MiB" if number >= 100 << 10 else f"{number / (1 << 10):.1f} KiB"


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
