"""What would not work on a host is told before anything that serves is touched: modules, imports, libraries."""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import wheels
from tests.local.conftest import SSHD, Client, LocalProject, LoopbackHost
from tests.watching import Processes, files_with

OPENED = r"\d modules? opens?"
GOOD = "int PyInit__native(void) { return 0; }"
UNDEFINED = "int nobody_has_this(void); int PyInit__native(void) { return nobody_has_this(); }"
CRASH = "#include <stdlib.h>\n__attribute__((constructor)) static void f(void) { abort(); }"

compiled = pytest.mark.skipif(not wheels.HAVE_GCC, reason="gcc is not installed")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LoopbackHost]:
    """One kind of server is enough here: nothing depends on it."""
    server = LoopbackHost(tmp_path / "sshd", Client(tmp_path / "client"), kind="openssh" if SSHD else "asyncssh")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def serving(project: LocalProject) -> LocalProject:
    """Version one serves."""
    project.fab("deploy")
    assert project.version == "one"
    return project


def refused(project: LocalProject, code: int = 9) -> str:
    """A deploy of version two that is refused; version one serves, and nothing of two is left."""
    releases = sorted((project.base / "releases").iterdir())
    (project.directory / "version.txt").write_text("two\n")
    said = project.fab("deploy", expect=code)
    assert "nothing" in said and "touched" in said
    assert project.version == "one"
    assert sorted((project.base / "releases").iterdir()) == releases
    assert not (project.base / "staged").exists()
    return said


def accepted(project: LocalProject) -> str:
    (project.directory / "version.txt").write_text("two\n")
    said = project.fab("deploy")
    assert project.version == "two"
    return said


def write(project: LocalProject, name: str, text: str) -> None:
    path = project.directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_imports_that_do_not_resolve_are_all_told_with_file_and_line(serving: LocalProject) -> None:
    write(serving, "shop/__init__.py", "")
    write(serving, "shop/views.py", "import json\nimport reqests\nfrom .forms import Form\n")
    write(serving, "late.py", "def run():\n    import markupsafe.nothing\n")
    said = refused(serving)
    assert "shop/views.py:2: import reqests: there is no reqests" in said
    assert "shop/views.py:3: from .forms import Form: there is no .forms in the release" in said
    assert "late.py:2: import markupsafe.nothing: there is no markupsafe.nothing in the venv" in said
    assert "deploy.check.ignore" in said


def test_a_guarded_import_is_a_warning_and_once_seen_is_not_told_again(serving: LocalProject) -> None:
    write(serving, "fast.py", "try:\n    import ujson as json\nexcept ImportError:\n    import json\n")
    said = accepted(serving)
    assert "fast.py:2: import ujson: there is no ujson" in said
    assert "warning" in said
    write(serving, "version.txt", "three\n")
    assert "fast.py" not in serving.fab("deploy")


def test_what_is_configured_to_be_ignored_is_not_told(serving: LocalProject) -> None:
    write(serving, "urls.py", "import debug_toolbar.urls\n")
    refused(serving)
    serving.configure(extra="  check: {ignore: [debug_toolbar]}\n")
    assert "debug_toolbar" not in accepted(serving)


def test_third_party_looks_at_what_is_not_the_applications_own(serving: LocalProject) -> None:
    serving.configure(extra="  check: {imports: third-party}\n")
    write(serving, "shop/__init__.py", "")
    write(serving, "shop/views.py", "import reqests\nfrom .forms import Form\nimport shop.gone\n")
    said = refused(serving)
    assert "reqests" in said
    assert "forms" not in said
    assert "gone" not in said


def test_off_looks_at_no_import(serving: LocalProject) -> None:
    serving.configure(extra="  check: {imports: off}\n")
    write(serving, "urls.py", "import reqests\n")
    accepted(serving)


def test_the_step_refuses_too_and_the_release_cannot_be_activated(serving: LocalProject) -> None:
    write(serving, "urls.py", "import reqests\n")
    serving.fab("push")
    assert "urls.py:1" in serving.fab("update-deps", expect=9)
    assert "has no venv yet" in serving.fab("activate", expect=5)
    assert serving.version == "one"


def test_a_venv_is_opened_once_and_code_is_read_once(serving: LocalProject) -> None:
    memory = serving.base / ".deploy/checks.json"
    before = json.loads(memory.read_text())
    assert len(before["known"]["venvs"]) == 1
    said = accepted(serving)
    assert "imports resolve" in said
    assert not re.search(OPENED, said)
    after = json.loads(memory.read_text())
    assert before["files"] == after["files"]
    assert len(after["known"]["code"]) == 2


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"made_by": []}', "\0"])
def test_a_damaged_memory_is_made_again(serving: LocalProject, damage: str) -> None:
    (serving.base / ".deploy/checks.json").write_text(damage)
    assert re.search(OPENED, accepted(serving))


@compiled
@pytest.mark.parametrize(("code", "words"), [(UNDEFINED, "undefined symbol: nobody_has_this"), (CRASH, "SIGABRT")])
def test_a_module_that_does_not_open_is_refused_in_the_loaders_words(
    serving: LocalProject, tmp_path: Path, code: str, words: str
) -> None:
    made = tmp_path / "wheels"
    wheels.lock(serving.directory, wheels.native(made, "fwbroken", code), wheels.native(made, "fwgood", GOOD))
    said = refused(serving)
    assert "fwbroken 1.0 (fwbroken/_native.abi3.so) cannot be opened" in said
    assert words in said
    assert "fwgood" not in said
    again = refused(serving)
    assert words in again, "the venv is there now, and is not taken for good"
    serving.configure(extra="  check: {ignore: [fwbroken._native]}\n")
    assert words in accepted(serving), "as a warning"


