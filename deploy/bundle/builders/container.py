"""Build in a container of docker or podman, from an image of the manylinux and musllinux projects or one like them.

Several Pythons lie under /opt/python in those, beside a compiler and an old libc (PEP 599, PEP 600, PEP 656).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..target import Target
from .elsewhere import Elsewhere

# Engine's words for a machine, where it is not this one's.
_ENGINE_PLATFORMS = {
    "x86_64": "linux/amd64",
    "aarch64": "linux/arm64",
    "ppc64le": "linux/ppc64le",
    "s390x": "linux/s390x",
}
# The floors that the manylinux and musllinux projects publish images for, the oldest first.
_MANYLINUX = {(2, 17): "manylinux2014", (2, 28): "manylinux_2_28", (2, 34): "manylinux_2_34"}
_IMAGES = "quay.io/pypa"
_FLOOR = re.compile(r"(many|musl)linux_(\d+)_(\d+)")


def container(
    target: Target, engine: str = "", image: str = "", python: str = "", options: Sequence[str] = ()
) -> Elsewhere:
    """A builder in a container.

    :param engine: ``docker`` or ``podman``; '' for the one that is installed.
    :param image: '' for the one of the manylinux or musllinux project that fits *target*.
    :param python: its interpreter; '' for that of the published images, or ``pythonX.Y``.
    :param options: further words for the engine's ``run``.
    """
    chosen = image or published(target)
    program = engine or next((name for name in ("podman", "docker") if shutil.which(name)), "")
    unable = ""
    if not shutil.which(program or "docker"):
        unable = f"{engine} is not installed" if engine else "neither podman nor docker is installed"
    if not chosen:
        unable = f"no image is published for {target.platforms()[0]}"

    def run(command: Sequence[str], content: Iterator[bytes]) -> tuple[int, bytes, str]:
        words = run_command(program, chosen, target, options, command)
        with tempfile.TemporaryFile() as sent:
            for chunk in content:
                sent.write(chunk)
            sent.seek(0)
            done = subprocess.run(words, stdin=sent, capture_output=True, check=False)
        return done.returncode, done.stdout, done.stderr.decode(errors="replace")

    return Elsewhere(
        f"container {chosen}", run, python or interpreter(chosen, target), platform(chosen, target), unable
    )


def run_command(engine: str, image: str, target: Target, options: Sequence[str], command: Sequence[str]) -> list[str]:
    """The engine's command line: no network, standard input open, removed when it ends."""
    foreign = [] if target.machine == Target.local().machine else ["--platform", _ENGINE_PLATFORMS[target.machine]]
    return [engine, "run", "--rm", "--interactive", "--network=none", *foreign, *options, image, *command]


def published(target: Target) -> str:
    """The image of the manylinux project for *target*: the newest that is old enough; '' where there is none."""
    if target.libc == "musl":
        return f"{_IMAGES}/musllinux_1_2_{target.machine}" if target.version >= (1, 2) else ""
    fitting = [name for floor, name in _MANYLINUX.items() if floor <= target.version]
    return f"{_IMAGES}/{fitting[-1]}_{target.machine}" if fitting and target.machine in _ENGINE_PLATFORMS else ""


def interpreter(image: str, target: Target) -> str:
    """The target's Python in an image: the projects' images have them all under /opt/python."""
    tag = f"cp{target.python.replace('.', '')}"
    ours = "manylinux" in image or "musllinux" in image
    return f"/opt/python/{tag}-{tag}/bin/python" if ours else ""


def platform(image: str, target: Target) -> Target:
    """What build requirements must fit in the container, by the image's name."""
    if match := _FLOOR.search(image):
        return replace(target, version=(int(match[2]), int(match[3])))
    return replace(target, version=(2, 17)) if "manylinux2014" in image else target
