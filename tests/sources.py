"""Source distributions with C code, made on the spot; they need a compiler and Python's headers, and no download."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

# A build backend that lies in the source itself (PEP 517, "In-tree build backends"). It asks sysconfig for all that a
# real one asks for, and puts a path of the building machine and the time into what it makes, as real ones do.
BACKEND = """\
import os, shlex, subprocess, sysconfig, time, zipfile

def _tag():
    minor = "cp" + sysconfig.get_python_version().replace(".", "")
    return "%s-%s-%s" % (minor, minor, sysconfig.get_platform().replace("-", "_").replace(".", "_"))

def get_requires_for_build_wheel(settings=None):
    return {dynamic!r}

def prepare_metadata_for_build_wheel(directory, settings=None):
    information = os.path.join(directory, "{name}-1.0.dist-info")
    os.mkdir(information)
    with open(os.path.join(information, "METADATA"), "w") as stream:
        stream.write("Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n")
    return "{name}-1.0.dist-info"

def build_wheel(directory, settings=None, metadata=None):
    {before}
    module = "{name}" + sysconfig.get_config_var("EXT_SUFFIX")
    cc = os.environ.get("CC", "cc")
    flags = sysconfig.get_config_var("CFLAGS").split() + shlex.split(os.environ.get("CFLAGS", ""))
    subprocess.check_call([cc, *flags, "-fPIC", "-I", sysconfig.get_path("include"), "-c", os.path.abspath("{name}.c")])
    shared = sysconfig.get_config_var("LDSHARED").split()[1:]
    subprocess.check_call([cc, *shared, "-o", module, "{name}.o"{libraries}])
    filename = "{name}-1.0-%s.whl" % _tag()
    with zipfile.ZipFile(os.path.join(directory, filename), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(module)
        information = "{name}-1.0.dist-info/"
        archive.writestr(information + "METADATA", "Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n")
        wheel = "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: false\\nTag: %s\\n"
        archive.writestr(information + "WHEEL", wheel % _tag())
        archive.writestr(information + "RECORD", "".join("%s,,\\n" % each for each in archive.namelist()))
    return filename
"""
C = """\
#include <Python.h>
{more}
static PyObject *where(PyObject *self, PyObject *unused) {{ return PyUnicode_FromFormat("%s %d", __FILE__, {value}); }}
static PyMethodDef methods[] = {{{{"where", where, METH_NOARGS, ""}}, {{NULL}}}};
static struct PyModuleDef module = {{PyModuleDef_HEAD_INIT, "{name}", NULL, -1, methods}};
PyMODINIT_FUNC PyInit_{name}(void) {{ return PyModule_Create(&module); }}
"""


def sdist(
    directory: Path,
    name: str = "tiny",
    *,
    requires: list[str] | None = None,
    dynamic: list[str] | None = None,
    before: str = "",
    libraries: list[str] | None = None,
    more: str = "",
    value: str = "(int)sizeof(long)",
) -> Path:
    """``NAME-1.0.tar.gz`` in *directory*.

    :param before: a Python statement that the backend begins with.
    :param libraries: words for the linker.
    :param more: C code, whose *value* the module tells.
    """
    words = "".join(f", {word!r}" for word in libraries or [])
    table = f'requires = {requires or []}\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    files = {
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        "pyproject.toml": f"[build-system]\n{table}",
        "backend.py": BACKEND.format(name=name, dynamic=dynamic or [], before=before or "pass", libraries=words),
        f"{name}.c": C.format(name=name, more=more, value=value),
    }
    path = directory / f"{name}-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for member, text in files.items():
            information = tarfile.TarInfo(f"{name}-1.0/{member}")
            information.size = len(text)
            archive.addfile(information, io.BytesIO(text.encode()))
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
