"""Wheels built from source by this machine's compiler and by zig: what is in them, and that they are always alike."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import zipfile
from pathlib import Path

import pytest

from deploy.bundle import Places, Target, Wheelhouse, create_bundle, inspect
from deploy.bundle.build import Building, build
from deploy.bundle.builders import cross, zig
from deploy.bundle.builders.job import Builder, Made
from deploy.bundle.builders.native import Native
from deploy.bundle.builders.zig import Zig
from deploy.errors import BuildError, ExitCode
from tests.sources import sdist, sha256

DATA = Path(__file__).resolve().parents[1] / "data"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
HERE = Target.local()
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="builds Linux wheels natively")
needs_compiler = pytest.mark.skipif(Native().unfit(HERE) != "" or not shutil.which("cc"), reason="no C compiler")
needs_headers = pytest.mark.skipif(
    not Path(sysconfig.get_path("include"), "Python.h").exists(), reason="no headers of Python"
)
needs_zig = pytest.mark.skipif(zig.program() is None, reason="ziglang is not installed (bin/venv requirements-dev.txt)")
pytestmark = needs_headers

OLD = Target.parse({"python": PYTHON, "platform": "manylinux_2_17_x86_64"})
ARM = Target.parse({"python": PYTHON, "platform": "manylinux_2_31_aarch64"})
MUSL = Target.parse({"python": PYTHON, "platform": "musllinux_1_2_x86_64"})


def made(source: Path, target: Target, directory: Path, *builders: Builder, options: tuple[str, ...] = ()) -> Made:
    directory.mkdir(parents=True)
    return build(source, target, directory, Building(builders), options=options)


def module_of(wheel: Path) -> tuple[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".so"))
        return name, archive.read(name)


def imported(wheel: Path, name: str, directory: Path) -> str:
    """What the module of a wheel says, in a process of its own."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory)
    command = [sys.executable, "-c", f"import {name}; print({name}.where())"]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("LD_")}
    return subprocess.run(
        command, cwd=directory, env={**clean, "PYTHONPATH": str(directory)}, capture_output=True, text=True, check=True
    ).stdout.strip()


@needs_linux
@needs_compiler
def test_a_native_wheel_is_the_same_in_any_folder_on_any_day_and_tells_of_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = sdist(tmp_path)
    first = made(source, HERE, tmp_path / "one", Native())
    time.sleep(2.1)  # a zip file knows times to two seconds
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    os.umask(before := os.umask(0o077))
    second = made(source, HERE, tmp_path / "another/folder with spaces", Native())
    os.umask(before)
    assert sha256(first.wheel) == sha256(second.wheel)
    name, content = module_of(first.wheel)
    assert str(tmp_path).encode() not in content
    assert sys.base_prefix.encode() not in content
    assert name == f"tiny{sysconfig.get_config_var('EXT_SUFFIX')}"
    assert imported(first.wheel, "tiny", tmp_path / "import") == "/build/source/tiny.c 8"
    assert first.tools["python"].startswith(f"{PYTHON}.")
    assert first.tools["compiler"]


@needs_linux
@needs_compiler
def test_a_library_of_this_machine_is_grafted_and_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    (tmp_path / "greet.c").write_text("int greet(void) { return 41; }\n")
    library = libraries / "libgreet.so.1"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-Wl,-soname,libgreet.so.1", "-o", library, tmp_path / "greet.c"], check=True
    )
    (libraries / "libgreet.so").symlink_to(library.name)
    source = sdist(
        tmp_path, libraries=[f"-L{libraries}", "-lgreet"], more="extern int greet(void);", value="greet() + 1"
    )
    monkeypatch.setenv("LD_LIBRARY_PATH", str(libraries))
    wheel = made(source, HERE, tmp_path / "out", Native())
    assert [Path(name).name for name in wheel.grafted] == ["libgreet.so.1"]
    again = made(source, HERE, tmp_path / "again", Native())
    assert sha256(again.wheel) == sha256(wheel.wheel)
    library.unlink()
    assert imported(wheel.wheel, "tiny", tmp_path / "import").endswith(" 42")


@needs_zig
@pytest.mark.parametrize(
    ("target", "suffix", "tag"),
    [
        (OLD, "x86_64-linux-gnu.so", "manylinux_2_5_x86_64"),
        (ARM, "aarch64-linux-gnu.so", "manylinux_2_17_aarch64"),
        (MUSL, "x86_64-linux-musl.so", "musllinux_1_2_x86_64"),
    ],
    ids=["glibc 2.17", "aarch64", "musl"],
)
def test_zig_builds_for_another_libc_and_another_machine(tmp_path: Path, target: Target, suffix: str, tag: str) -> None:
    source = sdist(tmp_path)
    first = made(source, target, tmp_path / "one", Zig())
    name, content = module_of(first.wheel)
    assert name.endswith(suffix)
    assert first.wheel.name.endswith(f"-{tag}.whl")
    assert inspect.problems(inspect.read(first.wheel), target) == []
    assert str(tmp_path).encode() not in content
    assert sha256(made(source, target, tmp_path / "two", Zig()).wheel) == sha256(first.wheel)


