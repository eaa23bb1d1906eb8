"""Distributions of a package index, installed into a virtual environment of the cache."""

from __future__ import annotations

import os
import re
import sys

from ...host.venv import venv_view
from ..cache import Cache, key_of
from ..software import Pip, Progress, Software
from .index_settings import index_settings
from .venv import remembered_libraries, venv_paths

__all__ = ["provide"]

FORMAT = 1
"""Part of every key: entries that were made differently are not found."""


def provide(request: Pip, *, cache: Cache | None, progress: Progress | None) -> Software:
    """A virtual environment with the distributions, of the Python that runs this."""
    cache = Cache() if cache is None else cache
    settings = index_settings()
    python = _base_python()
    requirements = sorted(set(request.requirements))
    key = key_of(FORMAT, requirements, python, sys.version, os.uname().machine, settings)
    place = f"/opt/pip-{key[:8]}"
    what = f"pip {' '.join(requirements)}"

    def make(directory: str) -> None:
        from .pip_install import install  # only the first time

        install(requirements, directory, place, python, settings, what, progress)

    directory = cache.entry("pip", key, make, what=what, progress=progress)
    return Software(
        label=_label(request),
        mounts=(venv_view(directory, place, remembered_libraries(directory, cache)),),
        env={"VIRTUAL_ENV": place},
        search_paths=venv_paths(directory, place),
    )


def _label(request: Pip) -> str:
    names = [re.split(r"[^A-Za-z0-9._-]", one)[0] for one in request.requirements]
    return ",".join(names[:3]) + (",…" if len(names) > 3 else "")


def _base_python() -> str:
    """The interpreter that environments are made from; of one in an environment, the one behind."""
    return getattr(sys, "_base_executable", None) or sys.executable
