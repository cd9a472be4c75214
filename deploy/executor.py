"""How Fabric runs our tasks: once for the whole stage, with ``-H`` as a limit, and errors as one message each."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable
from typing import Any

import fabric
from invoke.exceptions import AmbiguousEnvVar, Exit, UncastableEnvVar
from invoke.tasks import Call, Task

from .errors import ConfigurationError, DeployError, ExitCode
from .masking import masked


class FleetTask(Task):  # type: ignore[type-arg]  # generic only for type checkers
    """A task that works on all hosts of a stage at once."""

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Run the task; an error that a user can meet ends in its message and its exit code.

        :raises invoke.Exit: which Fabric turns into the end of the process.
        """
        try:
            if arguments and isinstance(arguments[0], fabric.Connection):
                raise ConfigurationError(
                    f"fab -H would run {self.name} once for each host, with no deploy lock and no barrier between them",
                    hint="use --limit, or let fabric.yaml make -H mean the same:\n"
                    "  tasks: {executor_class: deploy.executor.Executor}",
                )
            return super().__call__(*arguments, **keywords)
        except DeployError as error:
            raise Exit(_message(error), code=int(error.exit_code)) from None
        except KeyboardInterrupt:
            raise Exit("interrupted", code=int(ExitCode.INTERRUPTED)) from None
        except Exit:
            raise
        except Exception:
            said = masked(traceback.format_exc())
            raise Exit(f"this is a defect; please report it with these lines:\n{said}", code=1) from None


def _unfit(what: str) -> Exit:
    return Exit(f"error: {what}", code=int(ExitCode.CONFIGURATION))


def _message(error: DeployError) -> str:
    red, plain = ("\x1b[31m", "\x1b[0m") if sys.stderr.isatty() else ("", "")
    return f"{red}error{plain}: {error}"


class Executor(fabric.Executor):  # type: ignore[misc]  # Fabric has no types
    """Makes ``-H a,b`` mean ``--limit a,b`` for the tasks of a stage; other tasks keep Fabric's meaning.

    Named in `fabric.yaml`: ``tasks: {executor_class: deploy.executor.Executor}``.
    """

    def execute(self, *tasks: Any) -> Any:
        try:
            # Once for nothing, because Fabric ends in a traceback where a variable does not fit its key.
            self.config.clone().load_shell_env()
        except AmbiguousEnvVar as error:
            name = str(error).rpartition(" ")[2]
            raise _unfit(
                f"two keys have one name in the environment, FABRIC_{name}; is one of them misspelt?"
            ) from None
        except (UncastableEnvVar, ValueError, TypeError, OverflowError) as error:
            names = ", ".join(sorted(name for name in os.environ if name.startswith("FABRIC_")))
            raise _unfit(f"a variable of the environment does not fit its key: {error}\n  set are: {names}") from None
        return super().execute(*tasks)

    def expand_calls(self, calls: Iterable[Any], apply_hosts: bool = True) -> list[Any]:
        expanded: list[Any] = []
        for call in calls:
            call = Call(call) if isinstance(call, Task) else call
            if isinstance(call.task, FleetTask):
                self._limit(call)
                expanded += [*self.expand_calls(call.pre, False), call, *self.expand_calls(call.post, False)]
            else:
                expanded += super().expand_calls([call], apply_hosts=apply_hosts)
        return expanded

    def _limit(self, call: Any) -> None:
        hosts = self.core[0].args.hosts.value
        if hosts is None or "limit" not in call.task.argspec(call.task.body).parameters:
            return
        if call.kwargs.get("limit"):
            raise Exit("error: -H and --limit mean the same; give one of them", code=int(ExitCode.CONFIGURATION))
        call.kwargs["limit"] = hosts
