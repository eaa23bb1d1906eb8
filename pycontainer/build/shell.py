"""A shell for builds: ``sandbox_shell``."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Mapping

from attrs import field, frozen

__all__ = ["Shell", "sandbox_shell"]

_STATIC = ("busybox", "busybox-static", "busybox.static", "dash-static", "dash.static", "dash")
_WHERE = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
_LIST_SECONDS = 10.0
_PT_INTERP = 3


@frozen
class Shell:
    """A shell of the host.

    Attributes:
        path: the program.
        files: place inside to file of the host: the interpreter and libraries that it needs.
    """

    path: str
    files: Mapping[str, str] = field(factory=dict)


def sandbox_shell() -> Shell | None:
    """A static busybox or dash; else the host's sh with its libraries; None without any."""
    for name in _STATIC:
        path = shutil.which(name, path=_WHERE)
        if path is not None and _interpreter(path) == "":
            return Shell(os.path.realpath(path))
    path = shutil.which("dash", path=_WHERE) or shutil.which("sh", path=_WHERE)
    if path is None:
        return None
    interpreter = _interpreter(path)
    if interpreter == "":
        return Shell(os.path.realpath(path))
    if interpreter is None:
        return None  # no ELF program: nothing says what it needs
    return Shell(os.path.realpath(path), _libraries(path, interpreter))


def _libraries(path: str, interpreter: str) -> dict[str, str]:
    """What the dynamic loader maps for a program, as it says itself (ld.so(8), --list)."""
    files = {interpreter: os.path.realpath(interpreter)}
    done = subprocess.run(
        [interpreter, "--list", path],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={},
        timeout=_LIST_SECONDS,
        check=False,
    )
    for line in done.stdout.splitlines():
        # "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f…)"
        _, arrow, found = line.partition(" => ")
        place = found.rsplit(" (", 1)[0]
        if arrow and place.startswith("/"):
            files[place] = os.path.realpath(place)
    return files


def _interpreter(path: str) -> str | None:
    """The dynamic loader that an ELF program names, "" if it names none; None for what is no ELF.

    Its program headers say so: PT_INTERP, in elf(5).
    """
    try:
        with open(path, "rb") as file:
            head = file.read(64)
            if head[:4] != b"\x7fELF" or len(head) < 64:
                return None
            order = "<" if head[5] == 1 else ">"
            # Where Elf64_Ehdr and Elf64_Phdr (or the 32-bit ones) have what is wanted.
            word, table_at, sizes_at, offset_at, length_at = (
                ("Q", 32, 54, 8, 32) if head[4] == 2 else ("I", 28, 42, 4, 16)
            )
            (table,) = struct.unpack_from(order + word, head, table_at)
            size, count = struct.unpack_from(order + "HH", head, sizes_at)
            for number in range(count):
                file.seek(table + number * size)
                row = file.read(size)
                if struct.unpack_from(order + "I", row)[0] != _PT_INTERP:
                    continue
                (offset,) = struct.unpack_from(order + word, row, offset_at)
                (length,) = struct.unpack_from(order + word, row, length_at)
                file.seek(offset)
                return os.fsdecode(file.read(length).rstrip(b"\0"))
    except (OSError, struct.error):
        return None
    return ""
