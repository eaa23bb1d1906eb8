"""Ready-made views of the host: its Python, its programs, its network configuration.

Each function looks at the host now and returns mounts, all of them read-only binds, and symbolic
links for the top-level ones (``/lib`` is ``usr/lib`` on most hosts).  What the host does not have
is left out.  Views may be combined, each as the one collection that it is, in any order:
``[host_python(), host_system(), bind("/srv")]``; a mount that the caller adds after one wins.
"""

from __future__ import annotations

import functools
import itertools
import os
import site
import sys
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from ..declare.checks import is_below
from ..declare.entries import Symlink, symlink
from ..declare.mounts import Mount, bind
from ..declare.part import Part

__all__ = ["HostView", "host_network", "host_python", "host_system"]

StrPath: TypeAlias = str | os.PathLike[str]

# Where ld.so(8) looks without being told, and where the ELF interpreter lies.
LOADER_DIRECTORIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")

# What ld.so reads, and where Debian's library names may lead (libblas.so.3 is an alternative).
LOADER_FILES = ("/etc/ld.so.cache", "/etc/alternatives")

# What OpenSSL (its links to certificates) and the C library read, where Debian has it.
BESIDE_LIBRARIES = ("/usr/lib/ssl", "/usr/lib/locale/C.utf8")

# Prefixes that hold far more than Python: of these only Python's own parts are shown.
SHARED_PREFIXES = ("/", "/usr", "/usr/local")

# What a virtual environment consists of (venv, virtualenv, and what wheels install into "data").
# One with other directories was made in the middle of somebody's project.
VENV_DIRECTORIES = frozenset({"bin", "etc", "include", "lib", "lib32", "lib64", "man", "share"})

# Here a program's libraries are found by absolute paths all over the tree, so it is all or nothing.
STORES = ("/nix/store", "/gnu/store")
HOMEBREW = "/home/linuxbrew/.linuxbrew"

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")

# Behind NixOS's and Guix System's PATH; both are links into the store.
SYSTEM_PROFILES = ("/run/current-system", "/etc/static")

NETWORK = (
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/hosts",
    "/etc/services",
    "/etc/protocols",
    # Certificates; never all of /etc/ssl or /etc/pki, which hold private keys as well.  Debian's
    # /etc/ssl/certs is full of links into /usr/share/ca-certificates, Fedora's into /etc/pki.
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/ca-trust/extracted",
    "/etc/ca-certificates/extracted",
    "/var/lib/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
)


class HostView(tuple[Mount | Symlink, ...], Part):
    """Mounts and links that show something of the host.

    A tuple of them, and a ``Part`` like each of them: so checkers take a list of views and mounts,
    ``[host_python(), bind("/srv")]``, for a ``list[Part]``.
    """

    __slots__ = ()


def host_python(*, path: Iterable[StrPath] = ()) -> HostView:
    """What the running interpreter needs to start and import in an otherwise empty root.

    That is: the executable, the prefixes (of a virtual environment and of what it was made from),
    the standard library, the site-packages on ``sys.path``, and the directories that the dynamic
    loader searches.  Of a prefix that holds much else (``/usr``, ``/usr/local``, a virtual
    environment in the top directory of a project) only these parts are shown.  The script's
    folder, the current directory, ``PYTHONPATH`` and the projects that editable installations
    point to are not, unless *path* names them.

    Args:
        path: more directories or files (such as zip archives) to show at their own place; a
            relative one is taken from the current directory of this moment.
    """
    named = (path,) if isinstance(path, (str, os.PathLike)) else tuple(path)
    return _python_mounts(
        sys.executable or "",
        (sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix),
        tuple(sys.path),
        tuple(os.path.abspath(os.fspath(one)) for one in named),
    )


@functools.cache
def host_system() -> HostView:
    """A read-only view of the host's programs and their libraries.

    ``/usr``, ``/bin``, ``/sbin`` and ``/lib*`` (links stay links), the loader's cache, Debian's
    alternatives, the local time zone, and the stores of Nix and Guix where they exist.
    """
    view = View()
    for place in (*SYSTEM, *STORES, *LOADER_FILES, "/etc/localtime"):
        view.show(place)
    for place in SYSTEM_PROFILES:
        if os.path.islink(place):
            view.links.setdefault(place, os.readlink(place))
    return view.mounts()


def host_network() -> HostView:
    """What programs read to use the network: resolver, services, and the trusted certificates.

    Of use in a container without the "net" namespace.  A file behind a link, as resolv.conf often
    is, is shown in the place of the link.  Looks at the host anew each time, and the mounts are
    optional, as these files come and go with the network.
    """
    view = View()
    for place in NETWORK:
        view.show(place, optional=True)
    return view.mounts()


@functools.lru_cache(maxsize=16)
def _python_mounts(
    executable: str, prefixes: tuple[str, ...], search_path: tuple[str, ...], named: tuple[str, ...]
) -> HostView:
    """All that decides the answer is an argument, except for which system libraries exist.

    The cache keeps the answer the same object, and with it the compiled plan of a container.
    """
    view = View()
    view.show_stores(executable, *prefixes)
    for prefix in prefixes:
        view.show(os.path.join(prefix, "pyvenv.cfg") if is_crowded(prefix) else prefix)
    for place in _library_directories(search_path):
        view.show(place)
    view.show_loader()
    if executable:
        for hop in hops(executable):
            view.show(hop)
    for place in named:
        view.show(place, must_exist=True)
    return view.mounts()