@compiled
def test_a_library_that_the_host_lacks_is_told_before_a_byte_is_sent(serving: LocalProject, tmp_path: Path) -> None:
    library = wheels.shared_object(
        tmp_path / "build/libfwnowhere.so.7", "int nowhere(void) { return 7; }", "-Wl,-soname,libfwnowhere.so.7"
    )
    code = "int nowhere(void); int PyInit__native(void) { return nowhere(); }"
    made = wheels.native(tmp_path / "wheels", "fwneedy", code, f"-L{library.parent}", "-l:libfwnowhere.so.7")
    wheels.lock(serving.directory, made)
    sent = sorted((serving.base / "wheels").iterdir())
    said = refused(serving, code=5)
    assert "lacks libfwnowhere.so.7, needed by fwneedy (_native….so)" in said
    assert sorted((serving.base / "wheels").iterdir()) == sent
    assert "lacks libfwnowhere.so.7" in serving.fab("check", expect=5)
    assert "lacks libfwnowhere.so.7" in serving.fab("--dry", "deploy", expect=5)
    serving.configure(extra="  check: {ignore: [libfwnowhere.so.7]}\n")
    assert "cannot be opened: libfwnowhere.so.7" in accepted(serving), "as a warning"


@compiled
def test_libraries_are_looked_for_where_the_applications_environment_says(
    serving: LocalProject, tmp_path: Path
) -> None:
    word = "sentinel" + secrets.token_hex(8)
    library = wheels.shared_object(
        tmp_path / word / "libfwnowhere.so.7", "int nowhere(void) { return 7; }", "-Wl,-soname,libfwnowhere.so.7"
    )
    code = "int nowhere(void); int PyInit__native(void) { return nowhere(); }"
    made = wheels.native(tmp_path / "wheels", "fwneedy", code, f"-L{library.parent}", "-l:libfwnowhere.so.7")
    wheels.lock(serving.directory, made)
    assert "lacks libfwnowhere.so.7" in refused(serving, code=5)

    environment = serving.base / "shared/.env"
    with Processes(word) as processes:
        environment.write_text(f"SECRET=x\nLD_LIBRARY_PATH={library.parent}\n")
        assert re.search(OPENED, accepted(serving))
        library.write_bytes(b"")
        write(serving, "version.txt", "three\n")
        assert not re.search(OPENED, serving.fab("deploy")), "a venv is opened once with the same variables"
        environment.write_text(f"SECRET=x\nLD_LIBRARY_PATH={library.parent}:/nowhere\n")
        write(serving, "version.txt", "four\n")
        said = serving.fab("deploy", expect=9)
    assert "fwneedy 1.0 (fwneedy/_native.abi3.so) cannot be opened: ***/libfwnowhere.so.7: file too short" in said
    assert word not in said
    assert files_with(serving.base, word) == [environment]
    assert not processes.with_any(word)
    assert processes.shown, "it was in environments"
    assert {each.mode for each in processes.shown} == {0o400}
    environment.write_text("SECRET=x\n")
    assert "libfwnowhere.so.7: cannot open shared object" in serving.fab("deploy", expect=9)


def test_imports_resolve_where_the_applications_environment_says(serving: LocalProject, tmp_path: Path) -> None:
    """`PYTHONPATH`, before all else: outside of the release, inside of it, and by way of `current`."""
    plugins = tmp_path / "plugins"
    (plugins / "plugin").mkdir(parents=True)
    (plugins / "plugin/__init__.py").write_text("import sys\nsys.modules['plugin.made'] = sys\n")
    write(serving, "package/__init__.py", "")
    write(serving, "package/inner.py", "")
    write(serving, "uses.py", "import plugin.made\nimport inner\nimport modern\n")
    write(serving, "modern/__init__.py", "")
    said = refused(serving)
    assert "uses.py:1: import plugin.made: there is no plugin" in said
    assert "uses.py:2: import inner: there is no inner" in said
    path = f"{plugins}:package:{serving.base}/current/package"
    serving.configure(extra=f"  env: {{PYTHONPATH: '{path}'}}\n")
    assert "imports resolve" in accepted(serving)
    shutil.rmtree(plugins / "plugin")
    write(serving, "version.txt", "three\n")
    said = serving.fab("deploy", expect=9)
    assert "import plugin.made" in said
    assert "import inner" not in said


def test_a_package_that_the_host_lacks_is_told_by_check_and_by_deploy(serving: LocalProject) -> None:
    from deploy.hostside import packages

    if packages.manager() != "apt":
        pytest.skip("this is no Debian")
    serving.configure(extra="  system_packages: {apt: [dpkg, fw-no-such-package]}\n")
    assert "lacks fw-no-such-package (deploy.system_packages.apt)" in serving.fab("check", expect=5)
    assert "fab setup --packages" in refused(serving, code=5)
    said = serving.fab("--dry", "setup", "--packages")
    assert "apt-get install -y --no-install-recommends fw-no-such-package" in said
    serving.configure(extra="  system_packages: {dnf: [fw-no-such-package]}\n")
    assert "the host has apt, so none was looked for" in serving.fab("check")
