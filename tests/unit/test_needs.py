"""What compiled files need of a system: read from real ones, compiled here; looked up by the loader that is here."""

from __future__ import annotations

import io
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.bundle import elf, needs, sonames
from deploy.bundle.elf import Needs
from deploy.bundle.target import Target
from deploy.hostside import compiled, dynload, libraries
from deploy.hostside.layout import Layout
from tests import wheels

pytestmark = pytest.mark.skipif(
    not (wheels.HAVE_GCC and sys.platform == "linux"), reason="gcc is not installed, or this is no Linux"
)


def shared_object(path: Path, code: str = "int one(void) { return 1; }", *options: str) -> Path:
    return wheels.shared_object(path, code, *options)


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """A library that needs libnowhere.so.7, and carries two paths."""
    shared_object(tmp_path / "libnowhere.so.7", "int nowhere(void) { return 7; }", "-Wl,-soname,libnowhere.so.7")
    code = "int nowhere(void); int two(void) { return nowhere(); }"
    paths = "-Wl,-rpath,$ORIGIN/../thing.libs:/opt/nowhere/lib"
    return shared_object(
        tmp_path / "user.so", code, f"-L{tmp_path}", "-l:libnowhere.so.7", paths, "-Wl,-soname,libuser.so.1"
    )


def test_needs_soname_paths_and_machine_are_read(user: Path) -> None:
    with user.open("rb") as stream:
        found = elf.read(stream)
    assert found is not None
    assert found.needed[0] == "libnowhere.so.7"
    assert found.soname == "libuser.so.1"
    assert found.paths == ("$ORIGIN/../thing.libs", "/opt/nowhere/lib")
    assert found.machine == Target.local().machine


