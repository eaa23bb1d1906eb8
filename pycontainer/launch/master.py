"""The master of a pseudo-terminal as files: what is typed, and what is shown (pty(7))."""

from __future__ import annotations

import errno
import io
import os
import select
import termios
from typing import Any

__all__ = ["Keyboard", "Screen", "end_of_input", "ready", "wait"]

_LFLAG, _CC = 3, 6  # places in what tcgetattr() gives


def end_of_input(terminal: int) -> bytes:
    """What to type for the end of the input: VEOF of termios(3).

    Twice, as after a line that has been begun the first one only sends that off; once where the
    program reads key by key, which then takes it as from a person.

    Arguments:
        terminal: either end of it.
    """
    modes = termios.tcgetattr(terminal)
    return bytes(modes[_CC][termios.VEOF]) * (2 if modes[_LFLAG] & termios.ICANON else 1)


class _End(io.RawIOBase):
    """The master as a file.  Our own other end makes O_NONBLOCK hold for it too: it waits itself.

    Its descriptor is its own.
    """

    def __init__(self, fd: int) -> None:
        self._fd = os.dup(fd)

    def fileno(self) -> int:
        if self._fd < 0:
            raise ValueError("I/O operation on closed file")
        return self._fd

    def isatty(self) -> bool:
        return True

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        super().close()


class Keyboard(_End):
    """To be written to; closing it types the end of the input."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        while True:
            try:
                return os.write(self.fileno(), data)
            except BlockingIOError:
                wait(self.fileno(), select.POLLOUT)

    def close(self) -> None:
        try:
            if self._fd >= 0:
                os.write(self._fd, end_of_input(self._fd))
        except (OSError, termios.error):
            pass  # the program has gone
        finally:
            super().close()


class Screen(_End):
    """To be read from.  The kernel says EIO where the file ends (pty(7))."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while True:
            try:
                return os.readv(self.fileno(), [buffer])
            except BlockingIOError:
                wait(self.fileno(), select.POLLIN)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                return 0


def ready(fd: int, events: int, timeout: float | None = 0.0) -> bool:
    poll = select.poll()
    poll.register(fd, events)
    return bool(poll.poll(timeout))


def wait(fd: int, events: int) -> None:
    ready(fd, events, None)
