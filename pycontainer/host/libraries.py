"""Which shared libraries a program needs: what ldd(1) says, found by reading files.

Nothing is executed, as ldd would do.  Formats: elf(5); the search, ld.so(8); the loader's cache,
``struct cache_file_new`` in glibc's sysdeps/generic/dl-cache.h.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

__all__ = ["is_object", "needed_files"]

_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3  # p_type
_NULL, _NEEDED, _STRINGS, _RPATH, _RUNPATH = 0, 1, 5, 15, 29  # d_tag

_CACHE = "/etc/ld.so.cache"
_CACHE_MAGIC = b"glibc-ld.so.cache1.1"
_CACHE_HEADER = 48
_CACHE_ENTRY = struct.Struct("=iIIIQ")  # flags, name, path, version, hardware

_DIRECTORIES = ("/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib")


class _Object(NamedTuple):
    """What the loader reads in a file."""

    kind: bytes  # class, byte order and machine: libraries must have the same
    interpreter: str
    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]


def needed_files(programs: Iterable[str]) -> list[str]:
    """The loader and the libraries of *programs* (paths of the host), without these themselves.

    Paths are as the loader finds them, so they may be links.  What is no ELF file needs nothing,
    and a library that is not found is left out: the program may do without it.
    """
    found: dict[str, None] = {}
    # Each with the RPATH of those that need it, which counts for it too.
    waiting: list[tuple[str, tuple[str, ...]]] = [(program, ()) for program in programs]
    seen = set()
    while waiting:
        path, inherited = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        one = _read(path)
        if one is None:
            continue
        # Only what is an ELF file itself, or a hostile one could have any file shown.
        if os.path.isabs(one.interpreter) and is_object(one.interpreter):
            found[one.interpreter] = None
        rpath = () if one.runpath else (*one.rpath, *inherited)
        for name in one.needed:
            place = _find(name, one, rpath)
            if place is not None:
                found[place] = None
                waiting.append((place, rpath))
    return list(found)


def is_object(path: str) -> bool:
    """Whether there is an ELF file at *path*, which can be read."""
    return _read(path) is not None


def _find(name: str, user: _Object, rpath: tuple[str, ...]) -> str | None:
    for place in _candidates(name, user, rpath):
        if os.path.exists(place):
            library = _read(place)
            if library is not None and library.kind == user.kind:
                return place
    return None


def _candidates(name: str, user: _Object, rpath: tuple[str, ...]) -> Iterator[str]:
    if "/" in name:
        if os.path.isabs(name):  # else it depends on where one is
            yield name
        return
    for directory in (*rpath, *user.runpath):
        yield os.path.join(directory, name)
    yield from _cached(name)
    for directory in _DIRECTORIES:
        yield os.path.join(directory, name)


_cache: bytes | None = None


def _cached(name: str) -> Iterator[str]:
    """Where the loader's cache says that *name* is."""
    global _cache
    if _cache is None:
        try:
            with open(_CACHE, "rb") as file:
                data = file.read()
        except OSError:
            data = b""
        start = data.find(_CACHE_MAGIC)  # an old format may come before
        _cache = data[start:] if start >= 0 else b""
    data = _cache
    if len(data) < _CACHE_HEADER:
        return
    (count,) = struct.unpack_from("=I", data, len(_CACHE_MAGIC))
    end = _CACHE_HEADER + count * _CACHE_ENTRY.size
    wanted = os.fsencode(name) + b"\0"
    for _, key, value, _, _ in _CACHE_ENTRY.iter_unpack(data[_CACHE_HEADER:end]):
        if data.startswith(wanted, key):
            yield os.fsdecode(data[value : data.index(b"\0", value)])


def _read(path: str) -> _Object | None:
    """The file's dynamic section; None for a file that is no ELF file or cannot be read."""
    try:
        with open(path, "rb", buffering=0, opener=_at_once) as file:
            return _parse(file.fileno(), os.path.dirname(os.path.realpath(path)))
    except (OSError, struct.error, ValueError, OverflowError):
        return None


def _at_once(path: str, flags: int) -> int:
    """Open *path* without waiting, as for the other end of a FIFO."""
    return os.open(path, flags | os.O_NONBLOCK)


def _parse(fd: int, origin: str) -> _Object | None:
    header = os.pread(fd, 64, 0)
    if header[:4] != b"\x7fELF":
        return None
    wide, order = header[4] == 2, "<" if header[5] == 1 else ">"
    at, size, count = struct.unpack_from(
        order + ("Q14xHH" if wide else "I10xHH"), header, 32 if wide else 28
    )
    table = _part(fd, size * count, at)
    loads, dynamic, interpreter = [], b"", ""
    for number in range(count):
        entry = table[number * size : (number + 1) * size]
        if wide:
            kind, _, offset, address, _, length = struct.unpack_from(order + "IIQQQQ", entry)
        else:
            kind, offset, address, _, length = struct.unpack_from(order + "IIIII", entry)
        if kind == _LOAD:
            loads.append((address, offset, length))
        elif kind == _DYNAMIC:
            dynamic = _part(fd, length, offset)
        elif kind == _INTERPRETER:
            interpreter = os.fsdecode(_part(fd, length, offset).split(b"\0")[0])
    form = struct.Struct(order + ("qQ" if wide else "iI"))
    tags: dict[int, list[int]] = {}
    for tag, value in form.iter_unpack(dynamic[: len(dynamic) // form.size * form.size]):
        if tag == _NULL:
            break
        tags.setdefault(tag, []).append(value)
    strings = 0
    for address, offset, length in loads:
        for wanted in tags.get(_STRINGS, ()):
            if address <= wanted < address + length:
                strings = wanted - address + offset

    def text(place: int) -> str:
        return os.fsdecode(os.pread(fd, 4096, strings + place).split(b"\0")[0])

    def paths(tag: int) -> tuple[str, ...]:
        found = ":".join(map(text, tags.get(tag, ())))
        found = found.replace("${ORIGIN}", origin).replace("$ORIGIN", origin)
        return tuple(one for one in found.split(":") if one.startswith("/"))

    needed = tuple(map(text, tags.get(_NEEDED, ())))
    return _Object(header[4:6] + header[18:20], interpreter, needed, paths(_RPATH), paths(_RUNPATH))


_LARGEST = 1 << 20  # bytes of a table, in any file that makes sense


def _part(fd: int, length: int, offset: int) -> bytes:
    if length > _LARGEST:
        raise ValueError("the file is malformed")
    return os.pread(fd, length, offset)
