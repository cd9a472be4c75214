"""Targets: what an interpreter says of itself, the tags that follow, target files, and what no longer matches one."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import packaging
import pytest

from deploy.bundle import Target, targetfile
from deploy.bundle.locks import Terms, requirements
from deploy.errors import BuildError, ConfigurationError
from deploy.flows.matching import nearest
from deploy.hostside import elf, interpreter, loader, probe

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(packaging.__file__).resolve().parents[1]
HASH = "--hash=sha256:" + "a" * 64

# Ours and packaging's answers, each computed by the interpreter that is asked.
ASK = """
import json, sys
sys.path[:0] = sys.argv[1:]
from deploy.hostside import interpreter
from packaging.markers import default_environment
from packaging.tags import sys_tags
print(json.dumps([interpreter.facts(), [str(tag) for tag in sys_tags()], default_environment()]))
"""


def answers(python: str, *paths: Path) -> tuple[Target, list[str], dict[str, str]]:
    command = [python, "-I", "-S", "-c", ASK, *map(str, paths), str(ROOT), str(SITE)]
    facts, tags, environment = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return Target.from_facts(facts), tags, environment


def facts(**changes: Any) -> dict[str, Any]:
    """What a Debian 13 says of itself."""
    markers = {"python_full_version": "3.13.5", "python_version": "3.13", "platform_machine": "x86_64"}
    return {
        "implementation": "cpython",
        "python": "3.13.5",
        "system": "linux",
        "machine": "x86_64",
        "platform": "linux_x86_64",
        "libc": ["glibc", "2.41"],
        "macos": "",
        "abis": ["cp313"],
        "ext_suffixes": [".cpython-313-x86_64-linux-gnu.so", ".abi3.so", ".so"],
        "manylinux_refused": [],
        "marker_environment": {**interpreter.facts()["marker_environment"], **markers},
        **changes,
    }


TRIXIE = Target.from_facts(facts())

PYTHONS = sorted(
    {found for n in range(9, 16) if (found := shutil.which(f"python3.{n}", path="/usr/bin:/usr/local/bin"))}
)


@pytest.mark.parametrize("python", [sys.executable, *PYTHONS])
def test_tags_and_markers_are_the_ones_that_packaging_finds_in_that_interpreter(python: str) -> None:
    target, tags, environment = answers(python)
    assert [str(tag) for tag in target.tags()] == tags
    kernel = ("platform_release", "platform_version")
    assert target.markers() == {**environment, **dict.fromkeys(kernel, "")}


@pytest.mark.parametrize(
    "policy",
    [
        "def manylinux_compatible(major, minor, arch): return minor < 20 if minor != 12 else None",
        "manylinux1_compatible = False\nmanylinux2014_compatible = False",
        "manylinux_compatible = lambda *any: False",
    ],
)
def test_a_host_that_refuses_manylinux_tags_gets_none_of_them(policy: str, tmp_path: Path) -> None:
    (tmp_path / "_manylinux.py").write_text(policy)
    target, tags, _ = answers(sys.executable, tmp_path)
    assert [str(tag) for tag in target.tags()] == tags
    assert target != Target.local()
    assert target.takes_wheels_of(target)
    assert not target.takes_wheels_of(Target.local())


def test_a_free_threaded_interpreter_is_another_target() -> None:
    free = Target.from_facts(facts(abis=["cp313t"]))
    assert free.name == "cp313t-manylinux_2_41_x86_64"
    assert free.fits("x-1-cp313-cp313t-manylinux_2_28_x86_64.whl")
    for name in ("x-1-cp313-cp313-manylinux_2_28_x86_64.whl", "x-1-cp39-abi3-manylinux_2_28_x86_64.whl"):
        assert TRIXIE.fits(name)
        assert not free.fits(name)
    assert TRIXIE.differences(free) == ["ABI cp313 expected, cp313t found"]


def test_a_debug_interpreter_takes_its_own_wheels_first_and_the_others_too() -> None:
    debug = Target.from_facts(facts(abis=["cp313d", "cp313"]))
    wheels = ["x-1-cp313-cp313-manylinux_2_28_x86_64.whl", "x-1-cp313-cp313d-manylinux_2_28_x86_64.whl"]
    assert all(debug.fits(name) for name in wheels)
    assert min(wheels, key=debug.rank) == wheels[1]
    assert debug.takes_wheels_of(replace(TRIXIE, ext_suffixes=()))
    assert not TRIXIE.takes_wheels_of(debug)


def test_an_interpreter_of_32_bits_on_a_kernel_of_64_is_told_by_its_own_architecture() -> None:
    arm = Target.from_facts(facts(machine="aarch64", platform="linux_armv8l"))
    assert arm.platforms()[0] == "manylinux_2_41_armv8l"
    assert arm.platforms()[-2:] == ["linux_armv8l", "linux_armv7l"]
    assert arm.fits("x-1-cp313-cp313-manylinux_2_31_armv7l.whl")
    assert not arm.fits("x-1-cp313-cp313-manylinux_2_31_aarch64.whl")


def test_musl_and_glibc_share_nothing_but_pure_wheels() -> None:
    alpine = Target.from_facts(facts(libc=["musl", "1.2"]))
    assert alpine.name == "cp313-musllinux_1_2_x86_64"
    assert alpine.platforms() == [
        "musllinux_1_2_x86_64",
        "musllinux_1_1_x86_64",
        "musllinux_1_0_x86_64",
        "linux_x86_64",
    ]
    assert not alpine.fits("x-1-cp313-cp313-manylinux_2_17_x86_64.whl")
    assert TRIXIE.differences(alpine) == ["libc glibc 2.41 expected, musl 1.2 found"]


def test_the_version_of_musl_is_what_the_loader_says(tmp_path: Path) -> None:
    speaker = tmp_path / "ld-musl-x86_64.so.1"
    speaker.write_text(
        "#!/bin/sh\nprintf 'musl libc (x86_64)\\nVersion 1.2.4\\nDynamic Program Loader\\n' >&2; exit 1\n"
    )
    speaker.chmod(0o755)
    program = tmp_path / "python3"
    name = str(speaker).encode() + b"\0"
    header = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, len(name), len(name), 1)
    program.write_bytes(b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + header + segment + name)
    assert interpreter.musl_version(str(program)) == "1.2"
    speaker.unlink()
    assert interpreter.musl_version(str(program)) == ""
    assert interpreter.musl_version(sys.executable) == "" or Target.local().libc == "musl"


def test_the_header_of_a_program_tells_its_loader_and_what_is_none_has_none(tmp_path: Path) -> None:
    header = elf.read(os.path.realpath(sys.executable))
    assert header is None or os.path.exists(header.loader)
    (tmp_path / "cut").write_bytes(b"\x7fELF\x02\x01")
    (tmp_path / "text").write_text("#!/bin/sh\n")
    assert [elf.read(str(tmp_path / name)) for name in ("cut", "text", "none")] == [None, None, None]


def test_a_kernel_does_not_part_hosts() -> None:
    markers = facts()["marker_environment"]
    newer = Target.from_facts(
        facts(marker_environment={**markers, "platform_release": "9.9", "platform_version": "#9"})
    )
    assert newer == TRIXIE


def test_a_marker_that_asks_for_the_kernel_is_refused_where_it_matters(tmp_path: Path) -> None:
    def select(marker: str) -> int:
        path = tmp_path / "requirements.txt"
        path.write_text(f"a==1 ; {marker} {HASH}\n")
        return len(requirements.read(path, Terms()).select(TRIXIE))

    assert select("platform_release >= '20' and sys_platform == 'darwin'") == 0
    assert select("platform_release >= '20' or sys_platform == 'linux'") == 1
    for marker in ("platform_release >= '6.1'", "'Ubuntu' in platform_version", "platform_release != 'x'"):
        with pytest.raises(BuildError, match="depends on the kernel"):
            select(marker)


# --- what is written down ---


def test_a_target_file_is_read_as_it_was_written_and_always_the_same(tmp_path: Path) -> None:
    path = tmp_path / "targets" / "x.json"
    for target in (TRIXIE, Target.local(), replace(TRIXIE, manylinux_refused=(5, 17))):
        assert targetfile.write(path, target)
        assert not targetfile.write(path, target)
        assert targetfile.read(path) == target
    assert path.read_text() == targetfile.to_json(replace(TRIXIE, manylinux_refused=(17, 5)[::-1]))


def test_a_target_file_holds_what_decides_and_nothing_else() -> None:
    document = json.loads(targetfile.to_json(TRIXIE))
    assert sorted(document) == [
        "abis", "ext_suffixes", "libc", "machine", "markers", "python", "schema", "system", "version",
    ]  # fmt: skip
    assert sorted(document["markers"]) == [
        "implementation_name", "implementation_version", "os_name", "platform_machine",
        "platform_python_implementation", "platform_system", "python_full_version", "python_version", "sys_platform",
    ]  # fmt: skip
    assert (document["schema"], document["version"]) == (1, "2.41")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": 2}, "schema 2; this version knows 1"),
        ({"abis": None}, "no target file"),
        ({"abis": []}, "abis is empty"),
        ({"markers": []}, "no target file"),
        ({"version": "new"}, "a version is none"),
        ({"machine": 64}, "of the wrong kind"),
    ],
)
def test_a_target_file_that_cannot_be_used_says_why(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({**json.loads(targetfile.to_json(TRIXIE)), **change}))
    with pytest.raises(ConfigurationError, match=said) as caught:
        targetfile.read(path)
    assert caught.value.where == str(path)
    assert caught.value.hint


def test_what_is_no_target_file_at_all_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        targetfile.read(path)
    for text in ("", "[]", "{}", '{"schema": 1}', '{"schema": "1"}'):
        path.write_text(text)
        with pytest.raises(ConfigurationError, match="no target file"):
            targetfile.read(path)


def patched(version: str, target: Target = TRIXIE) -> Target:
    """*target* with another whole version of Python."""
    changed = {"python_full_version": version, "implementation_version": version}
    return replace(target, environment=tuple(sorted({**dict(target.environment), **changed}.items())))


def test_targets_of_the_same_name_have_files_of_their_own() -> None:
    older, other = patched("3.13.2"), replace(TRIXIE, ext_suffixes=(".so",))
    assert targetfile.names([TRIXIE, TRIXIE]) == {TRIXIE: TRIXIE.name}
    assert targetfile.names([TRIXIE, older]) == {TRIXIE: f"{TRIXIE.name}-3.13.5", older: f"{TRIXIE.name}-3.13.2"}
    names = targetfile.names([TRIXIE, older, other])
    assert names[older] == f"{TRIXIE.name}-3.13.2"
    assert names[other] == f"{TRIXIE.name}-{other.fingerprint}"
    assert len(set(names.values())) == 3


def test_wheels_fit_where_python_is_the_same_and_the_libc_as_new() -> None:
    newer_libc = replace(TRIXIE, version=(2, 43))
    other_python = Target.from_facts(facts(python="3.14.0", abis=["cp314"]))
    assert newer_libc.takes_wheels_of(TRIXIE)
    assert not TRIXIE.takes_wheels_of(newer_libc)
    assert TRIXIE.takes_wheels_of(patched("3.13.2"))
    assert not other_python.takes_wheels_of(TRIXIE)
    assert not TRIXIE.takes_wheels_of(other_python)
    assert not replace(TRIXIE, machine="aarch64").takes_wheels_of(TRIXIE)
    assert not replace(TRIXIE, ext_suffixes=(".so",)).takes_wheels_of(TRIXIE)
    named = Target.parse({"python": "3.13", "platform": "manylinux_2_28_x86_64"})
    assert TRIXIE.takes_wheels_of(named)
    bookworm = Target.from_facts(
        facts(
            python="3.11.2",
            abis=["cp311"],
            libc=["glibc", "2.36"],
            ext_suffixes=[".cpython-311-x86_64-linux-gnu.so"],
            marker_environment={**facts()["marker_environment"], "python_full_version": "3.11.2"},
        )
    )
    assert bookworm.differences(TRIXIE) == [
        "Python 3.11.2 expected, 3.13.5 found",
        "ABI cp311 expected, cp313 found",
        "libc glibc 2.36 expected, glibc 2.41 found",
    ]
    assert named.differences(TRIXIE)[0] == "Python 3.13.0 expected, 3.13.5 found"
    assert TRIXIE.differences(patched("3.13.2")) == ["Python 3.13.5 expected, 3.13.2 found"]


def test_of_several_files_a_host_takes_its_own_then_the_nearest_that_fits() -> None:
    files = {
        "old": replace(TRIXIE, version=(2, 31)),
        "mid": replace(TRIXIE, version=(2, 36)),
        "patched": patched("3.13.2"),
    }
    found = nearest(files, replace(TRIXIE, version=(2, 36)))
    assert found is not None
    assert (found.name, found.fits) == ("mid", True)
    found = nearest({name: files[name] for name in ("old", "mid")}, TRIXIE)
    assert found is not None
    assert (found.name, found.fits) == ("mid", True)
    found = nearest({"mid": files["mid"]}, files["old"])
    assert found is not None
    assert not found.fits
    assert nearest({}, TRIXIE) is None


def test_a_named_target_may_say_all_of_pythons_version() -> None:
    named = Target.parse({"python": "3.11.9", "platform": "manylinux_2_36_aarch64"})
    assert (named.name, named.full_python) == ("cp311-manylinux_2_36_aarch64", "3.11.9")
    assert named.ext_suffix == ".cpython-311-aarch64-linux-gnu.so"
    assert Target.parse({"python": "3.9", "platform": "musllinux_1_2_armv7l"}).ext_suffix == (
        ".cpython-39-arm-linux-musleabihf.so"
    )


# --- what the loader finds, and what other programs say ---

LISTING = """\
4 libs found in cache `/etc/ld.so.cache'
\tlibz.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libz.so.1
\tlibc.so.6 (libc6,x86-64, OS ABI: Linux 3.2.0) => {own}
\tlibonly32.so.1 (libc6) => /lib/i386-linux-gnu/libonly32.so.1
\tlibc.so.6 (libc6, OS ABI: Linux 3.2.0) => /lib/i386-linux-gnu/libc.so.6
Cache generated by: ldconfig (Debian GLIBC 2.36-9) stable release version 2.36
"""


def test_libraries_of_another_architecture_do_not_count(tmp_path: Path) -> None:
    own = tmp_path.resolve() / "libc.so.6"
    own.touch()
    assert loader.parse(LISTING.format(own=own), str(own)) == {"libz.so.1", "libc.so.6"}
    assert "libonly32.so.1" in loader.parse(LISTING.format(own=own), "")


@pytest.mark.skipif(sys.platform != "linux", reason="macOS keeps its libraries in a cache that nobody can list")
def test_what_the_loader_is_said_to_find_it_finds() -> None:
    found = loader.libraries()
    assert found == sorted(set(found))
    libc = [name for name in found if name.startswith(("libc.so.6", "libc.musl-"))]
    assert libc
    ask = "import ctypes, sys; [ctypes.CDLL(name) for name in sys.argv[1:]]"
    some = [name for name in found if name.startswith(("libm.so.", "libz.so.", "libssl.so."))]
    subprocess.run([sys.executable, "-c", ask, *libc, *some], check=True)


def test_only_what_is_asked_for_is_asked() -> None:
    from deploy.hostside.layout import Layout

    plain = probe.look(Layout("/srv/nowhere"), [], [])
    assert not {"foreign", "libraries", "openssh", "sudo"} & set(plain)
    asked = probe.look(Layout("/srv/nowhere"), [], [], ["openssh", "sudo"])
    assert {"openssh", "sudo"} <= set(asked)
    assert asked["sudo"] in ("", "none", "passwordless", "passwordless for some", "needs password")


def test_what_the_host_says_of_itself_is_what_the_system_says(tmp_path: Path) -> None:
    import importlib.machinery
    import sysconfig

    from deploy.hostside.layout import Layout

    told = probe.look(Layout(str(tmp_path / "not/there")), [], [])
    assert told["executable"] == sys.executable
    assert told["interpreter"] == os.path.realpath(sys.executable)
    assert told["machine"] == os.uname().machine
    assert told["ext_suffix"] == sysconfig.get_config_var("EXT_SUFFIX")
    assert told["ext_suffixes"] == importlib.machinery.EXTENSION_SUFFIXES
    usage = os.statvfs(tmp_path)
    assert told["free_bytes"] == pytest.approx(usage.f_bavail * usage.f_frsize, rel=0.1)
    assert told["free_inodes"] == pytest.approx(usage.f_favail or 1 << 31, rel=0.1)


def test_hosts_with_equal_facts_share_a_target_whatever_else_they_are() -> None:
    one = Target.from_facts(facts(hostname="web1", free_bytes=1, executable="/usr/bin/python3"))
    assert one == Target.from_facts(facts(hostname="web2", free_bytes=2, executable="/opt/bin/python3"))
    assert len({one, TRIXIE, Target.from_facts(facts(libc=["glibc", "2.36"]))}) == 2
