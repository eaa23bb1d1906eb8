"""Pipes of a container that are served while it is waited for."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import select
import weakref
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .running import Running

__all__ = ["Output", "close"]


class Output:
    """What is read from a container's pipes, and written to its stdin, while it is waited for."""

    def __init__(self, running: Running[Any], input: Any, most: int | None = None) -> None:
        # It holds this one; a Running that nobody has any more must end at once, not some day.
        self._running = weakref.ref(running)
        self._most = most  # bytes of stdout and stderr together
        self._amount = 0  # of them, so far
        if input is not None and running.text is not None:
            sent: Any = running.text.encode(input)
        else:
            sent = input
        self.files: dict[int, tuple[int, Callable[[], None]]] = {}
        self._read: dict[str, io.BytesIO] = {}  # which grows without being copied
        for name in ("stdout", "stderr"):
            stream = getattr(running, name)
            if stream is not None:
                self._read[name] = io.BytesIO()
                if not stream.closed:
                    os.set_blocking(stream.fileno(), False)
                    self._watch(name, stream)
        stdin = running.stdin
        if stdin is not None:
            try:
                if not stdin.closed:
                    stdin.flush()
            except BrokenPipeError:
                pass  # as with subprocess: what it does not read, it does not want
            if sent:
                os.set_blocking(stdin.fileno(), False)
                self._feed(stdin, memoryview(sent).cast("B"))
            else:
                close(stdin)
        elif sent is not None:
            raise ValueError("input needs stdin=PIPE")

    def _watch(self, name: str, stream: IO[bytes]) -> None:
        fd = stream.fileno()

        def read() -> None:
            try:
                data = os.read(fd, 1 << 16)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                data = b""  # the end of a terminal (pty(7))
            if data:
                self._keep(name, data)
            else:
                del self.files[fd]
                stream.close()

        self.files[fd] = (select.POLLIN, read)

    def _keep(self, name: str, data: bytes) -> None:
        left = len(data) if self._most is None else self._most - self._amount
        self._read[name].write(data[:left])
        self._amount += min(len(data), left)
        if len(data) > left and (running := self._running()) is not None:
            running.overflow()

    def _feed(self, stream: IO[bytes], left: memoryview) -> None:
        fd = stream.fileno()

        def write() -> None:
            nonlocal left
            try:
                left = left[os.write(fd, left[: 1 << 16]) :]
            except BlockingIOError:
                return
            except BrokenPipeError:
                left = left[:0]
            if not left:
                del self.files[fd]
                close(stream)

        self.files[fd] = (select.POLLOUT, write)

    def finish(self) -> None:
        """Take what is there and stop."""
        for fd, (events, act) in list(self.files.items()):
            if events == select.POLLIN:
                # A pipe's worth at most: a process that lives on may go on writing.
                most = self._amount + _room(fd)
                before = -1
                while fd in self.files and before != self._amount < most:
                    before = self._amount
                    act()
            self.files.pop(fd, None)

    def text(self, name: str) -> bytes | None:
        kept = self._read.get(name)
        return None if kept is None else kept.getvalue()


def _room(fd: int) -> int:
    """How much a pipe or terminal can hold, in bytes."""
    try:
        return fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
    except OSError:  # a terminal: TTYB_DEFAULT_MEM_LIMIT of the kernel's drivers/tty/tty_buffer.c
        return 640 << 10


def close(stream: IO[Any]) -> None:
    """Close a pipe; what its reader has not waited for is dropped."""
    try:
        stream.close()
    except BrokenPipeError:
        pass
