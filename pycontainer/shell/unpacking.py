"""Unpacking file system archives into a directory, with nothing outside it ever touched.

The rules are those of the ``tar`` filter of PEP 706 (no path leads out, no set-id bits) with two
differences that a root file system needs: a link is taken as the container will take it, from its
own root, and no device, FIFO or socket is made.  Owners are not kept: all belongs to the caller.
"""

from __future__ import annotations

import errno
import os
import stat
import tarfile
import time
from collections.abc import Callable
from typing import IO

from .cache import remove_tree
from .software import SoftwareError

__all__ = ["Unpacker"]

LINKS = 40
"""As many links as the kernel follows in one path (path_resolution(7))."""

CHUNK = 1 << 18

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

TELLING = 0.1  # seconds between two calls of told

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
"""Names that hide what lower layers have ("Whiteouts" in the OCI image specification, layer.md)."""


class Unpacker:
    """Unpacks one archive, or layers one upon the other, into *root*.

    Arguments:
        root: an existing directory that nobody else writes to meanwhile.
        what: what is unpacked, for messages.
        keep_links: a link to a directory stays where an archive has a directory, as dpkg does.
        whiteouts: names that begin with ".wh." hide files of lower layers.
        told: called with the number of bytes written, now and then.
    """

    def __init__(
        self,
        root: str,
        what: str,
        *,
        keep_links: bool = False,
        whiteouts: bool = False,
        told: Callable[[int], None] | None = None,
    ) -> None:
        self.root = root
        self.what = what
        self.left_out = 0
        self._keep_links = keep_links
        self._whiteouts = whiteouts
        self._told = told
        self._written = 0
        self._next_telling = 0.0
        self._modes: dict[str, int] = {}  # of directories, set when all is in them
        self._added: set[str] = set()  # by this layer

    def unpack(self, archive: IO[bytes]) -> None:
        """Unpack the tar archive that *archive* yields, and read it to its end.

        Raises:
            SoftwareError: it is damaged, or a name in it leads out.
        """
        self._added.clear()
        try:
            with tarfile.open(fileobj=archive, mode="r|", errorlevel=2) as members:
                for member in members:
                    self._unpack(members, member)
            while archive.read(CHUNK):  # checksums come last
                pass
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            raise self.damaged(error) from error
        except OSError as error:
            if error.errno is not None:
                raise
            raise self.damaged(error) from error  # gzip's and bz2's
        except Exception as error:
            if type(error).__name__ not in ("LZMAError", "ZstdError", "error"):
                raise
            raise self.damaged(error) from error

    def make_directory(self, path: str) -> None:
        """Have a directory at *path*, as seen from inside."""
        self._directory(path.split("/"), make=True)

    def finish(self) -> None:
        """Give directories their modes."""
        for path, mode in sorted(self._modes.items(), reverse=True):
            # It may have gone since, and a link have come in the place of one above it.
            descriptor = self._opened(path)
            if descriptor is not None:
                try:
                    os.fchmod(descriptor, mode)
                finally:
                    os.close(descriptor)

    def _opened(self, path: str) -> int | None:
        """A descriptor of the directory *path*, if it is one and no link leads there."""
        descriptor = os.open(self.root, DIRECTORY)
        for part in os.path.relpath(path, self.root).split("/"):
            above = descriptor
            try:
                descriptor = os.open(part, DIRECTORY, dir_fd=above)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    raise
                return None
            finally:
                os.close(above)
        return descriptor

    def damaged(self, reason: object) -> SoftwareError:
        """The error for an archive that cannot be read."""
        return SoftwareError(
            f"{self.what} is damaged or no tar archive: {reason}; get it again, or look at it with "
            "`tar -tf`"
        )

    def _unpack(self, members: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        parts = self._parts(member.name)
        if not parts:
            if member.isdir():
                self._modes[self.root] = (member.mode & 0o777) | 0o700
            return
        parent = self._directory(parts[:-1], make=True)
        name = parts[-1]
        if self._whiteouts and name.startswith(WHITEOUT):
            self._hide(parent, name)
            return
        path = os.path.join(parent, name)
        if member.isdir():
            self._make_directory(path, member)
        elif member.isreg():
            self._clear(path)
            self._write(members, member, path)
        elif member.issym():
            self._clear(path)
            os.symlink(member.linkname, path)
        elif member.islnk():
            self._link(member, path)
        else:
            self.left_out += 1  # a device, a FIFO
            return
        self._added.add(path)

    def _parts(self, name: str) -> list[str]:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts or "\0" in name:
            raise SoftwareError(
                f"{self.what}: the name {name!r} in it leads out of the archive; it was not "
                "made in good faith, so none of it was kept"
            )
        return parts

    def _directory(self, parts: list[str], make: bool) -> str:
        """The directory *parts* below the root, links followed as from inside."""
        waiting = parts[::-1]
        walked: list[str] = []
        links = 0
        while waiting:
            part = waiting.pop()
            if part in ("", "."):
                continue
            if part == "..":
                walked = walked[:-1]  # of the root it is the root
                continue
            path = os.path.join(self.root, *walked, part)
            try:
                mode = os.lstat(path).st_mode
            except FileNotFoundError:
                if not make:
                    raise
                os.mkdir(path, 0o755)
                mode = stat.S_IFDIR
            if stat.S_ISLNK(mode):
                links += 1
                if links > LINKS:
                    raise SoftwareError(f"{self.what}: links go in a circle at {'/'.join(parts)}")
                to = os.readlink(path)
                if to.startswith("/"):
                    walked = []
                waiting += to.split("/")[::-1]
            elif stat.S_ISDIR(mode):
                walked.append(part)
            else:
                raise SoftwareError(f"{self.what}: {'/'.join(parts)} lies below a file")
        return os.path.join(self.root, *walked)

    def _make_directory(self, path: str, member: tarfile.TarInfo) -> None:
        mode = (member.mode & 0o1777) | 0o700
        if os.path.islink(path) and self._keep_links and self._leads_to_directory(path):
            return
        if os.path.islink(path) or not os.path.isdir(path):
            self._clear(path)
            os.mkdir(path, 0o700)
        self._modes[path] = mode

    def _leads_to_directory(self, path: str) -> bool:
        try:
            self._directory(os.path.relpath(path, self.root).split("/"), make=False)
        except FileNotFoundError:
            return False
        return True

    def _write(self, members: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
        source = members.extractfile(member)
        assert source is not None
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        target = os.open(path, flags, 0o600)
        try:
            while chunk := source.read(CHUNK):
                view = memoryview(chunk)
                while view:
                    view = view[os.write(target, view) :]
                self._written += len(chunk)
                self._tell()
            os.fchmod(target, (member.mode & 0o777) | 0o400)
            os.utime(target, (member.mtime, member.mtime))
        finally:
            os.close(target)

    def _tell(self) -> None:
        if self._told is not None and time.monotonic() > self._next_telling:
            self._next_telling = time.monotonic() + TELLING
            self._told(self._written)

    def _link(self, member: tarfile.TarInfo, path: str) -> None:
        parts = self._parts(member.linkname)
        try:
            to = os.path.join(self._directory(parts[:-1], make=False), *parts[-1:])
            if os.path.lexists(path) and os.path.samestat(os.lstat(to), os.lstat(path)):
                return
            self._clear(path)
            os.link(to, path, follow_symlinks=False)
        except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
            raise SoftwareError(
                f"{self.what}: {member.name!r} in it is a hard link to {member.linkname!r}, which "
                "is not in it"
            ) from error

    def _clear(self, path: str) -> None:
        """Have nothing at *path*."""
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            return
        if stat.S_ISDIR(mode):
            remove_tree(path)
        else:
            os.unlink(path)

    def _hide(self, parent: str, name: str) -> None:
        """Remove what lower layers have; what this one has brought stays."""
        if name == OPAQUE:
            for below in os.listdir(parent):
                self._remove_older(os.path.join(parent, below))
            return
        hidden = name[len(WHITEOUT) :]
        if hidden in ("", ".", ".."):
            raise SoftwareError(f"{self.what}: the whiteout {name!r} names nothing that can be")
        if not hidden.startswith(WHITEOUT):  # others of that kind are notes of aufs
            self._remove_older(os.path.join(parent, hidden))

    def _remove_older(self, path: str) -> None:
        if path not in self._added:
            self._clear(path)
        elif os.path.isdir(path) and not os.path.islink(path):
            for below in os.listdir(path):
                self._remove_older(os.path.join(path, below))
