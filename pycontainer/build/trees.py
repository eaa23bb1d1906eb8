"""Copying trees into their canonical form, and removing them: by descriptors, following no link.

Whoever made the tree may be hostile: names are never looked up twice, directories may be without
any permission, nested too deep for a path, or of the owner that the build had.
"""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from collections.abc import Callable

from .scan import O_PLACE, Stream, check_kind, names_in, open_place

__all__ = ["DEEP_PREFIX", "MTIME", "copy_canonical", "open_below", "remove", "remove_of_any"]

MTIME = 1
"""When everything in a store was changed, in seconds since 1970: as Nix has it, since some programs
take 0 for "no time"."""

DIRECTORY_MODE, PROGRAM_MODE, FILE_MODE = 0o555, 0o555, 0o444

DEEP_PREFIX = b".deep-"
"""What ``remove`` calls what it has brought up from deep below."""

_DEEP = 100
_O_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_O_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Fsync = Callable[[int], object]


def open_below(directory: int, path: str) -> int:
    """An O_PATH descriptor of *path* (clean, relative) below *directory*, no link on the way.

    The last part may be one: then it is the link itself.

    Raises:
        OSError: ENOENT, or ENOTDIR for a link on the way.
    """
    place = os.dup(directory)
    for part in path.split("/"):
        try:
            # Of a link an O_PATH descriptor is got too, but nothing is found below it: ENOTDIR.
            below = os.open(part, O_PLACE, dir_fd=place)
        except OSError as error:
            error.filename = path
            raise
        finally:
            os.close(place)
        place = below
    return place


def copy_canonical(
    stream: Stream,
    place: int,
    path: str,
    directory: int,
    name: str | bytes,
    *,
    ours: bool,
    fsync: Fsync,
) -> None:
    """Copy what *place* (O_PATH) is of to *name* in *directory*, and write it into *stream*.

    The copy has new inodes of our own: mode 444 or 555, time ``MTIME``, no set-id bits, no
    extended attributes, no hard links, and no descriptor of anyone else's that could write to it.

    Arguments:
        path: what errors call it.
        ours: it may be changed so that it can be read: its permissions are.
        fsync: called with the descriptor of every new file and directory.

    Raises:
        UnfitFileError, ChangedError, OSError.
    """
    _copy(stream, place, path, directory, os.fsencode(name), ours, fsync, 0)


def _copy(
    stream: Stream,
    place: int,
    path: str,
    directory: int,
    name: bytes,
    ours: bool,
    fsync: Fsync,
    depth: int,
) -> None:
    status = os.fstat(place)
    check_kind(status, path, depth)
    if stat.S_ISLNK(status.st_mode):
        target = os.readlink(b"", dir_fd=place)
        stream.link(target)
        os.symlink(target, name, dir_fd=directory)
        _at_one_time(name, directory)
        return
    fd = _open(place, status, path, ours)
    try:
        if stat.S_ISREG(status.st_mode):
            _copy_file(stream, fd, path, directory, name, fsync)
            return
        os.mkdir(name, 0o700, dir_fd=directory)
        made = os.open(name, _O_DIRECTORY, dir_fd=directory)
        try:
            stream.enter()
            for inner_name in names_in(fd):
                inner = os.open(inner_name, O_PLACE, dir_fd=fd)
                inner_path = f"{path}/{os.fsdecode(inner_name)}"
                try:
                    stream.entry(inner_name)
                    _copy(stream, inner, inner_path, made, inner_name, ours, fsync, depth + 1)
                    stream.leave_entry()
                finally:
                    os.close(inner)
            stream.leave()
            _make_canonical(made, DIRECTORY_MODE)
            fsync(made)
        finally:
            os.close(made)
    finally:
        os.close(fd)


def _open(place: int, status: os.stat_result, path: str, ours: bool) -> int:
    """Open for reading, with permissions changed where they forbid it and it is *ours*."""
    try:
        return open_place(place, status.st_mode)
    except PermissionError as error:
        error.filename = path
        if not ours:
            raise
    # For the owner of a file without permissions; root needs none.
    more = 0o500 if stat.S_ISDIR(status.st_mode) else 0o400  # no more: a file's own x is kept
    os.chmod(f"/proc/self/fd/{place}", stat.S_IMODE(status.st_mode) | more)
    return open_place(place, status.st_mode)


