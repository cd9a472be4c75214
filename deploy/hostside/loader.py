"""The shared libraries that the loader of this host finds, by the names under which programs ask for them."""

from __future__ import annotations

import glob
import os
import re
import subprocess
import sys

# Not on everybody's PATH.
_LDCONFIG = ("/sbin/ldconfig", "/usr/sbin/ldconfig")
_LINE = re.compile(r"^\t(?P<name>\S+) \((?P<kind>[^)]*)\) => (?P<path>.+)$", re.MULTILINE)
# Where musl looks where no file says otherwise, and glibc besides its cache; distributions add folders of their own.
_FOLDERS = ("/lib", "/usr/local/lib", "/usr/lib", "/lib64", "/usr/lib64")


def libraries() -> list[str]:
    """Sonames, sorted: ``ldconfig -p`` where it answers, else the files in the loader's directories.

    Only those of this interpreter's architecture, where a host has several.
    """
    if sys.platform == "darwin":
        return []  # they are in a cache that nobody can list
    return sorted(_cached() or _in_folders())


def _cached() -> set[str]:
    for program in _LDCONFIG:
        try:
            answer = subprocess.run(
                [program, "-p"],
                env={"LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=20,
            )
        except (OSError, subprocess.SubprocessError):
            continue
        if found := parse(answer.stdout.decode(errors="replace"), _own_libc()):
            return found
    return set()


def parse(listing: str, own: str) -> set[str]:
    """The names in what ``ldconfig -p`` printed.

    :param own: the path of the libc that this process runs on; libraries of another kind than it are left out.
    """
    found = [(match["name"], _kind(match["kind"]), match["path"]) for match in _LINE.finditer(listing)]
    kinds = {kind for _, kind, path in found if own and os.path.realpath(path) == own}
    return {name for name, kind, _ in found if not kinds or kind in kinds}


def _kind(text: str) -> str:
    # "libc6,x86-64, OS ABI: Linux 3.2.0": what follows a space says from which kernel or processor on.
    return text.partition(", ")[0]


def _own_libc() -> str:
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as stream:
            mapped = {line.split(None, 5)[5].rstrip("\n") for line in stream if "/libc" in line}
    except (OSError, IndexError):
        return ""
    return next((os.path.realpath(path) for path in mapped if re.search(r"/libc[.-][^/]*so", path)), "")


def _in_folders() -> set[str]:
    folders = [*_FOLDERS, os.path.dirname(_own_libc()), *os.environ.get("LD_LIBRARY_PATH", "").split(":")]
    for configured in glob.glob("/etc/ld-musl-*.path"):
        try:
            with open(configured, encoding="utf-8") as stream:
                folders += re.split(r"[:\n]", stream.read())
        except OSError:
            pass
    return {name for folder in folders if folder for name in _listed(folder) if re.search(r"\.so(\.|$)", name)}


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
