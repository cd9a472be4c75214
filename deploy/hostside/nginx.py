"""nginx as a balancer: the file that names an upstream's servers, written anew and taken by a reload.

A server is taken out by the parameter ``down`` (ngx_http_upstream_module), with a comment of ours behind it, so that
what an administrator took out can be told from what a run did. One server a line.
"""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from . import disk, sockets
from .failure import Failure
from .layout import Layout

DRAINED = "  # drained by fabric-wheelhouse"
CLOSED = "  # maintenance by fabric-wheelhouse"
LOOK_EVERY_S = 0.1
RELOADED_WITHIN_S = 20.0
TESTED_WITHIN_S = 30.0
QUIET_S = 1.0
"""A former worker may have a request in hand that it has not passed on yet: so long there must be no connection."""

_SERVER = re.compile(r"(?P<head>\s*server\s+)(?P<name>[^\s;{]+)(?P<parameters>[^;{]*);(?P<rest>.*)")
_BLOCK = re.compile(r"\s*upstream\s+(?P<name>[^\s{]+)\s*\{?\s*(#.*)?")


@dataclass(frozen=True)
class Line:
    """A server's line.

    :ivar number: of the line in the file, from 0.
    """

    number: int
    name: str
    parameters: str
    rest: str

    @property
    def down(self) -> bool:
        return "down" in self.parameters.split()

    def marked(self, mark: str) -> bool:
        return self.down and self.rest.endswith(mark)


def look(layout: Layout, file: str, upstream: str, pidfile: str, program: str) -> dict[str, Any]:
    """The servers of the file by their addresses, each with ``status``, ``up`` and ``out``; see :func:`haproxy.look`.

    :raises Failure: nginx does not run, would not take its configuration as it is, or the file has no servers.
    """
    _main_process(pidfile)
    _test(program)
    found = {}
    for line in _servers(_read(file), file, upstream):
        out = "drain" if line.marked(DRAINED) else "maint" if line.down else ""
        status = {"": "in", "drain": "down, by fabric-wheelhouse", "maint": "down"}[out]
        found[line.name] = {"status": status, "up": not out, "out": out}
    return found


def drain(
    layout: Layout, file: str, upstream: str, pidfile: str, program: str, servers: Sequence[str], timeout: float
) -> dict[str, int]:
    """Have nginx give *servers* nothing new, and wait until its former workers have nothing for them.

    :returns: the connections that are left after *timeout* seconds, of the servers that have some.
    """
    former = _change(file, upstream, pidfile, program, servers, DRAINED, taken=True)
    ends = {name: _ends(name) for name in servers}
    deadline = time.monotonic() + timeout
    quiet_since = time.monotonic()
    while former and time.monotonic() < deadline:
        former = [pid for pid in former if _worker(pid)]
        if sockets.count_to(end for its in ends.values() for end in its):
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since >= QUIET_S:
            break
        time.sleep(LOOK_EVERY_S)
    return {name: count for name, its in ends.items() if former and (count := sockets.count_to(its))}


def ready(
    layout: Layout, file: str, upstream: str, pidfile: str, program: str, servers: Sequence[str]
) -> dict[str, str]:
    """Have nginx give *servers* requests again; it has taken that when this ends."""
    _change(file, upstream, pidfile, program, servers, DRAINED, taken=False)
    return {}


def close(
    layout: Layout, file: str, upstream: str, pidfile: str, program: str, servers: Sequence[str]
) -> dict[str, Any]:
    """Take *servers* out until :func:`open_again`; those that are out already are left as they are."""
    _change(file, upstream, pidfile, program, servers, CLOSED, taken=True)
    return {}


def open_again(
    layout: Layout, file: str, upstream: str, pidfile: str, program: str, servers: Sequence[str]
) -> dict[str, Any]:
    """Put back what :func:`close` took out."""
    _change(file, upstream, pidfile, program, servers, CLOSED, taken=False)
    return {}


def _change(
    file: str, upstream: str, pidfile: str, program: str, servers: Sequence[str], mark: str, *, taken: bool
) -> list[int]:
    """Take servers out, or put back those that were taken out so; the workers that are on their way out."""
    old = _read(file)
    new = edited(old, file, upstream, servers, mark, taken=taken)
    if new != old:
        _replace(file, new)
        try:
            _test(program)
        except Failure:
            _replace(file, old)
            raise
    # Also where nothing changed: a run may have died between the file and the reload.
    return _reload(pidfile)


def edited(text: str, file: str, upstream: str, servers: Sequence[str], mark: str, *, taken: bool) -> str:
    """The file's *text* with *servers* taken out, or those of them put back that were taken out with that *mark*."""
    lines = text.split("\n")
    for line in _servers(text, file, upstream):
        if line.name in servers and taken and not line.down:
            lines[line.number] = _with(lines[line.number], line, mark)
        elif line.name in servers and not taken and line.marked(mark):
            lines[line.number] = _without(lines[line.number], line, mark)
    return "\n".join(lines)