@needs_zig
def test_a_bundle_for_musl_is_made_and_every_wheel_of_it_fits(tmp_path: Path) -> None:
    """Of what the fleet deploys: compiled wheels that upstream offers, one with only a source in C, pure ones."""
    lock = tmp_path / "requirements.txt"
    names = ("markupsafe", "msgpack", "pyyaml", "psutil", "crcmod", "docopt", "jinja2")
    lines = re.split(r"\n(?=\S)", (DATA / "everything.txt").read_text())
    lock.write_text("\n".join(line for line in lines if line.partition("==")[0] in names) + "\n")
    bundle = create_bundle(lock, MUSL, wheelhouse=Wheelhouse(), places=Places(ambient=True))
    wheels = {wheel.name: wheel for wheel in bundle.manifest.wheels}
    assert set(wheels) == set(names)
    for wheel in wheels.values():
        assert inspect.problems(inspect.read(bundle.path(wheel)), MUSL) == []
    assert (wheels["crcmod"].origin.kind, wheels["crcmod"].origin.builder) == ("sdist", "zig")
    with zipfile.ZipFile(bundle.path(wheels["crcmod"])) as archive:
        assert "crcmod/_crcfunext" + MUSL.ext_suffix in archive.namelist()
    for name in ("markupsafe", "msgpack", "pyyaml"):
        assert "-musllinux_1_" in wheels[name].filename


@needs_zig
@needs_compiler
def test_what_a_cross_build_needs_is_built_for_this_machine(tmp_path: Path) -> None:
    """A build requirement with compiled code of its own is imported while another machine's wheel is made."""
    links = tmp_path / "links"
    links.mkdir()
    sdist(links, "helper")
    source = sdist(
        tmp_path,
        dynamic=["helper"],
        before="import helper; assert helper.where().endswith(' 8')",
    )
    wheel = made(source, ARM, tmp_path / "out", Zig(), options=("--no-index", f"--find-links={links}"))
    assert module_of(wheel.wheel)[0].endswith("aarch64-linux-gnu.so")
    assert wheel.tools["helper"] == "1.0"


@needs_compiler
def test_what_every_builder_said_is_told_in_order_and_the_compiler_has_the_last_word(tmp_path: Path) -> None:
    source = sdist(tmp_path, more="#error the moon is missing")
    foreign = Target.parse({"python": PYTHON, "platform": "manylinux_2_39_riscv64"})
    with pytest.raises(BuildError) as caught:
        made(source, foreign, tmp_path / "one", Native())
    assert str(caught.value).startswith(
        f"tiny-1.0.tar.gz could not be built for {foreign.name}\n  native: this machine"
    )
    with pytest.raises(BuildError) as caught:
        made(source, HERE, tmp_path / "two", Zig(), Native())
    lines = str(caught.value).splitlines()
    assert lines[0] == f"tiny-1.0.tar.gz could not be built for {HERE.name}"
    assert [line.split(":")[0] for line in lines if line.startswith("  ") and line[2] not in " |"] == [
        "  zig", "  native",
    ]  # fmt: skip
    assert "the moon is missing" in str(caught.value)
    assert caught.value.exit_code == ExitCode.BUILD


@needs_compiler
def test_a_builder_whose_wheel_does_not_fit_gives_way_to_the_next(tmp_path: Path) -> None:
    class Careless(Native):
        """Builds for this machine whatever it is asked for."""

        def unfit(self, target: Target) -> str:
            return ""

    with pytest.raises(BuildError, match=r"what was built"):
        made(sdist(tmp_path), ARM, tmp_path / "one", Careless())


def test_the_written_pyconfig_has_every_size_that_the_headers_ask_for() -> None:
    """The compiler's own header beside ours: what CPython's headers look at is defined in both, or in neither."""
    include = Path(sysconfig.get_path("include"))
    # What the preprocessor sees: Debian's pyconfig.h itself does nothing but include another one.
    words = ["cc", "-E", "-dM", "-I", include, "-include", "pyconfig.h", "-x", "c", os.devnull]
    seen = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
    defined = re.findall(r"^#define (SIZEOF_\w+) ", seen, re.MULTILINE)
    used = " ".join(path.read_text() for path in include.rglob("*.h") if path.name != "pyconfig.h")
    sizes = {name for name in defined if name in used}
    assert sizes
    assert {name for name in sizes if f"#define {name} " not in cross.pyconfig()} == set()