def test_what_is_no_elf_file_or_a_damaged_one_needs_nothing(user: Path) -> None:
    content = user.read_bytes()
    assert elf.read(io.BytesIO(b"#!/bin/sh\n")) is None
    for end in (4, 20, 64, 400, len(content) // 2):
        elf.read(io.BytesIO(content[:end]))  # whatever it says, it says it without an exception


def test_every_elf_file_of_a_wheel_is_found_wherever_it_lies(tmp_path: Path, user: Path) -> None:
    path = tmp_path / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(user, "thing/_user.cpython-311-x86_64-linux-gnu.so")
        archive.write(user, "thing-1.0.data/scripts/thing")
        archive.writestr("thing/__init__.py", "\x7fELF as text\n")
        archive.writestr("thing/empty", "")
    assert [name for name, _ in needs.look_into(path)] == [
        "thing/_user.cpython-311-x86_64-linux-gnu.so",
        "thing-1.0.data/scripts/thing",
    ]


def test_what_wheels_carry_and_what_the_libc_is_made_of_is_not_wanted() -> None:
    glibc = ("libc.so.6", "libm.so.6", "libpthread.so.0", "ld-linux-x86-64.so.2", "libdl.so.2", "libmvec.so.1")
    pq, foo = "libpq.so.5", "libfoo-1234.so.1"
    files = [
        ("psycopg2", "psycopg2/_psycopg.cpython-311-x86_64-linux-gnu.so", Needs("x86_64", "", (pq, *glibc), ())),
        ("thing", "thing/_a.abi3.so", Needs("x86_64", "", (pq, foo, "libstdc++.so.6"), ("/opt",))),
        ("thing", "thing.libs/libfoo-1234.so.1", Needs("x86_64", foo, glibc, ())),
    ]
    found = {each.soname: each for each in needs.wanted(files, {"libfoo-1234.so.1"}, "glibc")}
    assert sorted(found) == ["libpq.so.5", "libstdc++.so.6"]
    assert found["libpq.so.5"].by == ("psycopg2 (_psycopg….so)", "thing (_a….so)")
    assert found["libpq.so.5"].paths == ("/opt",)
    musl = [("thing", "a.so", Needs("x86_64", "", ("libc.musl-x86_64.so.1", "libc.so"), ()))]
    assert needs.wanted(musl, set(), "musl") == []


def test_files_for_another_machine_or_another_libc_do_not_count() -> None:
    target = replace(Target.local(), machine="x86_64", libc="glibc")
    assert needs._counts(Needs("x86_64", "", ("libc.so.6",), ()), target)
    assert not needs._counts(Needs("i686", "", ("libc.so.6",), ()), target)
    assert not needs._counts(Needs("x86_64", "", ("libc.musl-x86_64.so.1",), ()), target)
    assert not needs._counts(Needs("x86_64", "", ("libc.so.6",), ()), replace(target, libc="musl"))


@pytest.mark.parametrize(
    ("soname", "debian", "rpm"),
    [
        ("libpq.so.5", "libpq5", "libpq"),
        ("libmariadb.so.3", "libmariadb3", "mariadb-connector-c"),
        ("libssl.so.1.1", "libssl1.1", ""),
        ("libffi.so.8", "libffi8", "libffi"),
        ("libgdal.so.32", "libgdal32", "gdal-libs"),
        ("libldap-2.5.so.0", "libldap-2.5-0", ""),
        ("libpython3.11.so.1.0", "libpython3.11", "python3.11-libs"),
        ("libffi.so", "", ""),
        ("libhomemade.so.3", "", ""),
        ("libxml2.so.99", "", ""),
    ],
)
def test_the_package_of_a_library_is_named_where_it_is_known(soname: str, debian: str, rpm: str) -> None:
    assert (sonames.debian(soname), sonames.rpm(soname) if rpm else "") == (debian, rpm)


# --- on the host ---


def test_the_hosts_loader_says_which_libraries_are_there(tmp_path: Path) -> None:
    there = shared_object(tmp_path / "opt/libthere.so.1")
    asked = {"libc.so.6": [], "libnowhere.so.7": [], "libthere.so.1": [str(there.parent)]}
    assert libraries.lacking(Layout(str(tmp_path)), asked, {})["lacking"] == {"libnowhere.so.7": ""}


def test_a_library_that_lacks_another_one_is_told_in_the_loaders_words(user: Path) -> None:
    words = dynload.open_each(sys.executable, [str(user)])[str(user)]
    assert libraries.not_found(words) == "libnowhere.so.7"
    musl = "Error loading shared library libpq.so.5: No such file or directory (needed by /srv/x.so)"
    assert libraries.not_found(musl) == "libpq.so.5"
    assert libraries.not_found("/srv/x.so: undefined symbol: nothing") == ""


def test_a_file_that_kills_its_process_costs_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crash = "#include <stdlib.h>\n__attribute__((constructor)) static void f(void) { abort(); }"
    hang = "#include <unistd.h>\n__attribute__((constructor)) static void f(void) { pause(); }"
    loud = '#include <stdio.h>\n__attribute__((constructor)) static void f(void) { puts("[1]"); fflush(stdout); }'
    undefined = "int missing(void); int call(void) { return missing(); }"
    made = {
        name: str(shared_object(tmp_path / f"{name}.so", code))
        for name, code in {"good": "int x;", "crash": crash, "loud": loud, "hang": hang, "undefined": undefined}.items()
    }
    monkeypatch.setattr(dynload, "TIMEOUT_S", 1.0)
    failed = dynload.open_each(sys.executable, [*made.values(), str(tmp_path / "gone.so")])
    assert failed.keys() == {made["crash"], made["hang"], made["undefined"], str(tmp_path / "gone.so")}
    assert "SIGABRT" in failed[made["crash"]]
    assert "not open after 1 s" in failed[made["hang"]]
    assert "undefined symbol: missing" in failed[made["undefined"]], "found now, and not when it is called"


def test_modules_are_told_from_plain_libraries(tmp_path: Path) -> None:
    import sysconfig

    library = Path(sysconfig.get_path("purelib", "venv", {"base": str(tmp_path)}))
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    for name in (f"a/_fast{suffix}", "b.abi3.so", "libplain.so", "c.libs/libgrafted-12.so.3"):
        shared_object(library / name)
    shared_object(library / "plain.so", "int PyInit_plain(void) { return 0; }")
    shared_object(library / "other.cpython-39-x86_64-linux-gnu.so", "int PyInit_other(void) { return 0; }")
    (library / "text.so").write_text("PyInit_text")
    (library / "empty.so").write_text("")
    found = compiled.find(str(tmp_path))
    assert sorted(module.name for module in found.modules) == ["a._fast", "b", "plain"]
    assert {"libplain.so", "libgrafted-12.so.3"} <= found.carried