def _copy_file(
    stream: Stream, fd: int, path: str, directory: int, name: bytes, fsync: Fsync
) -> None:
    status = os.fstat(fd)
    made = os.open(name, _O_NEW, 0o600, dir_fd=directory)
    try:

        def write(data: memoryview) -> None:
            while data:
                data = data[os.write(made, data) :]

        stream.file(fd, status, path, write)
        _make_canonical(made, PROGRAM_MODE if status.st_mode & stat.S_IXUSR else FILE_MODE)
        fsync(made)
    finally:
        os.close(made)


def _make_canonical(fd: int, mode: int) -> None:
    if os.fstat(fd).st_gid != os.getegid():
        os.fchown(fd, -1, os.getegid())  # a set-gid directory above hands its group down
    os.fchmod(fd, mode)
    for attribute in os.listxattr(fd):
        if attribute != "security.selinux":  # the system's own label, not the file's
            os.removexattr(fd, attribute)  # a default ACL of a directory above
    os.utime(fd, (MTIME, MTIME))


def _at_one_time(name: bytes, directory: int) -> None:
    os.utime(name, (MTIME, MTIME), dir_fd=directory, follow_symlinks=False)


def remove(directory: int, name: str | bytes) -> None:
    """Remove *name* in *directory* with all that is below it; nothing if there is none.

    A process that is just being killed may still add to it: it is tried again.

    Raises:
        OSError: it cannot be removed.
    """
    pending = [os.fsencode(name)]
    attempts = 100
    while pending:
        try:
            _remove(directory, pending[-1], directory, 0, pending)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or not attempts:
                raise
            attempts -= 1


def remove_of_any(path: str) -> None:
    """``remove``, also of what an ordinary user's subordinate ids own.

    Where a build has more ids than one, and runc gives it a root, it can leave directories that
    its caller may not even list.

    Raises:
        OSError: it cannot be removed.
    """
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            remove(folder, os.path.basename(path))
        except PermissionError:
            if os.geteuid() == 0:
                raise
            # Root of a user namespace with these ids may remove it; rm(1) follows no link.
            words = ["unshare", "--user", "--map-root-user", "--map-auto", "rm", "-rf", "--", path]
            try:
                subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
            except FileNotFoundError:
                pass
            remove(folder, os.path.basename(path))
    finally:
        os.close(folder)


def _remove(directory: int, name: bytes, top: int, depth: int, pending: list[bytes]) -> None:
    """Remove *name*; what is deeper than ``_DEEP`` is moved to *top* and added to *pending*."""
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass
    except (IsADirectoryError, PermissionError):  # EPERM: unlink(2) of a directory, by POSIX
        fd = _open_to_empty(directory, name)
        try:
            for inner in map(os.fsencode, os.listdir(fd)):
                if depth < _DEEP:
                    _remove(fd, inner, top, depth + 1, pending)
                else:
                    _bring_up(fd, inner, top, pending)
        finally:
            os.close(fd)
        os.rmdir(name, dir_fd=directory)
    if not depth:
        pending.remove(name)


def _bring_up(directory: int, name: bytes, top: int, pending: list[bytes]) -> None:
    place = os.open(name, O_PLACE, dir_fd=directory)
    try:
        if stat.S_ISDIR(os.fstat(place).st_mode):
            os.chmod(f"/proc/self/fd/{place}", 0o700)  # its ".." is to be written
    finally:
        os.close(place)
    up = DEEP_PREFIX + os.urandom(8).hex().encode()
    os.rename(name, up, src_dir_fd=directory, dst_dir_fd=top)
    pending.insert(0, up)


def _open_to_empty(directory: int, name: bytes) -> int:
    """Open a directory that can be listed and emptied, whatever its permissions were."""
    place = os.open(name, O_PLACE, dir_fd=directory)
    try:
        mode = os.fstat(place).st_mode
        if not stat.S_ISDIR(mode):
            raise OSError(errno.EPERM, "cannot be removed", os.fsdecode(name))
        if mode & 0o700 != 0o700:
            os.chmod(f"/proc/self/fd/{place}", 0o700)
        return open_place(place, mode)
    finally:
        os.close(place)
