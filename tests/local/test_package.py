"""An app that is a package itself, deployed to a real SSH server: its release has it installed."""

from __future__ import annotations

import subprocess

from tests.local.conftest import LocalProject
from tests.local.packages import source


def test_the_app_is_installed_with_its_entry_points_and_a_change_reaches_them(project: LocalProject) -> None:
    source(project.directory, "theapp")
    project.configure(extra="  package: true\n")
    project.fab("deploy")
    program = project.base / "current/.venv/bin/theapp"
    assert subprocess.run([program], capture_output=True, text=True, check=True).stdout == "one\n"
    (project.directory / "code.py").write_text("def main():\n    print('two')\n")
    project.fab("deploy")
    assert subprocess.run([program], capture_output=True, text=True, check=True).stdout == "two\n"
    project.fab("rollback")
    assert subprocess.run([program], capture_output=True, text=True, check=True).stdout == "one\n"
