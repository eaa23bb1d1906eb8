"""An existing virtual environment, shown at its own place with the Python behind it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ...host.venv import venv_extensions, venv_libraries, venv_settings, venv_view
from ..places import cache_directory
from ..records import remembered
from ..software import Progress, Software, SoftwareError, Venv

if TYPE_CHECKING:
    from ..cache import Cache

__all__ = ["provide"]

# Names that say nothing about whose environment it is.
COMMON_NAMES = ("venv", ".venv", "env", ".env")


def provide(request: Venv, *, cache: Cache | None, progress: Progress | None) -> Software:
    """The environment's files, and PATH as its own ``activate`` sets it."""
    directory = request.path
    try:
        view = venv_view(directory, None, remembered_libraries(directory, cache))
        settings = venv_settings(directory)
    except FileNotFoundError as error:
        raise SoftwareError(_trouble(directory, error)) from error
    except OSError as error:
        raise SoftwareError(f"venv {directory}: {error}") from error
    return Software(
        label=_label(directory, settings),
        mounts=(view,),
        env={"VIRTUAL_ENV": directory},
        search_paths=venv_paths(directory),
    )


def remembered_libraries(directory: str, cache: Cache | None) -> list[str]:
    """``venv_libraries``, looked for anew when something has been installed."""

    def look() -> tuple[list[str], list[str]]:
        found = venv_libraries(directory)
        python = f"{directory}/bin/python"
        # Who can write to a project could put a link in a library's place.
        return found, [*venv_extensions(directory), python, "/etc/ld.so.cache", *found]

    shelf = os.path.join(cache_directory() if cache is None else cache.directory, "libraries")
    return remembered(shelf, directory, look)


def venv_paths(directory: str, place: str | None = None) -> dict[str, tuple[str, ...]]:
    """The search paths of the environment at *directory*, seen at *place* in the container."""
    paths = {"PATH": "bin", "MANPATH": "share/man", "XDG_DATA_DIRS": "share"}
    return {
        name: (os.path.join(directory if place is None else place, where),)
        for name, where in paths.items()
        if os.path.isdir(os.path.join(directory, where))
    }


def _label(directory: str, settings: dict[str, str]) -> str:
    prompt = settings.get("prompt", "").strip("'\"")
    name = os.path.basename(directory)
    if name in COMMON_NAMES:
        name = os.path.basename(os.path.dirname(directory)) or name
    return prompt or name


def _trouble(directory: str, error: FileNotFoundError) -> str:
    """In words, what is wrong with what should be an environment."""
    if not os.path.isdir(directory):
        wrong = "is not a directory" if os.path.exists(directory) else "does not exist"
        return f"venv {directory} {wrong}; `python3 -m venv {directory}` makes one"
    if not os.path.exists(os.path.join(directory, "pyvenv.cfg")):
        parent = os.path.dirname(directory)
        hint = f"`python3 -m venv {directory}` makes one"
        if os.path.exists(os.path.join(parent, "pyvenv.cfg")):
            hint = f"did you mean {parent}?"
        return f"venv {directory} is no virtual environment: it has no pyvenv.cfg; {hint}"
    return (
        f"venv {directory}: {error.strerror} ({error.filename}), so nothing of it can run; make "
        f"it anew with `python3 -m venv --clear {directory}`"
    )
