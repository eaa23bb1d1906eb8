"""Where something of a container is on the host, as far as can be told before it runs."""

from __future__ import annotations

import os

from ..declare.checks import parents
from ..declare.container import Container
from ..declare.entries import File, Symlink
from ..declare.mounts import Mount, Overlay

__all__ = ["SEARCH_PATH", "View", "located", "view_of"]

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where a program is looked for without a PATH: that of launch/command.py, as a test says."""

_LINKS = 40
"""As many as the kernel follows in a path (MAXSYMLINKS in include/linux/namei.h)."""


class View:
    """The tree of a container, made of the host's files."""

    def __init__(self, container: Container) -> None:
        self._rootfs = container.rootfs
        self._mounts = {
            item.target: item for item in container.mounts if isinstance(item, (Mount, Overlay))
        }
        self._links = {item.path: item.to for item in container.mounts if type(item) is Symlink}
        self._files = {item.path: item for item in container.mounts if type(item) is File}

    def file(self, path: str) -> File | None:
        """The entry that is at *path*."""
        return self._files.get(path)

    def has_place(self, target: str) -> bool:
        """Whether there is something at *target* below what is mounted there, if that is the
        host's."""
        own = self._mounts.pop(target, None)
        try:
            found = self.find(target)
            return found is None or os.path.exists(found)
        finally:
            if own is not None:
                self._mounts[target] = own

    def find(self, path: str) -> str | None:
        """The host's path of the container's *path*; None: no place of the host.

        Links are followed as in the container: an absolute one begins at its root.
        """
        left = [part for part in reversed(path.split("/")) if part]
        at = "/"
        links = 0
        while left:
            part = left.pop()
            if part == "..":
                at = os.path.dirname(at)
                continue
            if part == ".":
                continue
            at = f"{at.rstrip('/')}/{part}"
            to = self._links.get(at)
            if to is None:
                here = self._host(at)
                if here is not None and os.path.islink(here) and at not in self._mounts:
                    to = os.readlink(here)
            if to is not None:
                links += 1
                if links > _LINKS:
                    return None
                at = "/" if to.startswith("/") else os.path.dirname(at)
                left += [one for one in reversed(to.split("/")) if one]
        return self._host(at)

    def _host(self, path: str) -> str | None:
        for place in (path, *parents(path)):
            mount = self._mounts.get(place)
            rest = path[len(place.rstrip("/")) :]
            if isinstance(mount, Overlay):
                layers = [mount.upper, *mount.lower]
                found = [f"{one}{rest}" for one in layers if one is not None]
                return next((one for one in found if os.path.lexists(one)), found[-1])
            if mount is not None:
                return None if mount.source is None else f"{mount.source}{rest}"
        return None if self._rootfs is None else f"{self._rootfs}{path}"


def view_of(container: Container) -> View:
    """The view of *container*."""
    return View(container)


def located(container: Container, name: str) -> str:
    """The path of the program *name* in the container; *name* if it is nowhere to be seen."""
    view = View(container)
    for directory in SEARCH_PATH.split(":"):
        path = f"{directory}/{name}"
        entry = view.file(path)
        if entry is not None and entry.mode & 0o111:
            return path
        found = view.find(path)
        if found is not None and os.path.isfile(found) and os.access(found, os.X_OK):
            return path
    return name