class View:
    """Collects places of the host to show at their own path, each once and none in vain."""

    def __init__(self) -> None:
        self.links: dict[str, str] = {}
        self._optional: dict[str, bool] = {}  # by place

    def show(self, place: str, *, optional: bool = False, must_exist: bool = False) -> None:
        """Show *place* at its own path, and a directory also at the real one, which other links
        may lead to."""
        if not must_exist and not os.path.exists(place):
            return
        for path in {self._written(place), os.path.realpath(place)}:
            if path == self._written(place) or os.path.isdir(path):
                self._optional[path] = self._optional.get(path, True) and optional

    def show_loader(self, *, closely: bool = False) -> None:
        """Show the directories that the dynamic loader searches, and what it reads.

        *closely*: of the directories only those that hold a library themselves (Debian's /usr/lib
        has none, and much else), and what is read beside libraries.
        """
        for place in (*LOADER_DIRECTORIES, *_configured_loader_directories()):
            if not closely or _holds_libraries(place):
                self.show(place)
        for place in (*LOADER_FILES, *(BESIDE_LIBRARIES if closely else ())):
            self.show(place)

    def show_stores(self, *used: str) -> None:
        """Show each store that one of the files *used* is in."""
        for store in (*STORES, HOMEBREW):
            if any(is_below(os.path.realpath(one), store) for one in used):
                self.show(store)

    def mounts(self) -> HostView:
        shown: list[Mount | Symlink] = [symlink(path, to) for path, to in self.links.items()]
        kept: list[str] = []
        # A directory sorts before what lies in it.
        for path, optional in sorted(self._optional.items()):
            if not any(is_below(path, above) and self._shows(above, path) for above in kept):
                kept.append(path)
                shown.append(bind(path, optional=optional))
        return HostView(shown)

    def _shows(self, directory: str, path: str) -> bool:
        """Whether *path*, below *directory*, is reachable with *directory* alone: no link leads
        out of it, or where the last one leads is shown too."""
        inside = os.path.realpath(directory)
        if not is_below(os.path.realpath(os.path.dirname(path)), inside):
            return False
        second = next(itertools.islice(hops(path), 1, None), None)
        return second in self._optional or is_below(os.path.realpath(path), inside)

    def _written(self, place: str) -> str:
        """*place* as it is written, except for a top-level link, which the container gets too.

        Links further down are not made: they would lie inside a bind of someone else's sooner
        or later, where nothing can be made.
        """
        place = os.path.normpath(place)
        for _ in range(40):  # as many links as the kernel follows (path_resolution(7))
            top = "/" + place.split("/", 2)[1]
            if not os.path.islink(top):
                break
            to = os.readlink(top)
            self.links.setdefault(top, to)
            place = os.path.normpath(os.path.join("/", to) + place[len(top) :])
        return place


def is_crowded(prefix: str) -> bool:
    """Whether *prefix* holds much that is not Python's."""
    if os.path.realpath(prefix) in SHARED_PREFIXES:
        return True
    if not os.path.exists(os.path.join(prefix, "pyvenv.cfg")):
        return False
    with os.scandir(prefix) as entries:
        return any(one.is_dir() and one.name not in VENV_DIRECTORIES for one in entries)


def _library_directories(search_path: tuple[str, ...]) -> Iterator[str]:
    """The standard library, and the site-packages that are on *search_path*."""
    import sysconfig

    paths = sysconfig.get_paths()
    yield paths["stdlib"]
    yield paths["platstdlib"]
    packages = {os.path.normpath(one) for one in site.getsitepackages()}
    if site.ENABLE_USER_SITE:
        packages.add(os.path.normpath(site.getusersitepackages()))
    for entry in search_path:
        if os.path.normpath(entry) in packages:
            yield entry


def _configured_loader_directories(conf: str = "/etc/ld.so.conf", depth: int = 4) -> Iterator[str]:
    """The directories that /etc/ld.so.conf names (ldconfig(8)).

    LD_LIBRARY_PATH does not count, as containers start with an empty environment.
    """
    from glob import glob

    try:
        with open(conf, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return
    for line in lines:
        words = line.split("#")[0].split()
        if not words:
            continue
        if words[0] == "include":
            for pattern in words[1:] if depth else ():
                for one in sorted(glob(os.path.join(os.path.dirname(conf), pattern))):
                    yield from _configured_loader_directories(one, depth - 1)
        elif words[0].startswith("/"):
            yield words[0]


def _holds_libraries(directory: str) -> bool:
    try:
        with os.scandir(directory) as entries:
            return any(".so" in entry.name and not entry.is_dir() for entry in entries)
    except OSError:
        return False


def hops(path: str) -> Iterator[str]:
    """*path* and each place that its last component leads to by a link: …/python3, …/python3.11."""
    for _ in range(40):
        yield path
        if not os.path.islink(path):
            return
        path = os.path.join(os.path.realpath(os.path.dirname(path)), os.readlink(path))
        path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
