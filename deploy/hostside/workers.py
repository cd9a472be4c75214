"""Work shared out to forked processes, as many as there are processors; none outlives the process that started it.

fork(2), because the program comes out of an archive and a child must not have to find it again; and not the standard
library's pool of processes, whose workers wait for ever when their parent is killed and which needs semaphores that a
host may not offer.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import warnings
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any

from . import troubles
from .failure import Failure

Task = list[Any]
"""A task's name and its arguments, as JSON knows them."""


class Workers:
    """Processes that perform tasks; what a task returns, or its failure, comes back by :meth:`finished`.

    :param tasks: name → function; arguments and result have to be JSON.
    :param limit: no more processes than this; a process is started when there is a task for it.
    """

    def __init__(self, tasks: dict[str, Callable[..., Any]], limit: int = 64) -> None:
        self._tasks = tasks
        self._limit = max(1, min(limit, processors()))
        self._backlog: deque[Task] = deque()
        self._idle: list[_Worker] = []
        self._busy: dict[int, tuple[_Worker, Task]] = {}

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in [*self._idle, *(worker for worker, _ in self._busy.values())]:
            worker.end()

    def submit(self, task: Task) -> None:
        self._backlog.append(task)
        self._share_out()

    def finished(self, wait: bool) -> list[tuple[Task, Any]]:
        """The tasks that ended since the last call, with their results.

        :param wait: return nothing only when nothing is left to do.
        :raises Failure: a task failed, or a process died.
        """
        self._share_out()
        if not self._busy:
            return []
        ready, _, _ = select.select(list(self._busy), [], [], None if wait else 0)
        ended = []
        for descriptor in ready:
            worker, task = self._busy.pop(descriptor)
            self._idle.append(worker)
            ended.append((task, worker.result()))
        self._share_out()
        return ended

    def _share_out(self) -> None:
        while self._backlog and (self._idle or len(self._busy) < self._limit):
            worker = self._idle.pop() if self._idle else _Worker(self._tasks, self._others())
            task = self._backlog.popleft()
            self._busy[worker.descriptor] = (worker, task)
            worker.give(task)

    def _others(self) -> list[_Worker]:
        return [*self._idle, *(worker for worker, _ in self._busy.values())]


class _Worker:
    """One process, at the other end of a pair of sockets."""

    def __init__(self, tasks: dict[str, Callable[..., Any]], others: list[_Worker]) -> None:
        self._ours, theirs = socket.socketpair()
        self._received = self._ours.makefile("rb")
        self.descriptor = self._ours.fileno()
        parent = os.getpid()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the child touches nothing that a thread may hold
            self._pid = os.fork()
        if self._pid:
            theirs.close()
            return
        try:
            # An end that a child holds open keeps its peer, or the SSH channel, from seeing that all others are gone.
            for worker in [*others, self]:
                os.close(worker.descriptor)
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, 0)
            os.dup2(nothing, 1)
            _work(theirs, tasks, parent)
        finally:
            os._exit(1)  # no clean-up of the parent's things in the child

    def give(self, task: Task) -> None:
        with contextlib.suppress(OSError):  # it died; result() says so
            self._ours.sendall(json.dumps(task).encode() + b"\n")

    def result(self) -> Any:
        line = self._received.readline()
        if not line:
            raise Failure("a process that installs ended early", "is the host short of memory?", "memory")
        answer = json.loads(line)
        if "failure" in answer:
            raise Failure(**answer["failure"])
        if "error" in answer:
            raise OSError(*answer["error"])
        if "crash" in answer:
            raise RuntimeError(answer["crash"])
        return answer["result"]

    def end(self) -> None:
        self._received.close()
        self._ours.close()
        os.waitpid(self._pid, 0)


def _work(channel: socket.socket, tasks: dict[str, Callable[..., Any]], parent: int) -> None:
    global _parent
    _parent = parent
    for line in channel.makefile("rb"):
        name, *arguments = json.loads(line)
        channel.sendall(json.dumps(_outcome(tasks[name], arguments)).encode() + b"\n")


def _outcome(task: Callable[..., Any], arguments: list[Any]) -> dict[str, Any]:
    try:
        return {"result": task(*arguments)}
    except Failure as failure:
        return {"failure": {"what": failure.what, "hint": failure.hint, "kind": failure.kind}}
    except OSError as error:
        return {"error": [error.errno, error.strerror or str(error), troubles.named(error) or None]}
    except Exception:
        import traceback

        return {"crash": traceback.format_exc()}


_parent = 0


def stop_if_orphaned() -> None:
    """End this worker if its parent is gone: nobody waits for the work, and the next run may be at the same files."""
    if _parent and os.getppid() != _parent:
        os._exit(1)


def processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_all(name: str, task: Callable[..., Any], arguments: list[Task]) -> list[Any]:
    """The results of *task* for each of *arguments*, in no particular order; a single one is done right here."""
    if len(arguments) == 1 or processors() == 1:
        return [task(*each) for each in arguments]
    results = []
    with Workers({name: task}, limit=len(arguments)) as workers:
        for each in arguments:
            workers.submit([name, *each])
        while ended := workers.finished(wait=True):
            results += [result for _, result in ended]
    return results
