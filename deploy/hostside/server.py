"""The host program's front door: requests in, one JSON line each; progress and results out, as JSON lines.

A request is ``{"base": PATH, "ops": [[NAME, {ARGUMENT: VALUE}], ...]}``. The operations run in order; each gives a
line ``{"result": ...}``; the first that fails gives ``{"failure": ...}`` and ends the request. While an operation
works, a line ``{"beat": 1}`` every few seconds tells the laptop that this host is alive. What an operation receives
beside its arguments (wheels, files) follows the request on standard input, its length known to both sides.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Callable

from . import asking, kept, shapes, troubles, turns
from .failure import Failure
from .layout import Layout

BEAT_S = 5.0


class Wire:
    """Standard input and output, as requests and answers."""

    def __init__(self, pending: Iterable[bytes] = ()) -> None:
        self.stream = sys.stdin.buffer
        self._pending = list(pending)
        self._output = sys.stdout.buffer
        self._mutex = threading.Lock()

    def requests(self) -> Iterator[tuple[Layout, list[tuple[str, dict[str, Any]]]]]:
        """Base path and operations of each request.

        :raises Failure: what came is no request; nobody can say where the next one begins.
        """
        while True:
            line = self._pending.pop(0) if self._pending else self.stream.readline()
            if not line:
                return
            try:
                request = json.loads(line)
                wrong = shapes.misfit(request, "Request")
            except (ValueError, RecursionError) as error:
                wrong = f" is no JSON: {error}"
            if wrong:
                raise Failure(f"a request is not understood: it{wrong}", kind="refused")
            base, operations = request["base"], [(name, arguments) for name, arguments in request["ops"]]
            if not _is_base(base) and (base or any(name not in BALANCERS for name, _ in operations)):
                raise Failure(f"{base!a} is no base path", kind="refused")
            yield Layout(base), operations

    def send(self, **message: Any) -> None:
        with self._mutex:
            self._output.write(json.dumps(message).encode() + b"\n")
            self._output.flush()

    @contextmanager
    def beating(self, for_nobody: bool) -> Iterator[None]:
        """
        :param for_nobody: go on where nobody listens any more. What does not is as good as killed, which may happen at
            any moment, and is in nobody's way.
        """
        done = threading.Event()

        def beat() -> None:
            try:
                while not done.wait(BEAT_S):
                    self.send(beat=1)
            except OSError:
                if not for_nobody:
                    os._exit(1)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def serve(pending: Iterable[bytes] = ()) -> None:
    """Answer requests until standard input ends."""
    os.umask(0o022)
    os.chdir("/")
    wire = Wire(pending)
    try:
        _serve(wire)
    except Failure as failure:
        wire.send(**_told(failure))


def _serve(wire: Wire) -> None:
    for layout, operations in wire.requests():
        for name, arguments in operations:
            with wire.beating(for_nobody=name not in CHANGING):
                outcome = attempt(name, layout, wire, arguments)
            wire.send(**outcome)
            if "result" in outcome:
                continue
            if name in PAYLOAD:
                return  # what is left of the payload cannot be told from a request
            break
        kept.running.keep()


def attempt(name: str, layout: Layout, wire: Wire, arguments: dict[str, Any]) -> dict[str, Any]:
    """Perform an operation; its result, its failure or its crash, as the message to send."""
    try:
        return {"result": perform(name, layout, wire, arguments)}
    except Failure as failure:
        return _told(failure)
    except OSError as error:
        return _told(troubles.explain(error, layout.base))
    except Exception:
        import traceback

        return {"crash": _without_secrets(layout, f"{name}: {traceback.format_exc()}")}


def _is_base(path: str) -> bool:
    return path.startswith("/") and ".." not in path.split("/") and bool(path.strip("/"))


def _told(failure: Failure) -> dict[str, Any]:
    return {"failure": {"what": failure.what, "hint": failure.hint, "kind": failure.kind}}


def _without_secrets(layout: Layout, text: str) -> str:
    """*text*, which may quote a value that somebody was at work on."""
    from . import commands

    try:
        return commands.of_host(layout).text(text)
    except OSError:
        return text  # who cannot read the values was not at work on them


# Each operation is named by the module that does it, which is imported only when it is asked for: a host program that
# probes does not pay for what installs. "stream" and "progress" are given to those that take them.
OPERATIONS = {
    "probe": "probe.look",
    "ask": "probe.ask",
    "explain": "probe.explain",
    "setup": "setup.make",
    "put_signers": "signature.put",
    "lock": "deploylock.acquire",
    "extend": "deploylock.extend",
    "unlock": "deploylock.release",
    "break_lock": "deploylock.break_lock",
    "open_repository": "repository.open_repository",
    "begin": "releases.begin",
    "link_known": "releases.link_known",
    "receive": "releases.receive",
    "fill": "repository.fill",
    "finish_push": "releases.finish_push",
    "add_wheels": "arrivals.add_wheels",
    "install": "install.install",
    "complete": "releases.complete",
    "activate": "releases.activate",
    "judge": "releases.judge",
    "discard": "releases.discard",
    "verify": "verify.verify",
    "verify_successor": "handover.verify",
    "prove": "processes.prove",
    "check_units": "unitfiles.check",
    "write_units": "unitfiles.write",
    "put_units": "unitfiles.put",
    "doubt_unit": "mixing.doubts",
    "doubt_sockets": "systemd.doubts",
    "sockets": "systemd.sockets",
    "records": "layout.summary",
    "lacking": "install.lacking",
    "libraries": "libraries.lacking",
    "packages": "packages.look",
    "cleanup": "releases.cleanup",
    "journal": "journal.append",
    "run": "commands.run",
    "mask": "commands.mask",
    "decide_migration": "migration.decide",
    "migrate": "migration.run",
    "take_back": "migration.take_back",
    "ask_head": "migration.ask",
    "look_shared": "sharedfiles.look",
    "put_maintenance": "maintenance.put",
    "note_maintenance": "maintenance.note",
    "noted_maintenance": "maintenance.noted",
    "remove_maintenance": "maintenance.remove",
    "note_drained": "drained.note",
    "haproxy_look": "haproxy.look",
    "haproxy_drain": "haproxy.drain",
    "haproxy_ready": "haproxy.ready",
    "haproxy_swap": "haproxy.swap",
    "haproxy_put": "haproxy.put",
    "nginx_look": "nginx.look",
    "nginx_drain": "nginx.drain",
    "nginx_ready": "nginx.ready",
    "nginx_close": "nginx.close",
    "nginx_open": "nginx.open_again",
    "healthfile_look": "healthfile.look",
    "healthfile_drain": "healthfile.drain",
    "healthfile_ready": "healthfile.ready",
    "take_shared": "sharedfiles.take",
    "put_shared": "sharedfiles.put",
}

PAYLOAD = frozenset({"receive", "add_wheels"})
"""The operations that read more than their request from standard input."""

BALANCERS = frozenset(name for name in OPERATIONS if name.startswith(("haproxy_", "nginx_")))
"""The operations that need no base path: balancers run where nothing of an application lies."""

CHANGING = frozenset(
    {
        "open_repository",
        "begin",
        "link_known",
        "receive",
        "fill",
        "finish_push",
        "add_wheels",
        "install",
        "complete",
        "activate",
        "judge",
        "discard",
        "write_units",
        "put_units",
        "cleanup",
        "put_shared",
    }
)
"""The operations that are performed alone on a host: see :mod:`hostside.turns`."""

LAST_WORDS = frozenset({"unlock", "journal"})
"""The operations that are performed although who asked for them has gone: they undo nothing that came after them."""

PROGRESS = frozenset({"install", "run", "migrate", "take_back"})
"""The operations that tell what they are at."""


def perform(name: str, layout: Layout, wire: Wire, arguments: dict[str, Any]) -> Any:
    """Call one operation.

    :raises Failure: there is none of that name, it takes other arguments, or it failed.
    """
    if name not in OPERATIONS:
        raise Failure(f"the host program knows no operation {name!r}")
    module, _, function = OPERATIONS[name].partition(".")
    operation: Callable[..., Any] = getattr(importlib.import_module("." + module, __package__), function)
    shapes.assert_call(name, operation, arguments)
    if name not in BALANCERS:
        layout.assert_plain()
    if name in PAYLOAD:
        arguments = {**arguments, "stream": wire.stream}
    if name in PROGRESS:
        arguments = {**arguments, "progress": lambda text: wire.send(progress=text)}
    with turns.alone(layout) if name in CHANGING else nullcontext():
        if name not in LAST_WORDS:
            asking.assert_there()
        return operation(layout, **arguments)