def _with(text: str, line: Line, mark: str) -> str:
    head = text[: text.index(";")]
    return f"{head} down;{line.rest}{mark}"


def _without(text: str, line: Line, mark: str) -> str:
    head = re.sub(r"\s+down$", "", text[: text.index(";")])
    return f"{head};{line.rest[: -len(mark)]}"


def _servers(text: str, file: str, upstream: str) -> list[Line]:
    """
    :raises Failure: there is none, or they cannot be told from each other.
    """
    found = []
    inside = not upstream
    for number, line in enumerate(text.split("\n")):
        if upstream and (block := _BLOCK.fullmatch(line)):
            inside = block["name"] == upstream
        elif upstream and line.strip().startswith("}"):
            inside = False
        elif inside and (match := _SERVER.fullmatch(line)):
            found.append(Line(number, match["name"], match["parameters"], match["rest"]))
            if match["rest"].partition("#")[0].strip():
                raise Failure(f"{file}:{number + 1} has more than one server", "write one server a line", "balancer")
    if not found:
        where = f"upstream {upstream!r}" if upstream else "line"
        raise Failure(f"{file} has no {where} with servers", "each has a line of its own: server ADDRESS;", "balancer")
    if len({line.name for line in found}) < len(found):
        raise Failure(f"{file} names a server twice", "name its upstream in deploy.balancer.upstream", "balancer")
    return found


def _read(file: str) -> str:
    try:
        with open(file, encoding="utf-8") as stream:
            return stream.read()
    except (OSError, ValueError) as error:
        hint = "name nginx's file in deploy.balancer.upstream_file, and who may write it in deploy.balancer.user"
        raise Failure(f"{file} cannot be read ({_why(error)})", hint, "balancer") from None


def _replace(file: str, text: str) -> None:
    """In place of the file itself where the name is a link (`sites-enabled`); its mode and its owner stay."""
    path = os.path.realpath(file)
    try:
        known = os.stat(path)
        disk.write_atomically(path, text, stat.S_IMODE(known.st_mode), owner=(known.st_uid, known.st_gid))
    except OSError as error:
        hint = "who may is named in deploy.balancer.user"
        raise Failure(f"{path} cannot be written ({_why(error)})", hint, "balancer") from None


def _test(program: str) -> None:
    try:
        done = subprocess.run(
            [program, "-t", "-q"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TESTED_WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        hint = "nginx itself is named in deploy.balancer.program"
        raise Failure(f"{program} -t could not be run ({_why(error)})", hint, "balancer") from None
    if done.returncode:
        said = done.stdout.decode(errors="replace").strip()
        raise Failure(f"{program} -t refuses nginx's configuration: {said}", "", "balancer")


def _reload(pidfile: str) -> list[int]:
    """Reload, and wait until new workers serve and the former ones take nothing new.

    :returns: the former ones, which may still be at work.
    """
    main = _main_process(pidfile)
    former = [pid for pid in _children(main) if "worker process" in _worker(pid)]
    serving = [pid for pid in former if "shutting down" not in _worker(pid)]
    try:
        os.kill(main, signal.SIGHUP)
    except PermissionError:
        hint = "who may is named in deploy.balancer.user"
        raise Failure("nginx may not be reloaded by this user", hint, "balancer") from None
    deadline = time.monotonic() + RELOADED_WITHIN_S
    while True:
        now = {pid: _worker(pid) for pid in _children(main)}
        new = [pid for pid, title in now.items() if pid not in former and title.endswith("worker process")]
        if new and not any(now.get(pid, "").endswith("worker process") for pid in serving):
            return former
        if time.monotonic() >= deadline:
            raise Failure("nginx did not take its new configuration", "its error log says why", "balancer")
        time.sleep(LOOK_EVERY_S)


def _main_process(pidfile: str) -> int:
    try:
        with open(pidfile, encoding="ascii") as stream:
            number = int(stream.read())
        if "nginx" not in _title(number):
            raise ValueError("that process is not nginx")
    except (OSError, ValueError) as error:
        hint = "is it up, and is deploy.balancer.pidfile right?"
        raise Failure(f"nginx does not run, by {pidfile} ({_why(error)})", hint, "balancer") from None
    return number


def _children(main: int) -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as stream:
                    parent = int(stream.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == main:
                yield int(name)


def _worker(pid: int) -> str:
    """The title of a worker; '' where it has ended, or is something else."""
    title = _title(pid)
    return title if "worker process" in title else ""


def _title(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as stream:
            return stream.read().replace("\0", " ").strip()
    except OSError:
        return ""


def _ends(server: str) -> list[sockets.End]:
    if server.startswith("unix:"):
        return []
    bracketed = re.fullmatch(r"\[(.+)\](?::(\d+))?", server)
    name, port = bracketed.groups() if bracketed else (server.partition(":")[0], server.partition(":")[2])
    return sockets.resolve(name, int(port or 80))


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
