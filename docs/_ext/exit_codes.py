"""The directive ``exit-codes``: each code of `deploy.errors.ExitCode`, and what its errors say of themselves."""

from __future__ import annotations

from collections.abc import Iterator

from docutils import nodes
from rst import marked, parsed
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from deploy import errors
from deploy.errors import DeployError, ExitCode

# What no error class says, because there is none.
WITHOUT_A_CLASS = {
    ExitCode.OK: "Done, or there was nothing to do.",
    ExitCode.UNEXPECTED: "A failure without a kind of its own, or a defect.",
}

REMEDIES = {
    ExitCode.OK: "Nothing.",
    ExitCode.UNEXPECTED: "Read the message. If it says that it is a defect, report it with the lines that it shows.",
    ExitCode.CONFIGURATION: "Change ``fabric.yaml`` or the command line; each problem is listed with its key.",
    ExitCode.BUILD: "Look at the last lines of output: the lock file, the index in reach, or a missing compiler.",
    ExitCode.CONNECTION: "Log in by hand with the command that is shown; accept the host key; allow sudo.",
    ExitCode.CHECK: "Mend what is listed, host by host, then ``fab check``; or package by package, then ``fab audit``.",
    ExitCode.ROLLED_BACK: "Mend the code and deploy again. The failed release is kept on the hosts for a look.",
    ExitCode.NOT_ROLLED_BACK: "Look at once: ``fab status``, then deploy a mended version or ``fab rollback``.",
    ExitCode.LOCKED: "Wait (``--lock-wait SECONDS``), or ``fab unlock --force`` if nobody deploys.",
    ExitCode.STAGING: "Read the message (disk, damaged wheel, rsync, an import or a module), then deploy again.",
    ExitCode.MIGRATION: "Mend the migration and deploy again. What it changed in the database before it failed stays "
    "(:doc:`migrations`).",
    ExitCode.HOOK: "Run by hand what the hook (``after_deploy``, ``after_rollback``) left undone; see the message.",
    ExitCode.INTERRUPTED: "Deploy again; what had been begun was taken back where hosts were in reach (:doc:`fleets`).",
}


class ExitCodes(SphinxDirective):
    """Renders one entry for each code."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(errors.__file__)
        return parsed(self, entries())


def meaning(code: ExitCode) -> str:
    """What the error class of *code* says in its docstring."""
    if code in WITHOUT_A_CLASS:
        return WITHOUT_A_CLASS[code]
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, DeployError) and kind.__dict__.get("exit_code") == code
    ]
    return " ".join(" ".join((kind.__doc__ or "").split()) for kind in kinds)


def entries() -> Iterator[str]:
    """A table of code, name, meaning and remedy."""
    yield from (".. list-table::", "   :header-rows: 1", "   :widths: 8 20 36 36", "")
    yield from ("   * - code", "     - name", "     - meaning", "     - what to do")
    for code in ExitCode:
        yield f"   * - {int(code)}"
        yield f"     - {code.name.lower().replace('_', ' ')}"
        yield f"     - {marked(meaning(code))}"
        yield f"     - {REMEDIES[code]}"
    yield ""


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("exit-codes", ExitCodes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
