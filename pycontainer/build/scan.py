"""Hashing and searching what a build has made, in one pass over its bytes.

What is hashed is the Nix archive format ("nix-archive-1"), which knows what a result keeps: names,
contents, the execute bit and what links point to.  It is a sequence of strings, each with its
length as 8 bytes, little endian, and padded with zeros to a multiple of 8:

    node      = "nix-archive-1" body
    body      = "(" "type" ( regular | symlink | directory ) ")"
    regular   = "regular" [ "executable" "" ] "contents" BYTES
    symlink   = "symlink" "target" BYTES
    directory = "directory" { "entry" "(" "name" NAME "node" body ")" }      sorted by name

So a hash is the same as that of ``nix-hash --type sha256``, and the search sees names and links as
it sees contents.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import Any

from attrs import frozen

from .needles import Needles, Spans

__all__ = ["ChangedError", "Scanned", "UnfitFileError", "scan"]

BLOCK = 1 << 20
"""How many bytes are hashed and searched at once."""

SMALL = 1 << 16
"""Up to here another thread costs more than it saves."""

DEPTH_MAX = 256
"""How deep directories may be nested: each takes two descriptors, of usually 1,024."""

O_PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class UnfitFileError(OSError):
    """A file that no result can hold: a device, a socket, a FIFO; or one nested too deep."""


class ChangedError(OSError):
    """A file changed while it was read."""


@frozen
class Scanned:
    """What is known of a file, a link or a directory with all that is below it.

    Attributes:
        hash: "sha256:" and the hash of its Nix archive, as 64 hexadecimal digits.
        references: the needles that are in it, sorted.
        size: the length of its Nix archive in bytes.
    """

    hash: str
    references: tuple[str, ...]
    size: int


def scan(path: str | os.PathLike[str], needles: Iterable[str] = ()) -> Scanned:
    """Hash *path*, and search it for *needles*.  No link is followed.

    Raises:
        UnfitFileError: something in it is no file, directory or link.
        OSError: it cannot be read.
    """
    stream = Stream(needles)
    try:
        place = os.open(path, O_PLACE)
        try:
            stream.begin()
            _visit(stream, place, os.fspath(path), 0)
        finally:
            os.close(place)
        return stream.finish()
    finally:
        stream.close()


def _visit(stream: Stream, place: int, path: str, depth: int) -> None:
    status = os.fstat(place)
    check_kind(status, path, depth)
    if stat.S_ISLNK(status.st_mode):
        stream.link(os.readlink(b"", dir_fd=place))
        return
    fd = open_place(place, status.st_mode)
    try:
        if stat.S_ISREG(status.st_mode):
            stream.file(fd, os.fstat(fd), path)
            return
        stream.enter()
        for name in names_in(fd):
            inner = os.open(name, O_PLACE, dir_fd=fd)
            try:
                stream.entry(name)
                _visit(stream, inner, f"{path}/{os.fsdecode(name)}", depth + 1)
                stream.leave_entry()
            finally:
                os.close(inner)
        stream.leave()
    finally:
        os.close(fd)


def names_in(fd: int) -> list[bytes]:
    """The names in a directory, in the order of the archive."""
    return sorted(map(os.fsencode, os.listdir(fd)))


def check_kind(status: os.stat_result, path: str, depth: int) -> None:
    """Refuse what is neither file nor directory nor link, and what is too deep.

    Raises:
        UnfitFileError: naming *path*.
    """
    import errno

    kinds = {
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a character device",
        stat.S_IFBLK: "a block device",
    }
    kind = stat.S_IFMT(status.st_mode)
    if kind in kinds:
        words = f"is {kinds[kind]}; a result holds files, directories and links"
        raise UnfitFileError(errno.EINVAL, words, path)
    if depth > DEPTH_MAX:
        words = f"is nested deeper than {DEPTH_MAX} directories"
        raise UnfitFileError(errno.ELOOP, words, f"{path[:200]}…")


def open_place(place: int, mode: int) -> int:
    """Open for reading the file or directory that an O_PATH descriptor is of: that very one."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    if stat.S_ISDIR(mode):
        flags |= os.O_DIRECTORY
    # A link of /proc leads to the inode itself, whatever its name is by now (proc(5)).
    return os.open(f"/proc/self/fd/{place}", flags)


