"""The standard library, for functions that import while they run.

The helper and all that it clones hold a descriptor of the host's standard library, and of nothing
else of the host (``_native/stdlib.c`` says why it can only be read).  Here is the finder of last
resort that imports from it: whatever ``sys.path`` has comes first.

The lean helper process imports this module.
"""

from __future__ import annotations

import _frozen_importlib
import _frozen_importlib_external
import _imp
import os
import sys

from .._native import ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    import types
    from collections.abc import Iterator, Sequence
    from typing import Any

__all__ = ["HostsOwn", "Stdlib", "hold_stdlib"]

STDLIB: int = lib.PC_FD_STDLIB
_EXTENSIONS = "lib-dynload/"
_SUFFIXES = tuple(_imp.extension_suffixes())

# What the dynamic loader has in memory wherever Python runs (join.c loads those that it may lack).
_loaded = {
    "ld-linux-aarch64.so.1",
    "ld-linux-x86-64.so.2",
    "libc.so.6",
    "libdl.so.2",
    "libm.so.6",
    "libpthread.so.0",
}

_KIND, _DIRECTORY, _FILE, _LINK = 0o170000, 0o040000, 0o100000, 0o120000  # inode(7)


def hold_stdlib(directory: str, hidden: Sequence[str]) -> Stdlib | None:
    """Hold the standard library for this process and its children.

    Args:
        directory: where it is, as an absolute path.
        hidden: directories in it, relative, that do not belong to it, such as site-packages.

    Returns:
        Its finder; None where the library is no directory (a zip archive), or the kernel cannot
        clone it: then only what the container has can be imported there.
    """
    names = b"".join(os.fsencode(name) + b"\0" for name in hidden) + b"\0"
    if lib.pc_hold_stdlib(os.fsencode(directory), ffi.from_buffer(names)):
        return None
    _load_common_libraries()
    return Stdlib(directory)


def _load_common_libraries() -> None:
    """Load libz, where the interpreter has it not in itself: base64, email, gzip and zipfile import
    modules that need it, and a container has no libraries.  (It is small; libcrypto, say, is not.)
    """
    if "binascii" in sys.builtin_module_names:
        return
    try:
        import binascii
    except ImportError:
        return
    file: str = binascii.__file__
    with open(file, "rb") as library:
        _loaded.update(_needed(library.read()) or ())


class Stdlib:
    """A finder of the standard library's modules, by the descriptor alone.

    Attributes:
        strict: load no shared library that needs one from the root directory of this process,
            which is not to be trusted.
    """

    def __init__(self, directory: str) -> None:
        self.strict = False
        self._start = directory.rstrip("/") + "/"
        self._identity = _identity(STDLIB)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: object = None
    ) -> _frozen_importlib.ModuleSpec | None:
        """As importlib has it.  None for what is not of the standard library."""
        top = name.partition(".")[0]
        # The second: what the library's sysconfig imports, named after the platform.
        if top not in sys.stdlib_module_names and not top.startswith("_sysconfigdata_"):
            return None
        # The function may have closed the descriptor, and opened something else.
        if _identity(STDLIB) != self._identity:
            return None
        tail = name.rpartition(".")[2]
        for place in self._places(path):
            found = self._find(name, place + tail)
            if found is not None:
                return found
        return None

    def _places(self, path: Sequence[str] | None) -> Iterator[str]:
        """Where to look, relative: for a top-level module, or below a package's *path*."""
        if path is None:
            yield from ("", _EXTENSIONS)
        for entry in path or ():
            if isinstance(entry, str) and entry.startswith(self._start):
                yield entry.removeprefix(self._start) + "/"

    def _find(self, name: str, stem: str) -> _frozen_importlib.ModuleSpec | None:
        file = _file(f"{stem}/__init__.py")
        directories = None if file is None else [self._start + stem]
        file = file or _file(f"{stem}.py")
        if file is not None:
            path = self._start + file
            return _frozen_importlib_external.spec_from_file_location(
                name,
                path,
                loader=_Source(name, path, len(self._start)),
                submodule_search_locations=directories,
            )
        for suffix in _SUFFIXES:
            file = _file(stem + suffix)
            if file is not None and not (self.strict and _needs_more(file)):
                path = self._start + file
                return _frozen_importlib_external.spec_from_file_location(
                    name, path, loader=_Extension(name, path, file, self)
                )
        return None

    def in_sight(self) -> bool:
        """Whether the descriptor can be had by a path."""
        return not self.strict and _identity(f"/proc/self/fd/{STDLIB}") == self._identity


