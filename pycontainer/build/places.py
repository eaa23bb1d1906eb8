"""Places for mounts in a root file system that somebody else fills.

What is in it may be made to lead a careless mkdir onto the host.  So it is walked name by name,
with descriptors: a symbolic link is read, never followed, and what it says is taken from the root;
".." is the directory that we came from.  (``openat2(2)`` does that too; Python has no call for it.)
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from types import TracebackType

from ..errors import SetupError

__all__ = ["Places"]

_STEP = "make a place for a mount"
_LINKS_MOST = 40
"""As many as the kernel follows (path_resolution(7))."""
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class Places:
    """The places that were made, which are removed again when they are as they were made.

    Arguments:
        rootfs: the root file system.
        wanted: the places, in order, and whether each is a directory.  What is there already stays
            as it is.

    Raises:
        SetupError: a place cannot be made.
    """

    def __init__(self, rootfs: str, wanted: Iterable[tuple[str, bool]]) -> None:
        self._made: list[tuple[int, str, int]] = []  # the directory above, the name, the inode
        try:
            root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise SetupError(error.errno, None, rootfs, "open the root file system") from None
        try:
            for place, directory in wanted:
                self._make(root, place, directory)
        except OSError as error:
            self.remove()
            raise SetupError(error.errno, None, place, _STEP) from None
        except BaseException:
            self.remove()
            raise
        finally:
            os.close(root)

    def _make(self, root: int, place: str, directory: bool) -> None:
        above = [os.dup(root)]
        names = place.split("/")
        links = 0
        try:
            while names:
                name = names.pop(0)
                if name in ("", "."):
                    continue
                if name == "..":
                    if len(above) > 1:
                        os.close(above.pop())
                    continue
                last = not any(names)
                try:
                    fd = os.open(name, _LOOK, dir_fd=above[-1])
                except FileNotFoundError:
                    self._add(above[-1], name, directory or not last)
                    fd = os.open(name, _LOOK, dir_fd=above[-1])
                status = os.fstat(fd)
                if not stat.S_ISLNK(status.st_mode):
                    above.append(fd)
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
                    while len(above) > 1:
                        os.close(above.pop())
        finally:
            for fd in above:
                os.close(fd)

    def _add(self, above: int, name: str, directory: bool) -> None:
        if directory:
            os.mkdir(name, 0o755, dir_fd=above)
        else:
            how = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY | os.O_CLOEXEC
            os.close(os.open(name, how, 0o644, dir_fd=above))
        inode = os.stat(name, dir_fd=above, follow_symlinks=False).st_ino
        self._made.append((os.dup(above), name, inode))

    def remove(self) -> None:
        """Remove what was made and is still empty.  What cannot be removed stays."""
        while self._made:
            above, name, inode = self._made.pop()
            try:
                status = os.stat(name, dir_fd=above, follow_symlinks=False)
                if status.st_ino != inode:
                    continue
                if stat.S_ISDIR(status.st_mode):
                    os.rmdir(name, dir_fd=above)
                elif stat.S_ISREG(status.st_mode) and status.st_size == 0:
                    os.unlink(name, dir_fd=above)
            except OSError:
                pass  # the step has filled, moved or removed it
            finally:
                os.close(above)

    def __enter__(self) -> Places:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()
