"""Directories of runs: private, held while a run lives, cleared up by the next one when it died.

A run holds a lock (flock(2)) on its directory, which the kernel takes away when its process ends,
however it ends.  So whoever starts next knows which runs are dead, and cleans up after them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from ..errors import SetupError

__all__ = ["Run", "runs_directory", "start_run"]

_STEP = "make a directory for the run"
_LOCK = ".lock"


def runs_directory() -> str:
    """Where runs have their directories by default: in memory where the host has such a place.

    That is /run/pycontainer for root, and ``pycontainer`` in an ordinary user's XDG_RUNTIME_DIR;
    where these are no tmpfs, /dev/shm.  It is made if it is not there.

    Raises:
        SetupError: it is there, and is another user's or open to others.
    """
    uid = os.geteuid()
    runtime = "/run" if uid == 0 else os.environ.get("XDG_RUNTIME_DIR", "")
    places = [f"{runtime}/pycontainer"] if runtime.startswith("/") else []
    places.append(f"/dev/shm/pycontainer-{uid}")
    in_memory = _tmpfs_mounts()
    for place in places:
        above = os.path.dirname(place)
        if _mount_of(above) in in_memory and os.access(above, os.W_OK | os.X_OK):
            return _private(place)
    import tempfile

    return _private(f"{tempfile.gettempdir()}/pycontainer-{uid}")


def _tmpfs_mounts() -> set[int]:
    """The device numbers of the tmpfs that this process sees (proc_pid_mountinfo(5))."""
    found = set()
    with open("/proc/self/mountinfo", errors="surrogateescape") as file:
        for line in file:
            fields, _, rest = line.partition(" - ")
            if rest.startswith("tmpfs "):
                major, minor = fields.split()[2].split(":")
                found.add(os.makedev(int(major), int(minor)))
    return found


def _mount_of(path: str) -> int | None:
    try:
        return os.stat(path).st_dev
    except OSError:
        return None


def _private(path: str) -> str:
    """*path*, a directory that nobody else can look into."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        error = SetupError(errno.EPERM, "it is another's, or open to others", path, _STEP)
        error.add_note("it must be a directory of this user with mode 700")
        raise error
    return path


@contextmanager
def _held(path: str, how: int) -> Iterator[None]:
    """The lock of the directory *path*, which is made if it is not there.

    Arguments:
        how: LOCK_EX or LOCK_SH.
    """
    while True:
        try:
            _private(path)
            fd = os.open(f"{path}/{_LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # the last run before this one has just removed the directory
        try:
            fcntl.flock(fd, how)
            if os.fstat(fd).st_nlink:
                yield
                return
        finally:
            os.close(fd)


class Run:
    """A run's own directory, mode 700.

    Attributes:
        path: its path.
        name: the last part of it, for whatever else needs a name of its own.
    """

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self.name = os.path.basename(path)
        self._fd = fd

    def remove(self) -> None:
        """Remove it with all that it holds, and the directory of runs if it is the last."""
        if self._fd < 0:
            return
        try:
            _remove(self.path)
        finally:
            os.close(self._fd)
            self._fd = -1
        _remove_if_last(os.path.dirname(self.path))

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()


def start_run(directory: str, clear: Callable[[str], bool]) -> Run:
    """A new run in *directory*, after those that have died are cleared up.

    Arguments:
        directory: of all runs; it is made if it is not there.
        clear: called with the path of each run that has died; whether that can be removed now, or
            is left for the next start.

    Raises:
        SetupError: *directory* is another user's or open to others.
    """
    dead = _dead(directory)
    try:
        for _, path in dead:
            if clear(path):
                _remove(path)
    finally:
        for fd, _ in dead:
            os.close(fd)
    # Shared: many may start at once, and none while somebody looks for the dead.
    with _held(directory, fcntl.LOCK_SH):
        path = f"{directory}/{secrets.token_hex(8)}"
        os.mkdir(path, 0o700)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(fd, fcntl.LOCK_EX)
    return Run(path, fd)


def _remove(path: str) -> None:
    """Remove a directory with all in it.  What cannot be removed is an error: it may be secret."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        pass  # removed by hand


def _dead(directory: str) -> list[tuple[int, str]]:
    """The runs that nobody holds, each held now: by a descriptor, which the caller closes."""
    found = []
    with _held(directory, fcntl.LOCK_EX):
        for name in sorted(os.listdir(directory)):
            if name == _LOCK:
                continue
            path = f"{directory}/{name}"
            try:
                fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                continue
            if os.fstat(fd).st_nlink:
                found.append((fd, path))
            else:  # it has ended by itself since it was opened
                os.close(fd)
    return found


def _remove_if_last(directory: str) -> None:
    """Remove the directory of runs when there is none left in it."""
    try:
        fd = os.open(f"{directory}/{_LOCK}", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another may have removed it, and a third one made it anew, which holds another lock.
        if os.fstat(fd).st_nlink and os.listdir(directory) == [_LOCK]:
            os.unlink(f"{directory}/{_LOCK}")
            os.rmdir(directory)
    except OSError:
        pass  # somebody is about to start
    finally:
        os.close(fd)