def _string(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text + bytes(-len(text) % 8)


def _strings(*texts: bytes) -> bytes:
    return b"".join(map(_string, texts))


_BEGIN = _strings(b"nix-archive-1")
_REGULAR = _strings(b"(", b"type", b"regular")
_EXECUTABLE = _strings(b"executable", b"")
_CONTENTS = _strings(b"contents")
_LINK = _strings(b"(", b"type", b"symlink", b"target")
_DIRECTORY = _strings(b"(", b"type", b"directory")
_ENTRY = _strings(b"entry", b"(", b"name")
_NODE = _strings(b"node")
_END = _strings(b")")


class Stream:
    """A Nix archive that is hashed and searched while it is made; it is kept nowhere.

    Arguments:
        needles: what to search for.
        check: called once a block; what it raises ends the work.
    """

    def __init__(self, needles: Iterable[str] = (), check: Callable[[], None] | None = None):
        self._needles = Needles(needles)
        self._check = check
        self._hasher = _Hasher()
        # The tail of a block stands before the next, for needles across the border.
        self._overlap = self._needles.overlap
        self._length = BLOCK
        self._blocks = [bytearray(self._overlap + self._length) for _ in range(2)]
        self._views = [memoryview(block) for block in self._blocks]
        self._now = 0
        self._start = self._at = self._overlap  # nothing before the first block
        self._spans = Spans()
        self._size = 0

    def begin(self) -> None:
        self._write(_BEGIN)

    def link(self, target: bytes) -> None:
        self._write(_LINK)
        self._write_text(target)
        self._write(_END)

    def enter(self) -> None:
        self._write(_DIRECTORY)

    def entry(self, name: bytes) -> None:
        self._write(_ENTRY)
        self._write_text(name)
        self._write(_NODE)

    def leave_entry(self) -> None:
        self._write(_END)

    def leave(self) -> None:
        self._write(_END)

    def file(
        self,
        fd: int,
        status: os.stat_result,
        path: str,
        copy: Callable[[Any], object] | None = None,
    ) -> None:
        """A file's content, read from *fd*; *copy* is called with what was read, piece by piece.

        Raises:
            ChangedError: it is not as long as *status* says.
        """
        size = status.st_size
        head = _REGULAR + (_EXECUTABLE if status.st_mode & stat.S_IXUSR else b"") + _CONTENTS
        self._write(head + size.to_bytes(8, "little"))
        left = size
        while left:
            room = self._views[self._now][
                self._at : min(self._at + left, self._overlap + self._length)
            ]
            got = os.readv(fd, [room])
            if got == 0:
                break
            if copy is not None:
                copy(room[:got])
            self._spans.add(self._at, self._at + got)
            self._at += got
            left -= got
            if self._at == self._overlap + self._length:
                self._turn()
        if left or os.read(fd, 1):
            import errno

            raise ChangedError(errno.EBUSY, "changed while it was read", path)
        self._write(bytes(-size % 8) + _END)

    def finish(self) -> Scanned:
        """The result, when all has been written."""
        self._turn()
        digest = self._hasher.hexdigest()
        return Scanned(f"sha256:{digest}", self._needles.found(), self._size)

    def close(self) -> None:
        """End the thread, if there is one."""
        self._hasher.close()

    def _write_text(self, text: bytes) -> None:
        """A string that is searched."""
        self._write(len(text).to_bytes(8, "little"))
        self._write(text, True)
        self._write(bytes(-len(text) % 8))

    def _write(self, data: bytes, searched: bool = False) -> None:
        at, end = 0, self._overlap + self._length
        while len(data) - at >= end - self._at:
            piece = end - self._at
            self._blocks[self._now][self._at : end] = data[at : at + piece]
            if searched:
                self._spans.add(self._at, end)
            self._at = end
            at += piece
            self._turn()
        rest = len(data) - at
        self._blocks[self._now][self._at : self._at + rest] = data[at:] if at else data
        if searched:
            self._spans.add(self._at, self._at + rest)
        self._at += rest

    def _turn(self) -> None:
        """Hash and search the block, and begin the other one."""
        if self._check is not None:
            self._check()
        view, at = self._views[self._now], self._at
        self._size += at - self._start
        self._hasher.update(view[self._start : at])
        self._needles.search(self._blocks[self._now], self._spans)
        other = 1 - self._now
        # What comes before the first block is in no span.
        self._views[other][: self._overlap] = view[at - self._overlap : at]
        self._spans = self._spans.moved(at - self._overlap, at - self._overlap)
        self._now = other
        self._start = self._at = self._overlap


class _Hasher:
    """SHA-256 in a thread of its own: hashlib lets go of the interpreter's lock meanwhile.

    ``update`` returns while the data is still being hashed, and waits for the data before.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._thread: threading.Thread | None = None
        self._busy = False
        self._work: SimpleQueue[memoryview | None] = SimpleQueue()
        self._done: SimpleQueue[BaseException | None] = SimpleQueue()

    def update(self, data: memoryview) -> None:
        self._wait()
        if len(data) <= SMALL:
            self._hash.update(data)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        self._busy = True
        self._work.put(data)

    def hexdigest(self) -> str:
        self._wait()
        return self._hash.hexdigest()

    def close(self) -> None:
        if self._thread is not None:
            self._work.put(None)
            self._thread.join()
            self._thread = None

    def _wait(self) -> None:
        if self._busy:
            failure = self._done.get()
            self._busy = False
            if failure is not None:
                raise failure

    def _run(self) -> None:
        while (data := self._work.get()) is not None:
            try:
                self._hash.update(data)
            except BaseException as error:  # raised where the result is waited for
                self._done.put(error)
            else:
                self._done.put(None)