class HostsOwn:
    """The only finder in an excursion, where the files of the container are not to be trusted.

    What it finds is the host's: built in, or of the standard library.
    """

    def __init__(self, stdlib: Stdlib | None) -> None:
        self._finders: list[Any] = [
            _frozen_importlib.BuiltinImporter,
            _frozen_importlib.FrozenImporter,
        ]
        if stdlib is not None:
            stdlib.strict = True
            self._finders.append(stdlib)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: object = None
    ) -> _frozen_importlib.ModuleSpec:
        """As importlib has it, but for the words of its ModuleNotFoundError."""
        for finder in self._finders:
            spec = finder.find_spec(name, path)
            if spec is not None:
                return spec  # type: ignore[no-any-return]
        raise ModuleNotFoundError(
            f"module {name!r} is not loaded, and an excursion imports nothing from the container; "
            f"import it outside the function, or name it in preload=",
            name=name,
        )


class _Source(_frozen_importlib_external.SourceFileLoader):
    """Loads source, or bytecode, whose names are those of the host's files."""

    def __init__(self, name: str, path: str, start: int) -> None:
        super().__init__(name, path)
        self._start = start

    def get_data(self, path: str) -> bytes:
        return _read(path[self._start :])

    def path_stats(self, path: str) -> dict[str, float]:
        status = os.stat(path[self._start :], dir_fd=STDLIB)
        return {"mtime": status.st_mtime, "size": status.st_size}

    def set_data(self, path: str, data: object, **_: object) -> None:
        """Nothing is cached."""


class _Extension(_frozen_importlib_external.ExtensionFileLoader):
    """Loads a shared library, for which the dynamic loader wants a path."""

    def __init__(self, name: str, path: str, file: str, stdlib: Stdlib) -> None:
        super().__init__(name, path)
        self._file = file
        self._stdlib = stdlib

    def create_module(self, spec: _frozen_importlib.ModuleSpec) -> types.ModuleType:
        shown = spec.origin
        here = -1
        try:
            if self._stdlib.in_sight():
                spec.origin = f"/proc/self/fd/{STDLIB}/{self._file}"
            else:
                # No /proc, or none to be trusted.
                here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                os.fchdir(STDLIB)
                spec.origin = f"./{self._file}"
            return super().create_module(spec)
        finally:
            spec.origin = shown
            if here >= 0:
                os.fchdir(here)
                os.close(here)


def _identity(place: int | str) -> tuple[int, int] | None:
    try:
        status = os.stat(place)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _file(name: str) -> str | None:
    """*name* if there is a file, what it links to if that is beside it, else None.

    The kernel follows no links there (MOUNT_ATTR_NOSYMFOLLOW), but Debian has one of this kind.
    """
    for _ in range(2):
        try:
            kind = os.stat(name, dir_fd=STDLIB, follow_symlinks=False).st_mode & _KIND
            if kind != _LINK:
                return name if kind == _FILE else None
            directory, slash, _ = name.rpartition("/")
            to = os.readlink(name, dir_fd=STDLIB)
        except OSError:
            return None
        if "/" in to:
            return None
        name = directory + slash + to
    return None


def _read(name: str) -> bytes:
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=STDLIB)
    try:
        pieces = []
        while piece := os.read(fd, 1 << 20):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        os.close(fd)


def _needs_more(name: str) -> bool:
    """Whether a shared library needs others than those in memory, for which the loader would look
    in the root directory of this process."""
    needed = _needed(_read(name))
    return needed is None or not _loaded.issuperset(needed)


def _needed(data: bytes) -> list[str] | None:
    """The libraries that a shared library needs (elf(5); of 64 bits and little endian, as x86-64
    and aarch64 have it); None for what it does not understand."""

    def number(at: int, length: int) -> int:
        return int.from_bytes(data[at : at + length], "little")

    if data[:6] != b"\x7fELF\x02\x01":
        return None
    size, count = number(54, 2), number(56, 2)
    headers = [number(32, 8) + index * size for index in range(count)]
    # Of each segment: type, offset, address, length in the file.
    segments = [
        (number(at, 4), number(at + 8, 8), number(at + 16, 8), number(at + 32, 8)) for at in headers
    ]
    needed, strings = [], 0
    for kind, offset, _, length in segments:
        if kind == 2:  # PT_DYNAMIC
            for at in range(offset, offset + length, 16):
                tag, value = number(at, 8), number(at + 8, 8)
                if tag == 1:  # DT_NEEDED
                    needed.append(value)
                elif tag == 5:  # DT_STRTAB
                    strings = value
    for kind, offset, address, length in segments:
        if kind == 1 and address <= strings < address + length:  # PT_LOAD
            start = strings - address + offset
            names = [data[start + at : data.index(b"\0", start + at)] for at in needed]
            return [name.decode("latin-1") for name in names]
    return None
