"""The standard streams of a container, with the words of ``subprocess``."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import IO, Any, TypeAlias

__all__ = ["DEVNULL", "PIPE", "STDOUT", "Stdio", "Stream"]

PIPE = subprocess.PIPE
DEVNULL = subprocess.DEVNULL
STDOUT = subprocess.STDOUT

Stream: TypeAlias = "int | IO[Any] | None"


class Stdio:
    """Three descriptors for a child, and the caller's ends of its pipes.

    Attributes:
        fds: for the child: stdin, stdout, stderr.
        stdin, stdout, stderr: binary files of the caller's, where PIPE was asked for.
    """

    def __init__(self, stdin: Stream, stdout: Stream, stderr: Stream) -> None:
        self.fds: list[int] = []
        self.stdin: IO[bytes] | None = None
        self.stdout: IO[bytes] | None = None
        self.stderr: IO[bytes] | None = None
        self._owned: list[int] = []
        if stdout == STDOUT or stdin == STDOUT:
            raise ValueError("STDOUT is for stderr only")
        try:
            self._add(0, stdin)
            self._add(1, stdout)
            self._add(2, stderr)
        except BaseException:
            self.close()
            raise
        for stream in (sys.stdout, sys.stderr):
            # What the caller printed before comes first, also when both go to one file.
            try:
                if stream is not None:
                    stream.flush()
            except (OSError, ValueError):
                pass

    def _add(self, number: int, stream: Stream) -> None:
        if stream is None:
            fd = self._inherited(number)
        elif stream == PIPE:
            fd = self._pipe(number)
        elif stream == DEVNULL:
            fd = self._own(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
        elif stream == STDOUT:
            fd = self.fds[1]
        elif isinstance(stream, int):
            fd = stream
            os.fstat(fd)  # EBADF now, and not as a failure of the helper
        else:
            fd = stream.fileno()
        self.fds.append(fd)

    def _inherited(self, number: int) -> int:
        try:
            os.fstat(number)
        except OSError:  # closed in the caller, as under a daemon
            return self._own(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
        return number

    def _pipe(self, number: int) -> int:
        read, write = os.pipe()
        if number == 0:
            self.stdin = open(write, "wb", 0)  # noqa: SIM115
            return self._own(read)
        self._own(write)
        if number == 1:
            self.stdout = open(read, "rb", -1)  # noqa: SIM115
        else:
            self.stderr = open(read, "rb", -1)  # noqa: SIM115
        return write

    def _own(self, fd: int) -> int:
        self._owned.append(fd)
        return fd

    def sent(self) -> None:
        """The child has its descriptors: close ours, so that a pipe ends when the child does."""
        while self._owned:
            os.close(self._owned.pop())

    def close(self) -> None:
        """Close everything."""
        self.sent()
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
