"""How a message travels: inline if it is short, else in a sealed memfd.

A sealed memfd can be neither written nor truncated by anyone, so what is checked stays as it was
checked and reading its mapping cannot end in SIGBUS; and the writer does not wait for the reader.
Used in both directions, and imported by the helper that runs in the container.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time

from .wire import INLINE, size_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from .writer import Chunk

__all__ = ["from_memfd", "to_memfd", "to_wire"]

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_AT_ONCE = 512  # chunks for one writev(2); IOV_MAX is 1024

# The kernel refuses the seal while somebody else has a reference to one of the pages, who might
# write by it: also who only moves or reclaims pages.  It waits for them by itself, a tenth of a
# second (memfd_wait_for_pins() in mm/memfd.c), which on a loaded machine may not be enough.
_PAUSES = (0.01, 0.05, 0.2)
"""Seconds between two attempts to seal the same pages."""
_COPIES = 3
"""How often other pages are tried."""


def to_wire(chunks: Sequence[Chunk], total: int | None = None) -> bytes | int:
    """The message of *chunks*: bytes to send, or the fd of a sealed memfd to pass on and close.

    Raises:
        OSError: no memory or no fd for the memfd.
    """
    if total is None:
        total = sum(map(len, chunks))
    if total <= INLINE:
        return b"".join(chunks)
    return to_memfd(chunks)


def to_memfd(chunks: Sequence[Chunk]) -> int:
    """The fd of a new sealed memfd that holds *chunks*; close-on-exec.

    Raises:
        OSError: no memory or no fd; EBUSY: its pages were in use by the kernel all the time.
    """
    left = _COPIES
    while True:
        fd = _written(chunks)
        try:
            _seal(fd)
            return fd
        except BaseException as error:
            os.close(fd)
            left -= 1
            if not left or not _is_busy(error):
                raise


def _seal(fd: int) -> None:
    for pause in _PAUSES:
        try:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
            return
        except OSError as error:
            if not _is_busy(error):
                raise
        time.sleep(pause)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno == errno.EBUSY


def _written(chunks: Sequence[Chunk]) -> int:
    fd = os.memfd_create("pycontainer", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        left = [memoryview(chunk).cast("B") for chunk in chunks if len(chunk)]
        left.reverse()
        while left:
            # write(2) copies once, into fresh pages; it stops at 2 GiB and may stop before.
            written = os.writev(fd, left[: -_AT_ONCE - 1 : -1])
            while left and written >= len(left[-1]):
                written -= len(left.pop())
            if written:
                left[-1] = left[-1][written:]
    except BaseException:
        os.close(fd)
        raise
    return fd


def from_memfd(fd: int, limit: int) -> memoryview:
    """The content of a sealed memfd, mapped privately: writable, and nobody else sees the writes.

    *fd* is closed in any case.  Until Python 3.13 the mapping holds a duplicate of it as long as
    something lives in it (an array, the view).

    Args:
        fd: the descriptor that was received.
        limit: the most bytes that are accepted.

    Raises:
        ResultError: it is no memfd, not sealed, empty or too large.
    """
    try:
        try:
            seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
        except OSError:
            unknown, fd = fd, -1
            _discard(unknown)
            _refuse("it came in something that is no memfd")
        if seals & _SEALS != _SEALS:
            _refuse("its memfd is not sealed")
        # A memfd of huge pages can lack the memory when it is read, which is SIGBUS.
        if os.fstatvfs(fd).f_bsize != os.sysconf("SC_PAGE_SIZE"):
            _refuse("its memfd is not made of ordinary pages")
        size = os.fstat(fd).st_size
        if not size:
            _refuse("its memfd is empty")
        if size > limit:
            _refuse(f"{size_text(size)} are more than the {size_text(limit)} of max_result")
        return _map(fd, size)
    finally:
        if fd >= 0:
            os.close(fd)


def _map(fd: int, size: int) -> memoryview:
    import mmap

    protection = mmap.PROT_READ | mmap.PROT_WRITE
    try:
        return memoryview(mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE, prot=protection))
    except (OSError, ValueError) as error:
        _refuse(f"its {size_text(size)} cannot be mapped: {error}")


def _discard(fd: int) -> None:
    from ..discard import discard

    discard([fd])


def _refuse(reason: str) -> NoReturn:
    # The error tree loads subprocess, which the helper does without.
    from ...errors import ResultError

    raise ResultError(f"malformed result: {reason}")
