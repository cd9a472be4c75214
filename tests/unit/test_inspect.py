"""What inspection finds in wheels, each made of a real compiled module with one thing wrong."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.bundle import Target, Wheelhouse
from deploy.bundle.builders.container import container, interpreter, platform, published, run_command
from deploy.bundle.inspect import Contents, problems, read, suffixes
from deploy.bundle.repack import repack
from deploy.errors import BuildError

needs_compiler = pytest.mark.skipif(
    sys.platform != "linux" or not shutil.which("cc"), reason="compiles ELF files: needs Linux and a C compiler"
)
HERE = Target.local()
NAME = f"tiny{suffixes(HERE)[0]}"
CP = f"cp{HERE.python.replace('.', '')}"
LINUX = f"linux_{HERE.machine}"
# Not the limited API's, and nobody defines it here: the loader would look for it in Python.
C = "extern void *{symbol}(void); void *PyInit_tiny(void) {{ return {symbol}(); }}"


def compiled(directory: Path, symbol: str = "PyModule_New", *words: str) -> bytes:
    source, module = directory / "tiny.c", directory / "tiny.so"
    source.write_text(C.format(symbol=symbol))
    subprocess.run(["cc", "-shared", "-fPIC", *words, "-o", module, source], check=True)
    return module.read_bytes()


def wheel(directory: Path, content: bytes, name: str = NAME, tag: str = f"{CP}-{CP}-{LINUX}") -> Path:
    path = directory / f"tiny-1.0-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content)
        archive.writestr("tiny-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nTag: {tag}\n")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    return path


def found(path: Path, target: Target = HERE) -> list[str]:
    return problems(read(path), target)


@needs_compiler
def test_an_honest_wheel_is_let_through(tmp_path: Path) -> None:
    assert found(wheel(tmp_path, compiled(tmp_path))) == []


@needs_compiler
def test_a_module_of_another_machine_is_refused_by_file_and_reason(tmp_path: Path) -> None:
    content = bytearray(compiled(tmp_path))
    content[18] = 0xF3  # e_machine: RISC-V
    assert found(wheel(tmp_path, bytes(content))) == [
        f"{NAME}: it is compiled for riscv64, and the target is {HERE.machine}"
    ]


@needs_compiler
def test_a_module_whose_name_the_targets_python_does_not_import_is_refused(tmp_path: Path) -> None:
    wrong = NAME.replace(HERE.machine, "sparc64")
    (said,) = found(wheel(tmp_path, compiled(tmp_path), wrong))
    assert said == f"{wrong}: Python {HERE.python} on the target does not import it; it imports *{suffixes(HERE)[0]}"
    path = wheel(tmp_path, compiled(tmp_path), wrong)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(NAME, compiled(tmp_path))
    assert found(path) == []  # a wheel may hold a module for several interpreters
    for plain in ("tiny.so", "tiny.abi3.so"):
        assert found(wheel(tmp_path, compiled(tmp_path), plain)) == []


@needs_compiler
def test_a_newer_glibc_than_the_targets_or_the_tags_is_refused(tmp_path: Path) -> None:
    content = compiled(tmp_path, "getrandom")  # since glibc 2.25
    old = replace(HERE, libc="glibc", version=(2, 17))
    assert found(wheel(tmp_path, content), old) == [f"{NAME}: it needs glibc 2.25, and the target has 2.17"]
    lying = wheel(tmp_path, content, tag=f"{CP}-{CP}-manylinux2014_{HERE.machine}")
    assert found(lying) == [f"{NAME}: it needs glibc 2.25, and the wheel's tag promises 2.17"]
    assert found(wheel(tmp_path, content, tag=f"{CP}-{CP}-manylinux_2_28_{HERE.machine}")) == []


@needs_compiler
def test_a_module_for_glibc_does_not_go_to_musl(tmp_path: Path) -> None:
    musl = replace(HERE, libc="musl", version=(1, 2))
    name = f"tiny{suffixes(musl)[0]}"
    assert f"{name}: it needs glibc, and the target has musl" in found(
        wheel(tmp_path, compiled(tmp_path, "getrandom"), name), musl
    )


@needs_compiler
def test_a_wheel_that_fits_any_platform_must_not_be_compiled(tmp_path: Path) -> None:
    (said,) = found(wheel(tmp_path, compiled(tmp_path), "tiny.so", "py3-none-any"))
    assert "in a wheel whose tag says that it fits any platform" in said


@needs_compiler
@pytest.mark.parametrize(
    ("folder", "safe"),
    [
        ("$ORIGIN/../tiny.libs", True),
        ("/usr/lib/postgresql", True),
        ("/home/builder/lib", False),
        ("/tmp/build/lib", False),
        ("/usr/../home/x", False),
        ("lib", False),
    ],
)
def test_search_paths_into_the_machine_that_built_are_refused(tmp_path: Path, folder: str, safe: bool) -> None:
    path = wheel(tmp_path, compiled(tmp_path, "PyModule_New", f"-Wl,-rpath,{folder}"))
    said = found(path)
    assert (said == []) is safe
    assert all(f"{NAME}: it looks for libraries in {folder}, " in each for each in said)
    # What was built here is put right instead.
    again = repack(path, tmp_path / "out", HERE)
    assert found(again) == []
    if not safe:
        with zipfile.ZipFile(again) as archive:
            assert folder.encode() not in archive.read(NAME) or folder == "lib"


@needs_compiler
def test_a_stable_abi_that_is_none_is_refused(tmp_path: Path) -> None:
    tag = f"cp39-abi3-{LINUX}"
    honest = wheel(tmp_path, compiled(tmp_path, "PyModule_GetName"), "tiny.abi3.so", tag)
    assert found(honest) == []
    lying = compiled(tmp_path, "PyCode_NewEmpty")
    reason = "it claims Python's stable ABI (abi3) and uses what is not in it: PyCode_NewEmpty"
    assert found(wheel(tmp_path, lying, "tiny.abi3.so", tag)) == [f"tiny.abi3.so: {reason}"]
    assert found(wheel(tmp_path, lying, "tiny.so", tag)) == [f"tiny.so: {reason}"]
    newer = wheel(tmp_path, compiled(tmp_path, "PyType_GetName"), "tiny.abi3.so", tag)  # since 3.11
    assert found(newer, replace(HERE, python="3.9")) == [
        "tiny.abi3.so: it uses Python's stable ABI of 3.11, and the target is 3.9"
    ]


@needs_compiler
def test_an_elf_file_that_is_cut_off_is_named(tmp_path: Path) -> None:
    (said,) = found(wheel(tmp_path, compiled(tmp_path)[:70]))
    assert said.startswith(f"{NAME}: the ELF file cannot be read")


def test_what_is_no_zip_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "tiny-1.0-py3-none-any.whl"
    path.write_bytes(b"nothing")
    with pytest.raises(BuildError, match=r"tiny-1.0-py3-none-any.whl is no wheel"):
        read(path)


@needs_compiler
def test_a_wheel_is_read_once(tmp_path: Path) -> None:
    house = Wheelhouse(tmp_path / "house")
    path = wheel(tmp_path, compiled(tmp_path))
    value = house.add(path)
    path = house.root / "wheels" / value / path.name
    first = house.contents(path)
    assert Contents.from_json(first.to_json()) == first
    path.write_bytes(b"")
    assert house.contents(path) == first
    (house.root / "inspected" / f"{value}.json").write_text("{")
    with pytest.raises(BuildError):
        house.contents(path)


def test_the_published_image_that_fits_is_chosen_and_its_python() -> None:
    bookworm = Target.parse({"python": "3.11", "platform": "manylinux_2_36_x86_64"})
    assert published(bookworm) == "quay.io/pypa/manylinux_2_34_x86_64"
    assert published(replace(bookworm, version=(2, 31))) == "quay.io/pypa/manylinux_2_28_x86_64"
    centos = replace(bookworm, version=(2, 17), machine="aarch64")
    assert published(centos) == "quay.io/pypa/manylinux2014_aarch64"
    assert platform(published(centos), centos).version == (2, 17)
    alpine = replace(bookworm, libc="musl", version=(1, 2))
    assert published(alpine) == "quay.io/pypa/musllinux_1_2_x86_64"
    assert interpreter(published(alpine), alpine) == "/opt/python/cp311-cp311/bin/python"
    assert interpreter("registry.example.org/ours:1", alpine) == ""


def test_the_engines_command_line_has_no_network_and_names_a_foreign_platform() -> None:
    target = Target.parse({"python": "3.11", "platform": "manylinux_2_34_s390x"})
    assert run_command("docker", published(target), target, ["--memory=2g"], ["python", "-c", "pass"]) == [
        "docker", "run", "--rm", "--interactive", "--network=none", "--platform", "linux/s390x", "--memory=2g",
        "quay.io/pypa/manylinux_2_34_s390x", "python", "-c", "pass",
    ]  # fmt: skip


def test_an_engine_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    target = Target.parse({"python": "3.11", "platform": "manylinux_2_36_x86_64"})
    assert container(target).unfit(target) == "neither podman nor docker is installed"
    assert container(target, "docker").unfit(target) == "docker is not installed"
