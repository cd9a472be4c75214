"""The directive ``task-options``: a task's help and options, out of the namespace that ``fab`` itself reads."""

from __future__ import annotations

from collections.abc import Iterator

from docutils import nodes
from invoke.tasks import Task
from rst import marked, parsed
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from deploy import tasks

VALUES = {"limit": "HOSTS", "lock-wait": "SECONDS", "target": "NAMES", "bundle": "DIGEST", "keep": "NUMBER"}


class TaskOptions(SphinxDirective):
    """``.. task-options:: update-deps`` gives the task's one line of help, its options and its aliases."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        self.env.note_dependency(tasks.__file__)
        return parsed(self, described(name, tasks.ns[name]))


class TaskTable(SphinxDirective):
    """``.. task-table::`` lists every task with its line of help."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(tasks.__file__)
        return parsed(self, table())


def _first_line(task: Task) -> str:  # type: ignore[type-arg]
    return marked((task.__doc__ or "").strip().splitlines()[0])


def names() -> list[str]:
    """The tasks' names; those that choose a stage are the project's own."""
    return sorted(name for name in tasks.ns.task_names if "_stage_task" not in tasks.ns[name].body.__qualname__)


def table() -> Iterator[str]:
    """Every task as a row, in the order of their names."""
    yield from (".. list-table::", "   :widths: 25 75", "")
    for name in names():
        yield f"   * - ``{name}``"
        yield f"     - {_first_line(tasks.ns[name])}"
    yield ""


def described(name: str, task: Task) -> Iterator[str]:  # type: ignore[type-arg]
    """One task in lines."""
    yield from (_first_line(task), "")
    aliases = [str(alias).replace("_", "-") for alias in task.aliases]
    if aliases:
        yield from (f"Also called {', '.join(f'``{alias}``' for alias in aliases)}.", "")
    for argument in task.get_arguments():
        flag = argument.name.replace("_", "-")
        value = "" if argument.kind is bool else f" {VALUES.get(flag, 'TEXT')}"
        yield f"``{flag.upper()}``" if argument.positional else f"``--{flag}{value}``"
        yield f"    {marked(argument.help or '')}"
        yield ""


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("task-options", TaskOptions)
    app.add_directive("task-table", TaskTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
