"""The compiled helper: system calls that Python does not offer, and all that must not be Python.

``lib`` holds the functions of cdef.h, ``ffi`` the memory.
"""

from __future__ import annotations

try:
    from ._helper import ffi, lib
except ImportError as error:
    error.add_note(
        "pycontainer's compiled helper does not load: reinstall with a C compiler and Python's "
        "headers present (Debian: apt-get install gcc python3-dev; then pip install .)"
    )
    raise

__all__ = ["ffi", "lib"]
