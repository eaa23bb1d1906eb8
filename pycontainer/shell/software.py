"""Software for a container: what can be asked for, what is got, and ``provide`` in between.

Each kind of request has a module in ``providers`` with a function ``provide`` of the same
arguments, imported when the first such request is made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from ..declare.checks import Problems, StrPath, check_text, host_path, refuse
from ..declare.part import Part
from ..declare.record import Record, set_field
from ..errors import ContainerError

if TYPE_CHECKING:
    from .cache import Cache

__all__ = [
    "Apt",
    "OciImage",
    "Pip",
    "Profile",
    "Progress",
    "Request",
    "Rootfs",
    "Software",
    "SoftwareError",
    "Venv",
    "provide",
]

Progress: TypeAlias = Callable[[str, int, "int | None"], None]
"""Called while something is fetched: what is being done in a few words, the bytes so far, and how
many there will be in all (None: unknown)."""


class SoftwareError(ContainerError):
    """Software cannot be had: it does not exist, cannot be fetched or kept, or is malformed.

    The message says which request, what went wrong, and what to do; a hint may come as a note.
    """


_NONE: Mapping[str, Any] = MappingProxyType({})


class Software(Record):
    """What a container needs to have some software in it.

    Attributes:
        label: a short name for prompts and messages: "numpy", "venv", "hello".
        mounts: mounts, entries and views, in order, as ``Container`` takes them.
        env: variables with plain values.
        search_paths: variables whose values are lists of places in the container, such as PATH,
            LD_LIBRARY_PATH, MANPATH, XDG_DATA_DIRS and PKG_CONFIG_PATH: to be joined by ":" over
            all software, the first one first.
        rootfs: a directory of the host that holds a whole root file system, or None.
        cwd: where an image wants its programs to start, or None.
    """

    __slots__ = (  # noqa: RUF023 - in the order of __init__()
        "label",
        "mounts",
        "env",
        "search_paths",
        "rootfs",
        "cwd",
    )

    label: str
    mounts: tuple[Part, ...]
    env: Mapping[str, str]
    search_paths: Mapping[str, tuple[str, ...]]
    rootfs: str | None
    cwd: str | None

    def __init__(
        self,
        label: str,
        mounts: tuple[Part, ...] = (),
        env: Mapping[str, str] = _NONE,
        search_paths: Mapping[str, Iterable[str]] = _NONE,
        rootfs: str | None = None,
        cwd: str | None = None,
    ) -> None:
        set_field(self, "label", label)
        set_field(self, "mounts", mounts)
        set_field(self, "env", MappingProxyType(dict(env)))
        paths = {name: tuple(places) for name, places in search_paths.items()}
        set_field(self, "search_paths", MappingProxyType(paths))
        set_field(self, "rootfs", rootfs)
        set_field(self, "cwd", cwd)


def _names_of(given: str | Iterable[str]) -> tuple[str, ...]:
    """One name or several; a single str is one, not its letters."""
    if isinstance(given, (str, bytes)):
        return (given,)
    try:
        return tuple(given)
    except TypeError:
        return given  # type: ignore[return-value]


class _Place(Record):
    """A request that names one place of the host."""

    __slots__ = ()

    path: str

    def __init__(self, path: StrPath) -> None:
        set_field(self, "path", host_path(path))
        problems: Problems = []
        check_text(problems, "path", self.path)
        refuse(type(self).__name__, problems)


class Venv(_Place):
    """An existing virtual environment: its directory, and the Python that it was made from."""

    __slots__ = ("path",)


class Rootfs(_Place):
    """A root file system: a directory of the host, or a tar archive (plain, gz, bz2, xz, zst)."""

    __slots__ = ("path",)


class OciImage(_Place):
    """An image in a directory of the OCI image layout, for this machine's architecture."""

    __slots__ = ("path",)


class Profile(_Place):
    """A prefix with bin, lib and share, such as a Guix or Nix profile, with all it refers to."""

    __slots__ = ("path",)


# A distribution's name as in the "Names" page of the packaging specifications.
_DISTRIBUTION = r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\s*($|[\[<>=!~;@(,])"


class Pip(Record):
    """Distributions of a Python package index, installed into a virtual environment.

    Attributes:
        requirements: one or more specifiers such as "numpy>=2" or "rich[jupyter]".
    """

    __slots__ = ("requirements",)

    requirements: tuple[str, ...]

    def __init__(self, requirements: str | Iterable[str]) -> None:
        set_field(self, "requirements", _names_of(requirements))
        problems: Problems = []
        for one in _each(problems, "requirements", self.requirements):
            if "\n" in one or not re.match(_DISTRIBUTION, one):
                hint = ""
                if one.startswith("-"):
                    hint = "; options of pip come from its configuration or PIP_… variables"
                elif "/" in one or one.endswith((".whl", ".gz", ".zip")):
                    hint = "; install it into a virtual environment, and give that"
                problems.append(f"requirement {one!r} does not begin with a package's name{hint}")
        refuse("Pip", problems)


# Debian Policy 5.6.7 (names), 5.6.12 (versions), and apt-get(8) for what may follow a name.
_PACKAGE = r"[a-z0-9][a-z0-9+.-]*[a-z0-9+.](:[a-z0-9-]+)?(=[A-Za-z0-9.+:~-]+|/[A-Za-z0-9.~-]+)?"


class Apt(Record):
    """Debian packages with what they depend on, from the host's own package sources.

    Attributes:
        packages: one or more names, each with ":ARCHITECTURE" and "=VERSION" or "/RELEASE" after it
            if need be.
    """

    __slots__ = ("packages",)

    packages: tuple[str, ...]

    def __init__(self, packages: str | Iterable[str]) -> None:
        set_field(self, "packages", _names_of(packages))
        problems: Problems = []
        for one in _each(problems, "packages", self.packages):
            if not re.fullmatch(_PACKAGE, one):
                hint = "; names are in lower case" if re.fullmatch(_PACKAGE, one.lower()) else ""
                problems.append(f"package {one!r} is no name of a Debian package{hint}")
        refuse("Apt", problems)


Request: TypeAlias = Venv | Pip | Apt | Rootfs | OciImage | Profile
"""Any request for software."""


def _each(problems: Problems, name: str, values: Any) -> list[str]:
    """The texts among *values*; a problem for each that is none, and for there being none."""
    if not isinstance(values, tuple):
        problems.append(f"{name} must be a str or several, not {values!r}")
        return []
    if not values:
        problems.append(f"{name}: none is given")
    return [one for one in values if check_text(problems, name, one)]


_PROVIDERS = {
    Venv: "venv",
    Pip: "pip",
    Apt: "apt",
    Rootfs: "rootfs",
    OciImage: "oci_image",
    Profile: "profile",
}


def provide(
    request: Request, *, cache: Cache | None = None, progress: Progress | None = None
) -> Software:
    """Get *request*, from the cache if it is there, and say what a container needs to have it.

    Arguments:
        request: one of the classes of ``Request``.
        cache: where fetched things are kept; the caller's own when None.
        progress: called now and then while something is fetched or unpacked.

    Raises:
        SoftwareError: it does not exist, cannot be fetched (no network, full disk) or is
            malformed.  Nothing half-made is left where it would be used.
        TypeError: *request* is not a request.
    """
    module = _PROVIDERS.get(type(request))
    if module is None:
        raise TypeError(f"not a request for software: {request!r}")
    provider = import_module(f".providers.{module}", __package__)
    return cast(Software, provider.provide(request, cache=cache, progress=progress))
