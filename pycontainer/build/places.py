"""Places for mounts in a root file system that somebody else fills.

What is in it may be made to lead a careless mkdir onto the host.  So it is walked name by name,
with descriptors: a symbolic link is read, never followed, and what it says is taken from the root;
".." is the directory that we came from.  (``openat2(2)`` does that too; Python has no call for it.)
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from ..errors import SetupError

__all__ = ["Places", "remove_places"]

_STEP = "make a place for a mount"
_PATIENCE = 2.0
"""Seconds; removing takes microseconds."""
_LINKS_MOST = 40
"""As many as the kernel follows (path_resolution(7))."""
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Places:
    """Places that are made where they are missing, and removed again if they are still empty.

    They stay when others have places in the same root file system at that moment: in another mount
    namespace the kernel would take the mount away together with its place (unlink(2), rmdir(2)).

    Arguments:
        rootfs: the root file system.
        wanted: the places, in order: whether each is a directory, or what it links to.
        record: a file to be made that says what was made, for ``remove_places``.

    Raises:
        SetupError: there is no such root file system, or a place cannot be made.
    """

    def __init__(self, rootfs: str, wanted: Iterable[tuple[str, bool | str]], record: str) -> None:
        self._made: list[tuple[list[str], int | None]] = []
        self._root = _open_root(rootfs)
        self._log = -1
        try:
            how = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
            self._log = os.open(record, how, 0o600)
            self._write(rootfs)
            _share(self._root)
            for place, kind in wanted:
                try:
                    self._make(place, kind)
                except OSError as error:
                    raise SetupError(error.errno or errno.EIO, None, place, _STEP) from None
        except BaseException:
            self.remove()
            raise

    def _make(self, place: str, kind: bool | str) -> None:
        above = [os.dup(self._root)]
        known: list[str] = []  # the names that lead to the last of them
        names = place.split("/")
        links = 0
        try:
            while names:
                name = names.pop(0)
                if name in ("", "."):
                    continue
                if name == "..":
                    if known:
                        known.pop()
                        os.close(above.pop())
                    continue
                try:
                    fd = os.open(name, _LOOK, dir_fd=above[-1])
                except FileNotFoundError:
                    self._add(above[-1], [*known, name], True if any(names) else kind)
                    fd = os.open(name, _LOOK, dir_fd=above[-1])
                if not any(names) and isinstance(kind, str):
                    os.close(fd)  # it is there, whatever it is
                    return
                if not stat.S_ISLNK(os.fstat(fd).st_mode):
                    above.append(fd)
                    known.append(name)
                    continue
                try:
                    to = os.readlink("", dir_fd=fd)
                finally:
                    os.close(fd)
                links += 1
                if links > _LINKS_MOST:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                names[:0] = to.split("/")
                if to.startswith("/"):
                    while known:
                        known.pop()
                        os.close(above.pop())
        finally:
            for fd in above:
                os.close(fd)

    def _add(self, above: int, names: list[str], kind: bool | str) -> None:
        # Before it is there: the caller may be killed at any moment.
        self._write(names)
        try:
            if isinstance(kind, str):
                os.symlink(kind, names[-1], dir_fd=above)
            elif kind:
                os.mkdir(names[-1], 0o755, dir_fd=above)
            else:
                how = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY | os.O_CLOEXEC
                os.close(os.open(names[-1], how, 0o644, dir_fd=above))
        except FileExistsError:
            self._write(0)  # no inode has this number: another step was quicker
            return
        inode = os.stat(names[-1], dir_fd=above, follow_symlinks=False).st_ino
        self._write(inode)
        self._made.append((names, inode))

    def _write(self, what: Any) -> None:
        line = json.dumps(what) + "\n"  # ASCII, whatever the names are
        os.write(self._log, line.encode())

    def remove(self) -> None:
        """Remove what was made and is still empty.  What cannot be removed stays."""
        if self._root >= 0:
            try:
                _remove(self._root, self._made)
            finally:
                os.close(self._root)
                self._root = -1
                if self._log >= 0:
                    os.close(self._log)

    def __enter__(self) -> Places:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()


def remove_places(record: str) -> bool:
    """Remove the places that a caller made who has died.  Whether that is done with: others may be
    using the root file system.

    Arguments:
        record: of its ``Places``.  Nothing happens if it is not there.
    """
    try:
        with open(record, encoding="ascii") as file:
            lines = [json.loads(line) for line in file if line.endswith("\n")]
        root = _open_root(lines.pop(0))
    except (OSError, IndexError, SetupError):
        return True
    made: list[tuple[list[str], int | None]] = []
    for line in lines:
        if isinstance(line, list):
            made.append((line, None))
        else:
            made[-1] = (made[-1][0], line)
    try:
        return _remove(root, made)
    finally:
        os.close(root)


def _open_root(rootfs: str) -> int:
    try:
        return os.open(rootfs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise SetupError(
            error.errno or errno.EIO, None, rootfs, "open the root file system"
        ) from None


def _share(root: int) -> None:
    """Keep others from removing places, and wait for one that is just doing it.

    Not for ever: the steps in it can lock the directory as well, and have no good reason to.
    """
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(root, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                return
            time.sleep(0.001)


def _remove(root: int, made: list[tuple[list[str], int | None]]) -> bool:
    try:
        fcntl.flock(root, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False  # another step is at work here
    for names, inode in reversed(made):
        fd = os.dup(root)
        try:
            for name in names[:-1]:
                # No link is followed: what was made lay below directories.
                below = os.open(name, _LOOK | os.O_DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = below
            status = os.stat(names[-1], dir_fd=fd, follow_symlinks=False)
            if status.st_ino != inode and inode is not None:
                continue
            if stat.S_ISDIR(status.st_mode):
                os.rmdir(names[-1], dir_fd=fd)
            elif stat.S_ISLNK(status.st_mode) or (
                stat.S_ISREG(status.st_mode) and status.st_size == 0
            ):
                os.unlink(names[-1], dir_fd=fd)
        except OSError:
            pass  # the step has filled, moved or removed it
        finally:
            os.close(fd)
    return True
