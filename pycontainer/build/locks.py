"""Locks between processes that end with their holder, however it ends: flock(2)."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable

__all__ = ["FileLock"]

PAUSE = 0.05
"""How long to wait before a lock is asked for again, in seconds."""


class FileLock:
    """A lock that this process holds.  The kernel lets go of it when the process ends."""

    def __init__(self, fd: int, path: str) -> None:
        self.fd = fd
        self._path = path

    @classmethod
    def attempt(cls, path: str, *, shared: bool = False) -> FileLock | None:
        """The lock at *path*, whose file is made if there is none; None if it is held."""
        operation = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(fd, operation)
                # Its last holder may have removed the file in between.
                if _same(fd, path):
                    return cls(fd, path)
            except OSError as error:
                os.close(fd)
                if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                    return None
                raise
            os.close(fd)

    @classmethod
    def wait(
        cls, path: str, check: Callable[[], None] | None = None, *, shared: bool = False
    ) -> FileLock:
        """The lock at *path*; *check* is called while it is held by another, and may raise."""
        while True:
            lock = cls.attempt(path, shared=shared)
            if lock is not None:
                return lock
            if check is not None:
                check()
            time.sleep(PAUSE)

    def release(self, *, remove: bool = False) -> None:
        """Let go of it; with *remove* its file is removed before."""
        if remove:
            try:
                os.unlink(self._path)
            except FileNotFoundError:
                pass
        os.close(self.fd)

    def __enter__(self) -> FileLock:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


def _same(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False
