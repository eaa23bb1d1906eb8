"""A runtime's process: its streams, its end, and what it used."""

from __future__ import annotations

import os
import select
import signal
import stat
import subprocess
import time
from collections.abc import Callable

from ..errors import HelperError
from ..launch.results import Usage
from ..plan.defaults import NULL_NUMBER

__all__ = ["Process", "Take"]

Take = Callable[[bytes], object]
"""What takes output."""


class Process:
    """The runtime's process, reaped with its usage.

    Attributes:
        pid, pidfd: its own.
        outputs: the pipes that come from it, and what takes what is in them.

    It never has /dev/null: runtimes give their streams to the container's user, and that one is
    the host's.
    """

    def __init__(self, command: list[str], take: Take | None) -> None:
        self._began = time.monotonic()
        streams: list[int | None] = [None, None, None]
        self.outputs: dict[int, Take] = {}
        closing: list[int] = []
        if take is not None or _is_null(0):
            empty, writer = os.pipe2(os.O_CLOEXEC)
            streams[0] = empty
            os.close(writer)
            closing.append(empty)
        for number in (1, 2):
            if take is not None and number == 2:
                streams[2] = streams[1]
            elif take is not None or _is_null(number):
                reader, writer = os.pipe2(os.O_CLOEXEC)
                streams[number] = writer
                closing.append(writer)
                os.set_blocking(reader, False)
                self.outputs[reader] = take or len
        try:
            self._popen = subprocess.Popen(
                command,
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
                env={"PATH": os.environ.get("PATH", os.defpath)},
                umask=0,  # runc cuts the modes of what it copies; the container's umask is its own
            )
        except BaseException:
            self.close()
            raise
        finally:
            for fd in closing:
                os.close(fd)
        self.pid = self._popen.pid
        self.pidfd = os.pidfd_open(self.pid)
        self.status = 0
        self.usage = Usage(0.0, 0.0, 0.0, 0)

    def close(self) -> None:
        """Close the pipes."""
        for fd in self.outputs:
            os.close(fd)
        self.outputs = {}

    def wait(self, timeout: float) -> bool:
        """Whether it has ended, after at most *timeout* seconds."""
        if self.pidfd < 0:
            return True
        return bool(select.select([self.pidfd], [], [], timeout)[0])

    def kill(self) -> None:
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def reap(self) -> None:
        if self.pidfd < 0:
            return
        try:
            _, self.status, used = os.wait4(self.pid, 0)
        except ChildProcessError:
            raise HelperError(
                "the end of the runtime is not known: this process ignores SIGCHLD, or reaps all"
            ) from None
        self._popen.returncode = self.status  # it is not to wait itself
        wall = time.monotonic() - self._began
        self.usage = Usage(used.ru_utime, used.ru_stime, wall, used.ru_maxrss * 1024)
        os.close(self.pidfd)
        self.pidfd = -1


def _is_null(fd: int) -> bool:
    try:
        found = os.fstat(fd)
    except OSError:
        return True  # closed: there it would be opened
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == NULL_NUMBER
