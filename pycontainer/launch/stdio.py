"""The standard streams of a container, with the words of ``subprocess``."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from .._native import lib
from ..errors import SetupError
from .descriptor import Descriptor

if TYPE_CHECKING:
    from .text import Text

__all__ = ["DEVNULL", "PIPE", "STDOUT", "Stdio", "Stream", "occupy_standard_streams"]

# The numbers of subprocess, without its import, which a short command would pay for.
PIPE = -1
STDOUT = -2
DEVNULL = -3

Stream: TypeAlias = "int | IO[Any] | None"


def occupy_standard_streams() -> None:
    """Open /dev/null where descriptor 0, 1 or 2 is closed, as under some daemons.

    Otherwise the next descriptor that is opened here takes the number, and passes for a standard
    stream from then on: a container would find, say, the helper's control socket as its stdin.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)  # the lowest number that is free
            if fd > 2:  # another thread was quicker
                os.close(fd)


class Stdio:
    """Three descriptors for a child, and the caller's ends of its pipes.

    Attributes:
        fds: for the child: stdin, stdout, stderr.
        stdin, stdout, stderr: files of the caller's, where PIPE was asked for; binary ones,
            unless there is a text mode.
        text: the text mode, or None.
    """

    def __init__(
        self, stdin: Stream, stdout: Stream, stderr: Stream, text: Text | None = None
    ) -> None:
        self.text = text
        self._owned: list[int] = []
        self._pipes: list[int] = []  # of them: those that the caller reads
        self.fds: list[int] = []
        self.stdin: IO[Any] | None = None
        self.stdout: IO[Any] | None = None
        self.stderr: IO[Any] | None = None
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
            fd = self._given(number, stream)
        else:
            fd = self._given(number, stream.fileno())
        self.fds.append(fd)

    def _inherited(self, number: int) -> int:
        try:
            return self._given(number, number)
        except OSError as error:
            if error.errno != errno.EBADF or isinstance(error, SetupError):
                raise
            # Closed in the caller, as under a daemon.
            return self._own(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))

    def _given(self, number: int, fd: int) -> int:
        """What the child gets for a descriptor of the caller's."""
        status = os.fstat(fd)  # EBADF now, and not as a failure of the helper
        if stat.S_ISDIR(status.st_mode):
            # openat(0, "..") would leave the container.
            raise SetupError(
                errno.EISDIR,
                "a directory cannot be a standard stream; bind() shows one to a container",
                _name(fd),
                f"hand over {_STREAMS[number]}",
            )
        if number == 0 and stat.S_ISREG(status.st_mode):
            view = _read_only_view(fd, status)
            return fd if view < 0 else self._own(view)
        return fd

    def guard_null(self) -> None:
        """Hand the null device over on a read-only mount: it is the host's, and a container whose
        root is the host's could change its mode and owner by /proc/self/fd.  Writing to it needs
        no writable mount (do_dentry_open() in the kernel's fs/open.c).

        Root who may mount nothing hands over what it has.
        """
        nulls = [number for number, fd in enumerate(self.fds) if _is_null(os.fstat(fd))]
        if not nulls:
            return
        tree = Descriptor(lib.pc_clone_file_read_only(os.fsencode(os.devnull)))
        if tree.fd < 0 or not _is_null(os.fstat(tree.fd)):
            return
        # Into the list at once: what a Ctrl-C leaves there is closed with it.
        self._owned.append(os.open(f"/proc/self/fd/{tree.fd}", os.O_RDWR | os.O_CLOEXEC))
        for number in nulls:
            self.fds[number] = self._owned[-1]

    def _pipe(self, number: int) -> int:
        # The child's end, then ours: what a Ctrl-C leaves in the list is closed with it.
        if number == 0:
            self._owned += os.pipe()
            self.stdin = self._file(open(self._owned.pop(), "wb", 0), True)  # noqa: SIM115
            return self._owned[-1]
        self._owned += os.pipe()[::-1]
        file = self._file(open(self._owned.pop(), "rb", -1), False)  # noqa: SIM115
        write = self._owned[-1]
        self._pipes.append(write)
        if number == 1:
            self.stdout = file
        else:
            self.stderr = file
        return write

    def _file(self, binary: IO[bytes], write: bool) -> IO[Any]:
        return binary if self.text is None else self.text.open(binary, write)

    def _own(self, fd: int) -> int:
        self._owned.append(fd)
        return fd

    is_terminal = False
    """Whether they are a terminal of the container's own (``terminal.py``)."""

    def give_to(self, uid: int) -> None:
        """Let an id of the host own what was made for the container."""

    def serving(self, files: dict[int, Any]) -> AbstractContextManager[None]:
        """A block in which *files* holds what is to be watched besides the caller's pipes."""
        return nullcontext()

    wake_at: float | None = None
    """When ``wake()`` wants to be called (monotonic), or None."""

    def wake(self) -> None:
        """Do what its moment has come for."""

    def finish(self) -> None:
        """The container has ended: pass on what is left."""

    def uncounted(self) -> list[str]:
        """Those of stdout and stderr whose bytes do not come by a pipe of ours."""
        found = []
        for number, fd in ((1, self.fds[1]), (2, self.fds[2])):
            status = os.fstat(fd)
            if not _is_null(status) and fd not in self._pipes:
                found.append(_STREAMS[number])
        return found

    def hold_files(self) -> bool:
        """Whether one of them is a regular file."""
        return any(stat.S_ISREG(os.fstat(fd).st_mode) for fd in self.fds)

    def sent(self) -> None:
        """The child has its descriptors: close ours, so that a pipe ends when the child does."""
        while self._owned:
            fd = self._owned.pop()
            if fd >= 0:  # else the number of an error
                os.close(fd)

    def __del__(self) -> None:
        if hasattr(self, "_owned"):  # a Ctrl-C may come before
            self.sent()

    def close(self) -> None:
        """Close everything."""
        self.sent()
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    pass  # what was not flushed, nobody reads any more


