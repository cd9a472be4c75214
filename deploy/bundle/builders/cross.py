"""What makes a build for another machine out of one for this: a compiler by other names, headers, and sysconfig's data.

A build backend asks ``sysconfig`` for everything: the suffix of extension modules, the compiler, the headers. So it is
given data of the target's (``_PYTHON_SYSCONFIGDATA_NAME``), as CPython's own cross build does, and nothing is left of
this machine's. Headers are those of the same Python minor version, which are the same everywhere but for
``pyconfig.h``; that one is written here, from what the compiler says of the target.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ..target import Target

DATA = "_sysconfigdata_of_the_target"

# The macros of pyconfig.h that the headers of CPython 3.9 to 3.14 look at, on Linux; sizes in the compiler's own words.
_PYCONFIG = """\
#define SIZEOF_DOUBLE __SIZEOF_DOUBLE__
#define SIZEOF_FLOAT __SIZEOF_FLOAT__
#define SIZEOF_FPOS_T 16
#define SIZEOF_INT __SIZEOF_INT__
#define SIZEOF_LONG __SIZEOF_LONG__
#define SIZEOF_LONG_DOUBLE __SIZEOF_LONG_DOUBLE__
#define SIZEOF_LONG_LONG __SIZEOF_LONG_LONG__
#define SIZEOF_OFF_T 8
#define SIZEOF_PID_T 4
#define SIZEOF_PTHREAD_KEY_T 4
#define SIZEOF_PTHREAD_T __SIZEOF_POINTER__
#define SIZEOF_SHORT __SIZEOF_SHORT__
#define SIZEOF_SIZE_T __SIZEOF_SIZE_T__
#define SIZEOF_TIME_T 8
#define SIZEOF_UINTPTR_T __SIZEOF_POINTER__
#define SIZEOF_VOID_P __SIZEOF_POINTER__
#define SIZEOF_WCHAR_T __SIZEOF_WCHAR_T__
#define SIZEOF__BOOL 1
#define ALIGNOF_LONG __SIZEOF_LONG__
#define ALIGNOF_SIZE_T __SIZEOF_SIZE_T__
#define ALIGNOF_MAX_ALIGN_T __BIGGEST_ALIGNMENT__
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define WORDS_BIGENDIAN 1
#define DOUBLE_IS_BIG_ENDIAN_IEEE754 1
#else
#define DOUBLE_IS_LITTLE_ENDIAN_IEEE754 1
#endif
#if defined(__x86_64__)
#define HAVE_GCC_ASM_FOR_X64 1
#define HAVE_GCC_ASM_FOR_X87 1
#endif
#define _GNU_SOURCE 1
#define _NETBSD_SOURCE 1
#define _POSIX_C_SOURCE 200809L
#define _XOPEN_SOURCE 700
#define _XOPEN_SOURCE_EXTENDED 1
#define __EXTENSIONS__ 1
#define STDC_HEADERS 1
#define PY_FORMAT_SIZE_T "z"
#define TIME_WITH_SYS_TIME 1
#define WITH_DOC_STRINGS 1
#define WITH_FREELISTS 1
#define WITH_MIMALLOC 1
#define WITH_PYMALLOC 1
"""
# What any Linux with glibc 2.17, or musl, has.
_HAVE = """
BUILTIN_ATOMIC CLOCK_GETTIME COPYSIGN DECL_ISFINITE DECL_ISINF DECL_ISNAN DECL_RTLD_NOW DIRENT_H DLFCN_H
DLOPEN DYNAMIC_LOADING ERRNO_H FCNTL_H FINITE FORK GETTIMEOFDAY HYPOT INTTYPES_H LANGINFO_H LIMITS_H
LONG_DOUBLE LONG_LONG MEMORY_H PTHREAD_CONDATTR_SETCLOCK PTHREAD_H READLINK REALPATH ROUND SEM_TIMEDWAIT
SIGACTION SIGALTSTACK SIGNAL_H SSIZE_T STDARG_PROTOTYPES STDINT_H STDLIB_H STD_ATOMIC STRDUP STRINGS_H
STRING_H SYS_PARAM_H SYS_SELECT_H SYS_STAT_H SYS_TIME_H SYS_TYPES_H TIMES UINTPTR_T UNISTD_H WCHAR_H
"""

# Build scripts ask for the machine here, too. Python imports the module as it starts.
_SITECUSTOMIZE = """\
import os, platform

_uname = os.uname

def uname():
    here = _uname()
    return os.uname_result(("Linux", here.nodename, here.release, here.version, {machine!r}))

