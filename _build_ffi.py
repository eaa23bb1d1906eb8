"""Builds the compiled helper: ``python _build_ffi.py`` in place, or through setup.py.

With ``PYCONTAINER_WERROR=1`` in the environment every compiler warning is an error (CI), and
``PYCONTAINER_SANITIZE=1`` compiles with the address and undefined-behaviour sanitizers.
"""

from __future__ import annotations

import os
from pathlib import Path

from cffi import FFI

# setuptools wants its paths relative to setup.py, wherever this file is executed from.
_NATIVE = Path("pycontainer/_native")
_HERE = Path(__file__).resolve().parent if "__file__" in globals() else Path.cwd()

_flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra"]
# Bound when it is loaded: a child that has given up its interpreter (shed.c) finds no symbols.
_link_flags = ["-Wl,-z,now"]
if os.environ.get("PYCONTAINER_WERROR"):
    _flags.append("-Werror")
if os.environ.get("PYCONTAINER_SANITIZE"):
    _sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    _link_flags += _sanitizers
    _flags += [*_sanitizers, "-g", "-fno-omit-frame-pointer"]

ffibuilder = FFI()
ffibuilder.cdef((_HERE / _NATIVE / "cdef.h").read_text())
ffibuilder.set_source(
    "pycontainer._native._helper",
    '#include "pycontainer.h"\n',
    sources=sorted(str(_NATIVE / path.name) for path in (_HERE / _NATIVE).glob("[!_]*.c")),
    depends=sorted(str(_NATIVE / path.name) for path in (_HERE / _NATIVE).glob("*.h")),
    include_dirs=[str(_NATIVE)],
    extra_compile_args=_flags,
    extra_link_args=_link_flags,
    libraries=["dl"],
    # The stable ABI of Python 3.11: one build serves every later version.
    define_macros=[("Py_LIMITED_API", "0x030b0000"), ("_GNU_SOURCE", None)],
)

if __name__ == "__main__":
    os.chdir(_HERE)
    ffibuilder.compile(verbose=bool(os.environ.get("VERBOSE")))
