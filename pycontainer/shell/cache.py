"""Where fetched software is kept: a directory an entry, whole or not there at all.

An entry is built beside its place and renamed into it, so a crash, a SIGKILL or a full disk leaves
at most a directory that nothing looks at and the next one to come by removes.  A lock an entry
(flock(2), which ends with its process) lets two that want the same thing fetch it once.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attrs import field, frozen

from ..declare.checks import host_path, is_below, parents
from .places import cache_directory
from .software import Progress, SoftwareError

__all__ = ["Cache"]

BUILDING = ".new"
"""The end of the name of a directory in which an entry is being made, or was when all ended."""

LOCK = ".lock"

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No room: on the disk, in the user's quota, or below RLIMIT_FSIZE (setrlimit(2))."""

OVERFLOW_ID = 65534
"""How a user namespace shows owners that it does not map (user_namespaces(7))."""


@frozen
class Cache:
    """A directory of fetched software.

    Nothing in it is used that another user owns or could have changed.

    Attributes:
        directory: its place; by default $XDG_CACHE_HOME/pycontainer, else ~/.cache/pycontainer, or
            /var/cache/pycontainer for root.  Made when the first entry is.
    """

    directory: str = field(factory=cache_directory, converter=host_path)

    def entry(
        self,
        kind: str,
        key: str,
        make: Callable[[str], None],
        *,
        what: str,
        progress: Progress | None = None,
    ) -> str:
        """The directory of the entry *key*, which *make* fills if there is none yet.

        Arguments:
            kind: what sort of thing it is: a directory of the cache.
            key: its name there, such as ``key_of`` makes.
            make: called with an empty directory of mode 0700, to put the entry in.
            what: the thing in words, for messages.
            progress: told when another process is at it already.

        Raises:
            SoftwareError: the cache cannot be used or written, or belongs to somebody else.
            Whatever *make* raises; a full disk becomes a SoftwareError that says so.
        """
        shelf = os.path.join(self.directory, kind)
        place = os.path.join(shelf, key)
        if os.path.lexists(place):
            self._distrust(place)
            return place
        try:
            self._make_shelf(shelf)
        except OSError as error:
            if error.errno in FULL:
                raise self._in_words(error, what) from error
            raise self._unwritable(error, what) from error
        try:
            with _tidy_end(), _locked(place + LOCK, what, progress):
                if not os.path.lexists(place):  # it may have come while this one waited
                    sweep(shelf, place)
                    self._build(place, make)
        except OSError as error:
            raise self._in_words(error, what) from error
        self._distrust(place)
        return place

    def _make_shelf(self, shelf: str) -> None:
        os.makedirs(os.path.dirname(self.directory), mode=0o700, exist_ok=True)
        for directory in (self.directory, shelf):
            try:
                os.mkdir(directory, 0o700)
            except FileExistsError:
                pass  # whether it is a directory shows at once
        self._distrust(shelf)

    def _build(self, place: str, make: Callable[[str], None]) -> None:
        building = f"{place}.{os.urandom(4).hex()}{BUILDING}"
        os.mkdir(building, 0o700)
        try:
            make(building)
            _sync(building)
            os.rename(building, place)
        except BaseException:
            remove_tree(building)
            raise
        _sync_directory(os.path.dirname(place))

    def _distrust(self, place: str) -> None:
        """Refuse *place* unless this user alone can have put there what it is.

        Those above it may be root's, and may be writable by others if they are sticky, as /tmp is.
        """
        euid = os.geteuid()
        real = os.path.realpath(place)
        own = os.path.realpath(self.directory)
        if not is_below(real, own):
            raise SoftwareError(f"cache: {place} is a link out of the cache; remove it")
        # And the links on the way, which may lead to a copy of what somebody else has thought out.
        directory = os.path.abspath(self.directory)
        for path in (real, *parents(real), directory, *parents(directory)):
            status = os.lstat(path)
            inside = is_below(path, own)
            owners = (euid,) if inside else (euid, 0, OVERFLOW_ID)
            if status.st_uid not in owners:
                raise SoftwareError(
                    f"cache: {path} belongs to the user id {status.st_uid}, who could put anything "
                    "there; remove it, or name another cache with XDG_CACHE_HOME"
                )
            open_to = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            if open_to == stat.S_IWGRP and status.st_gid == os.getegid():
                open_to = 0  # a group of one's own (umask 002)
            if stat.S_ISLNK(status.st_mode):
                open_to = 0  # a link's mode says nothing
            if open_to and (inside or not status.st_mode & stat.S_ISVTX):
                raise SoftwareError(
                    f"cache: others may write to {path}; `chmod go-w {path}`, or name another "
                    "cache with XDG_CACHE_HOME"
                )

    def _in_words(self, error: OSError, what: str) -> OSError | SoftwareError:
        if error.errno in FULL:
            return SoftwareError(
                f"{what}: no space left in the cache, {self.directory} ({error.strerror}); make "
                "room, or name another place with XDG_CACHE_HOME. Nothing half-made was kept"
            )
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            return self._unwritable(error, what)
        return error

    def _unwritable(self, error: OSError, what: str) -> SoftwareError:
        return SoftwareError(
            f"{what}: the cache {self.directory} cannot be written: {error.strerror} "
            f"({error.filename}); name another place with XDG_CACHE_HOME"
        )


