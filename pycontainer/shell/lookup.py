"""What is where in a container, from its declaration and the host's directories, before it runs."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence

from ..declare.arrangement import Item, place_of
from ..declare.checks import parents
from ..declare.entries import File, Symlink
from ..declare.mounts import Mount, Overlay

__all__ = ["Lookup"]

_LINKS = 40
"""As many links as the kernel follows (path_resolution(7))."""


class Lookup:
    """Finds files of a container by their paths in it.

    Links are followed as they would be inside.  Who may read what is not asked.

    Arguments:
        items: mounts and entries, later ones above earlier ones.
        rootfs: the host's directory that is the root below them, or None.
    """

    def __init__(self, items: Iterable[Item], rootfs: str | None = None) -> None:
        self._items = {place_of(item): item for item in items}
        self._rootfs = rootfs
        self._inner: dict[str, set[str]] = {}  # names that items bring into directories
        for place in self._items:
            below = place
            for parent in parents(place):
                self._inner.setdefault(parent, set()).add(os.path.basename(below))
                below = parent

    def exists(self, path: str) -> bool:
        """Whether there is anything at *path*."""
        return self._walk(path) is not None

    def source(self, path: str) -> str | None:
        """The host's file or directory that is seen at *path*; None if there is none."""
        found = self._walk(path)
        return found[1][0] if found and found[1] else None

    def content(self, path: str, limit: int = 1 << 20) -> bytes | None:
        """What the file at *path* holds, at most *limit* bytes; None if it cannot be read."""
        found = self._walk(path)
        if found is None:
            return None
        item = self._items.get(found[0])
        if isinstance(item, File):
            return item.content
        try:
            # NONBLOCK: a FIFO must not hold us up.
            fd = os.open(found[1][0], os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (OSError, IndexError):
            return None
        with open(fd, "rb") as file:
            return file.read(limit) if stat.S_ISREG(os.fstat(fd).st_mode) else None

    def is_program(self, path: str) -> bool:
        """Whether there is a file at *path* that may be executed."""
        found = self._walk(path)
        if found is None:
            return False
        item = self._items.get(found[0])
        if isinstance(item, File):
            return bool(item.mode & 0o111)
        return bool(found[1]) and _is_program(found[1][0])

    def find_program(self, name: str, path: Iterable[str]) -> str | None:
        """Where the directories of *path* have the program *name* first, or None."""
        for directory in path:
            place = os.path.join(directory, name)
            if self.is_program(place):
                return place
        return None

    def names(self, path: str) -> list[str]:
        """The names in the directory at *path*, sorted; none where there is no directory."""
        found = self._walk(path)
        if found is None:
            return []
        place, sources = found
        names = set(self._inner.get(place, ()))
        for source in sources:
            try:
                names.update(os.listdir(source))
            except OSError:
                continue
        return sorted(names)

    def _walk(self, path: str) -> tuple[str, list[str]] | None:
        """The place without links, and what of the host lies there: several where layers do."""
        todo = _components(path)
        followed = 0
        place = "/"
        sources = [self._rootfs] if self._rootfs else []
        trail = [(place, sources)]
        while todo:
            name = todo.pop()
            if name == "..":
                if len(trail) > 1:
                    trail.pop()
                place, sources = trail[-1]
                continue
            place = os.path.join(place, name)
            link, sources = self._step(place, name, sources)
            if link is None:
                if not sources and place not in self._items and place not in self._inner:
                    return None
                trail.append((place, sources))
                continue
            followed += 1
            if followed > _LINKS:
                return None
            todo += _components(link)
            if link.startswith("/"):
                del trail[1:]
            place, sources = trail[-1]
        return place, sources

    def _step(self, place: str, name: str, above: Sequence[str]) -> tuple[str | None, list[str]]:
        """Where the link at *place* leads, or None; and what of the host lies at *place*."""
        item = self._items.get(place)
        if isinstance(item, Symlink):
            return item.to, []
        if isinstance(item, Mount):
            if item.type != "bind" or item.source is None:
                return None, []
            source = os.path.realpath(item.source)  # a bind follows links, and does so outside
            return None, [source] if os.path.lexists(source) else []
        if isinstance(item, Overlay):
            return None, [*([item.upper] if item.upper else ()), *item.lower]
        if isinstance(item, File):
            return None, []
        sources: list[str] = []
        for directory in above:
            path = os.path.join(directory, name)
            try:
                mode = os.lstat(path).st_mode
            except OSError:
                continue
            if stat.S_ISLNK(mode):
                if not sources:
                    return os.readlink(path), []
                break
            if stat.S_ISCHR(mode) and len(above) > 1:
                break  # a whiteout: the layers below do not show it (overlayfs.rst)
            sources.append(path)
            if not stat.S_ISDIR(mode):
                break
        return None, sources


def _components(path: str) -> list[str]:
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]


def _is_program(path: str) -> bool:
    try:
        mode = os.stat(path, follow_symlinks=False).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and bool(mode & 0o111)