os.uname = uname
platform.machine = lambda: {machine!r}
"""

# Words that a build script has for its own machine, and that lead astray here.
_WRAPPER = """\
#!/bin/sh
for word do
    shift
    case $word in
        -I/usr/* | -L/usr/* | -L/lib* | -march=native | -mtune=native | -Wl,-rpath*) ;;
        *) set -- "$@" "$word" ;;
    esac
done
exec {command} "$@"
"""


def pyconfig() -> str:
    """``pyconfig.h`` for Linux with 64 bits."""
    return _PYCONFIG + "".join(f"#define HAVE_{name} 1\n" for name in _HAVE.split())


def sysconfig_data(target: Target, folder: str) -> dict[str, str | int]:
    """``build_time_vars`` for *target*.

    :param folder: where :func:`write` put headers and compiler.
    """
    python = target.python
    suffix = target.ext_suffix
    soabi = suffix[1:].removesuffix(".so")
    include = f"{folder}/include/python{python}"
    return {
        "ABIFLAGS": "",
        "AR": "ar",
        "ARFLAGS": "rcs",
        "BASECFLAGS": "",
        "BLDSHARED": "cc -shared",
        "CC": "cc",
        "CCSHARED": "-fPIC",
        "CFLAGS": "-DNDEBUG -O2 -Wall -fwrapv",
        "CONFIG_ARGS": "",
        "CONFINCLUDEPY": include,
        "CPPFLAGS": "",
        "CXX": "c++",
        "EXE": "",
        "EXT_SUFFIX": suffix,
        "HOST_GNU_TYPE": soabi.split("-", 2)[2].replace("-linux", "-unknown-linux"),
        "INCLUDEDIR": f"{folder}/include",
        "INCLUDEPY": include,
        "LDCXXSHARED": "c++ -shared",
        "LDFLAGS": "",
        "LDLIBRARY": f"libpython{python}.a",
        "LDSHARED": "cc -shared",
        "LDVERSION": python,
        "LIBDIR": f"{folder}/lib",
        "LIBPL": f"{folder}/lib",
        "LIBRARY": f"libpython{python}.a",
        "LIBS": "",
        "MACHDEP": "linux",
        "MULTIARCH": soabi.split("-", 2)[2],
        "OPT": "",
        "PY_CFLAGS": "-DNDEBUG -O2 -Wall -fwrapv",
        "Py_DEBUG": 0,
        "Py_ENABLE_SHARED": 0,
        "Py_GIL_DISABLED": 0,
        "RANLIB": "ranlib",
        "SHLIB_SUFFIX": ".so",
        "SIZEOF_VOID_P": 8,
        "SOABI": soabi,
        "SYSLIBS": "-lm",
        "TZPATH": "",
        "VERSION": python,
        # sysconfig.get_path("include") goes by these.
        "installed_base": folder,
        "installed_platbase": folder,
    }


def write(folder: Path, target: Target, headers: Path, programs: dict[str, str]) -> dict[str, str]:
    """Put all of it into *folder*; the variables of a build with it.

    :param headers: the directory of ``Python.h``.
    :param programs: names such as ``cc``, and the commands that they stand for (quoted for a shell).
    """
    include = folder / "include" / f"python{target.python}"
    shutil.copytree(headers, include)
    (include / "pyconfig.h").write_text(pyconfig())
    (folder / "lib").mkdir()
    data = folder / "data"
    data.mkdir()
    (data / f"{DATA}.py").write_text(f"build_time_vars = {sysconfig_data(target, str(folder))!r}\n")
    (data / "sitecustomize.py").write_text(_SITECUSTOMIZE.format(machine=target.machine))
    binaries = folder / "bin"
    binaries.mkdir()
    for name, command in programs.items():
        (binaries / name).write_text(_WRAPPER.format(command=command))
        (binaries / name).chmod(0o755)
    (folder / "toolchain.cmake").write_text(
        "set(CMAKE_SYSTEM_NAME Linux)\n"
        f"set(CMAKE_SYSTEM_PROCESSOR {target.machine})\n"
        f"set(CMAKE_C_COMPILER {binaries}/cc)\n"
        f"set(CMAKE_CXX_COMPILER {binaries}/c++)\n"
        f"set(CMAKE_FIND_ROOT_PATH {folder})\n"
        "set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)\n"
    )
    return {
        "CMAKE_TOOLCHAIN_FILE": str(folder / "toolchain.cmake"),
        "PATH": f"{binaries}:{{path}}",
        "PYTHONPATH": str(data),
        "_PYTHON_SYSCONFIGDATA_NAME": DATA,
        "_PYTHON_HOST_PLATFORM": f"linux-{target.machine}",
        "CC": "cc",
        "CXX": "c++",
        "AR": "ar",
        "RANLIB": "ranlib",
        "LDSHARED": "cc -shared",
        "LDCXXSHARED": "c++ -shared",
        # Libraries of this machine are not the target's.
        "PKG_CONFIG_PATH": "",
        "PKG_CONFIG_LIBDIR": str(folder / "lib"),
        "LD_RUN_PATH": "",
        "CPATH": "",
        "LIBRARY_PATH": "",
    }