_STREAMS = ("stdin", "stdout", "stderr")
_NULL = os.makedev(1, 3)  # Documentation/admin-guide/devices.txt


def _is_null(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL


def _name(fd: int) -> str | None:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return None


def _read_only_view(fd: int, status: os.stat_result) -> int:
    """The regular file behind *fd*, opened again at the same offset on a read-only mount; or -1.

    Who holds ``< data`` may open ``/proc/self/fd/0`` for writing, and chmod it, as its owner: the
    kernel asks for the file's mode and for its mount, never for how the descriptor was opened.
    On a mount of its own, which is read-only, that is EROFS.  A pipe would do too, but it cannot
    be sought or mapped, and filling it reads what the caller may want to read afterwards.  The
    offset is the container's own: what it reads, the caller can read again.

    Standard output cannot be guarded so, as its container writes to it: there the caller gives
    the file away, with what it holds.

    -1: there is nothing to guard.  The file has no name any more (a here-document, a temporary
    file), so that nobody opens it later; or this user may not change it.

    Raises:
        SetupError: there is something to guard and the file is not found under its name, as when
            the descriptor comes from another mount namespace.
    """
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    if status.st_nlink == 0 or flags & os.O_ACCMODE == os.O_WRONLY:
        return -1
    itself = f"/proc/self/fd/{fd}"
    if status.st_uid != os.geteuid() and not os.access(itself, os.W_OK, effective_ids=True):
        return -1
    view, error = -1, errno.ESTALE
    path = _name(fd)
    tree = -errno.ENOENT if path is None else lib.pc_clone_file_read_only(os.fsencode(path))
    if tree < 0:
        error = -tree
    else:
        try:
            if os.path.samestat(os.fstat(tree), status):
                keep = flags & (os.O_NONBLOCK | os.O_DIRECT | os.O_NOATIME)
                view = os.open(f"/proc/self/fd/{tree}", os.O_RDONLY | os.O_CLOEXEC | keep)
                os.lseek(view, os.lseek(fd, 0, os.SEEK_CUR), os.SEEK_SET)
        except OSError as failure:
            error = failure.errno or error
        finally:
            os.close(tree)
    if view < 0:
        raise SetupError(
            error,
            f"{os.strerror(error)}; it cannot be opened again read-only, and the container could "
            "write to it: use stdin=PIPE or stdin=DEVNULL",
            path,
            "hand over stdin",
        )
    return view
