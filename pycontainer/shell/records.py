"""What was found out about files, kept until one of them changes.

A record is a file of the caller's with the marks of the files that it is about; it is trusted where
nobody else could have written it, or put it there, and it is only ever a shorter way to what
looking again would give.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from zlib import crc32

from ..declare.checks import parents

__all__ = ["mark_of", "read_record", "remembered", "write_record"]


def remembered(shelf: str, key: str, look: Callable[[], tuple[list[str], list[str]]]) -> list[str]:
    """The texts that *look* finds, from a record while it is good.

    Arguments:
        look: gives the texts, and the files on which they depend.
    """
    found = read_record(shelf, key)
    if found is None:
        texts, files = look()
        write_record(shelf, key, files, os.fsencode("\0".join(texts)))
        return texts
    return os.fsdecode(found).split("\0") if found else []


def mark_of(path: str) -> str:
    """What is another one when the file or directory at *path* is."""
    try:
        found = os.stat(path)
    except OSError:
        return "-"
    # Changing a directory's entries or a file's content changes its ctime, and nobody can set that.
    return f"{found.st_dev}.{found.st_ino}.{found.st_ctime_ns}"


def read_record(shelf: str, key: str) -> bytes | None:
    """The record *key* in the directory *shelf*, if it is there and its files are as they were."""
    try:
        if not _is_own(shelf):
            return None
        fd = os.open(_place(shelf, key), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with open(fd, "rb", buffering=0) as file:
        found = os.fstat(fd)
        if found.st_uid != os.geteuid() or found.st_mode & 0o022 or not stat.S_ISREG(found.st_mode):
            return None
        head, _, content = file.read().partition(b"\0\0")
    words = os.fsdecode(head).split("\0")
    marks = words[2:]
    if words[:2] != [key, f"{crc32(content):08x}"] or len(marks) % 2:
        return None
    for path, mark in zip(marks[::2], marks[1::2], strict=True):
        if mark_of(path) != mark:
            return None
    return content


def write_record(shelf: str, key: str, paths: Iterable[str], content: bytes) -> None:
    """Keep a record about the files *paths*; where that is impossible, nothing is kept."""
    # A disk that was full, or a machine that stopped, may have left half a record.
    head = [key, f"{crc32(content):08x}"]
    for path in paths:
        head += (path, mark_of(path))
    place = _place(shelf, key)
    new = f"{place}.{os.getpid()}"
    try:
        os.makedirs(shelf, 0o700, exist_ok=True)
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(os.fsencode("\0".join(head)) + b"\0\0" + content)
        os.rename(new, place)
    except OSError:
        with suppress(OSError):
            os.unlink(new)


def _is_own(directory: str) -> bool:
    """Whether nobody else could have put *directory* there, or a link on the way to it.

    A link may lead to files of the caller's that somebody else has thought out, such as a copy of
    a repository.

    Raises:
        OSError: it is not there.
    """
    euid = os.geteuid()
    for path in {os.path.abspath(directory), os.path.realpath(directory)}:
        for above in (path, *parents(path)):
            found = os.lstat(above)
            # 65534 is how a user namespace shows owners that it does not map.
            if found.st_uid not in (euid, 0, 65534):
                return False
            others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            if others == stat.S_IWGRP and found.st_gid == os.getegid():
                others = 0  # a group of one's own (umask 002)
            if others and not found.st_mode & stat.S_ISVTX and not stat.S_ISLNK(found.st_mode):
                return False
    return True


def _place(shelf: str, key: str) -> str:
    return os.path.join(shelf, f"{crc32(os.fsencode(key)):08x}")
