"""A virtual environment of whatever Python, and what its interpreter needs of the host.

Found out by reading files, without starting that interpreter, as CPython's own search for its
prefix does (Modules/getpath.py in its sources; PEP 405).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from ..declare.mounts import bind
from .mounts import SHARED_PREFIXES, VENV_DIRECTORIES, HostView, View, hops, is_crowded

__all__ = ["venv_extensions", "venv_libraries", "venv_settings", "venv_view"]


def venv_settings(directory: str) -> dict[str, str]:
    """What pyvenv.cfg says, by the keys in lower case.

    Raises:
        FileNotFoundError: *directory* is no virtual environment.
    """
    settings = {}
    with open(os.path.join(directory, "pyvenv.cfg"), encoding="utf-8") as file:
        for line in file:
            key, equals, value = line.partition("=")
            if equals:
                settings[key.strip().lower()] = value.strip()
    return settings


def venv_view(
    directory: str, place: str | None = None, libraries: Iterable[str] | None = None
) -> HostView:
    """The virtual environment at *directory* with the Python that it was made from.

    That is: what the environment consists of, the interpreter behind its ``python``, the standard
    library and the prefix of that interpreter (of one such as /usr, only Python's parts), and the
    host's shared libraries that they need.  With ``include-system-site-packages``, Debian's
    further places of packages as well.

    Arguments:
        directory: of the host.
        place: where the environment is seen in the container, if not at its own place.
        libraries: what ``venv_libraries`` has found; None to look for them, which takes a while.

    Raises:
        FileNotFoundError: *directory* is no virtual environment, or its interpreter or the standard
            library is gone; ``filename`` says which.
    """
    settings = venv_settings(directory)
    executable = os.path.join(directory, "bin", "python")
    if not os.path.exists(executable):
        raise FileNotFoundError(2, "the interpreter is gone", os.path.realpath(executable))
    # Where this link leads is shown, wherever that is.
    if not os.path.isfile(executable) or not os.access(executable, os.X_OK):
        raise FileNotFoundError(2, "the interpreter is no program", os.path.realpath(executable))
    version = _version(settings, directory)
    base = _base_prefix(settings, executable, version)
    view = View()
    view.show_stores(executable, base)
    if place is not None:
        pass
    elif is_crowded(directory):
        names = sorted(VENV_DIRECTORIES | {"pyvenv.cfg"})
        for part in _within(directory, (os.path.join(directory, name) for name in names)):
            view.show(part)
    else:
        view.show(directory)
    if is_crowded(base):
        parts = _python_parts(base, version, settings)
        # A prefix of the host's may be made of links (stow).
        for part in parts if os.path.realpath(base) in SHARED_PREFIXES else _within(base, parts):
            view.show(part)
    else:
        view.show(base)
    for library in venv_libraries(directory) if libraries is None else libraries:
        view.show(library)
    view.show("/etc/ld.so.cache")  # for those that lie where the loader would not look
    for hop in hops(executable):
        if place is None or not hop.startswith(directory + "/"):
            view.show(hop)
    if place is None:
        return view.mounts()
    return HostView((*view.mounts(), bind(directory, place)))


def venv_extensions(directory: str) -> list[str]:
    """The directories in which the environment and its Python have their extension modules.

    Installing or removing a distribution changes one of them.

    Raises:
        FileNotFoundError: as ``venv_view``.
    """
    settings = venv_settings(directory)
    version = _version(settings, directory)
    base = _base_prefix(settings, os.path.join(directory, "bin", "python"), version)
    found = [os.path.join(os.path.dirname(one), "lib-dynload") for one in _landmarks(base, version)]
    for name in ("lib", "lib64"):
        found.append(os.path.join(directory, name, f"python{version}", "site-packages"))
    return [*dict.fromkeys(os.path.realpath(one) for one in found if os.path.isdir(one))]


def venv_libraries(directory: str) -> list[str]:
    """The host's shared libraries that the environment's Python and extension modules need.

    Raises:
        FileNotFoundError: as ``venv_view``.
    """
    from .libraries import is_object, needed_files

    programs = [os.path.join(directory, "bin", "python")]
    for place in venv_extensions(directory):
        for parent, _, names in os.walk(place):
            programs += [
                os.path.join(parent, name)
                for name in names
                if name.endswith(".so") or ".so." in name
            ]
    own = directory + "/"
    found = [one for one in needed_files(programs) if not one.startswith(own)]
    # No library names this one: glibc loads it when a thread is cancelled (pthread_cancel(3)).
    for one in found:
        sibling = os.path.join(os.path.dirname(one), "libgcc_s.so.1")
        if os.path.basename(one).startswith("libc.so") and is_object(sibling):
            found.append(sibling)
            break
    return [*dict.fromkeys(found)]


def _within(directory: str, places: Iterable[str]) -> Iterator[str]:
    """Those of *places* that do not lead out of *directory* by a link.

    It may have come with a project, made so that something else of the host would be shown.
    """
    real = os.path.realpath(directory)
    for place in places:
        if os.path.realpath(place).startswith(real + "/"):
            yield place


def _version(settings: dict[str, str], directory: str) -> str:
    """Such as "3.11": of ``version`` (venv, uv) or ``version_info`` (virtualenv, uv)."""
    words = settings.get("version") or settings.get("version_info") or ""
    numbers = words.split(".")[:2]
    if len(numbers) == 2 and all(number.isdigit() for number in numbers):
        return ".".join(numbers)
    with os.scandir(os.path.join(directory, "lib")) as entries:
        found = [one.name for one in entries if one.name.startswith(("python", "pypy"))]
    if not found:
        raise FileNotFoundError(2, "no lib/python…", directory)
    return found[0].removeprefix("python").removeprefix("pypy")


def _base_prefix(settings: dict[str, str], executable: str, version: str) -> str:
    """The directory above bin from which the standard library is found.

    ``home`` may be a directory of links (/usr/local/bin/python3 -> /opt/python/bin/python3), so
    the one where the interpreter really lies is tried as well.
    """
    starts = [settings.get("home", ""), os.path.dirname(os.path.realpath(executable))]
    for start in starts:
        place = os.path.normpath(start) if os.path.isabs(start) else ""
        while len(place) > 1:
            if any(os.path.exists(one) for one in _landmarks(place, version)):
                return place
            place = os.path.dirname(place)
    raise FileNotFoundError(2, "the standard library is gone", os.path.dirname(starts[0]))


def _landmarks(prefix: str, version: str) -> Iterator[str]:
    """The file by which CPython knows its standard library; lib64 is Fedora's platlibdir."""
    for name in ("lib", "lib64"):
        for python in ("python", "pypy"):
            yield os.path.join(prefix, name, f"{python}{version}", "os.py")


def _python_parts(prefix: str, version: str, settings: dict[str, str]) -> Iterator[str]:
    """Python's own parts of a prefix that holds much else."""
    for landmark in _landmarks(prefix, version):
        yield os.path.dirname(landmark)
    for name in ("lib", "lib64"):
        if os.path.isdir(os.path.join(prefix, name)):
            for one in sorted(os.listdir(os.path.join(prefix, name))):
                if one.startswith(f"libpython{version}") and ".so" in one:
                    yield os.path.join(prefix, name, one)
    if settings.get("include-system-site-packages", "").lower() == "true":
        yield os.path.join(prefix, "lib", "python3", "dist-packages")
        yield os.path.join("/usr/local/lib", f"python{version}", "dist-packages")