def key_of(*parts: object) -> str:
    """A name for an entry that differs whenever one of *parts*, data that JSON knows, does."""
    import hashlib
    import json

    text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def sweep(shelf: str, mine: str = "") -> None:
    """Remove what is half made in *shelf* and whose maker is no more.

    *mine* is the place whose lock the caller holds.
    """
    import fcntl

    for name in os.listdir(shelf):
        if not name.endswith(BUILDING):
            continue
        place = os.path.join(shelf, name.split(".")[0])
        held = -1
        try:
            if place != mine:
                held = os.open(place + LOCK, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(held, place + LOCK):
                    os.unlink(place + LOCK)
        except BlockingIOError:
            continue  # it is being made
        except FileNotFoundError:
            pass  # nobody has the lock, as nobody is making it
        finally:
            if held >= 0:
                os.close(held)
        remove_tree(os.path.join(shelf, name))


def remove_tree(directory: str) -> None:
    """Remove *directory* and what is in it, following no link; as far as that goes."""
    import shutil

    if os.path.islink(directory):
        os.unlink(directory)
        return
    for parent, names, _ in os.walk(directory):
        for name in names:
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                try:
                    os.chmod(path, 0o700)  # one may lack the owner's own rights
                except OSError:
                    pass
    shutil.rmtree(directory, ignore_errors=True)


class _Ended(BaseException):
    """A signal that ends this process has come."""


@contextmanager
def _tidy_end() -> Iterator[None]:
    """Signals that would end this process at once first undo what is half made.

    Only where nobody has a handler of their own, and in the thread that may set one (signal(2) is
    for the whole process; Python runs handlers in the main thread).
    """
    import signal
    import threading

    taken: list[int] = []

    def end(number: int, _: object) -> None:
        for each in taken:
            signal.signal(each, signal.SIG_IGN)  # it will not take long
        raise _Ended(number)

    came = 0
    try:
        if threading.current_thread() is threading.main_thread():
            for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(one) is signal.SIG_DFL:
                    taken.append(one)
                    signal.signal(one, end)
        yield
    except _Ended as ended:
        came = ended.args[0]
    finally:
        for each in taken:
            signal.signal(each, signal.SIG_DFL)
    if came:
        os.kill(os.getpid(), came)


@contextmanager
def _locked(lock: str, what: str, progress: Progress | None) -> Iterator[None]:
    """Hold the file *lock*, which exists only while somebody does or waits for it."""
    import fcntl

    while True:
        held = os.open(lock, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if progress is not None:
                    progress(f"{what}: another process is fetching it; waiting", 0, None)
                fcntl.flock(held, fcntl.LOCK_EX)
            # Whoever held it before has removed it, and a third may have made it anew.
            if not _is_at(held, lock):
                continue
            try:
                yield
            finally:
                os.unlink(lock)
            return
        finally:
            os.close(held)


def _is_at(descriptor: int, path: str) -> bool:
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)


def _sync(directory: str) -> None:
    """Have the whole entry on the disk before it gets its name.

    One syncfs(2) takes as long as a few fsync(2); an entry has thousands of files.  It also
    reports what could not be written, which is where a delayed ENOSPC shows.
    """
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), directory)
    finally:
        os.close(descriptor)


def _sync_directory(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
