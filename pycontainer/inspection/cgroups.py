"""A process's cgroups: where they lie, what they limit, what is used (cgroups(7)).

Version 1 has a hierarchy for each controller, version 2 one for all, and many hosts have both.  The
paths are read as the caller's cgroup namespace shows them, in the caller's own mounts.
"""

from __future__ import annotations

import os
from collections.abc import Container
from typing import NamedTuple

from .mountinfo import parse_mountinfo

__all__ = ["Hierarchy", "hierarchies", "memory_of", "parse_paths", "place", "whole_cgroup"]

_HIGHEST = 4
"""How far up the directory is looked for that is still the container's alone."""


class Hierarchy(NamedTuple):
    """A cgroup file system that is mounted where the caller can see it.

    Attributes:
        version: 1 or 2.
        controllers: of version 1, among them names such as "name=systemd"; version 2: ("",).
        root: the cgroup that is shown at ``target``.
        target: where.
    """

    version: int
    controllers: tuple[str, ...]
    root: str
    target: str


def hierarchies() -> list[Hierarchy]:
    """Those mounted in the caller's mount namespace, one for each."""
    with open("/proc/self/mountinfo", "rb") as file:
        mounts = parse_mountinfo(file.read())
    found: dict[tuple[str, ...], Hierarchy] = {}
    for mount in mounts:
        if mount.fstype == "cgroup2":
            found.setdefault(("",), Hierarchy(2, ("",), mount.root, mount.target))
        elif mount.fstype == "cgroup":
            names = tuple(
                option
                for option in mount.super_options
                if option not in ("rw", "ro", "xattr", "clone_children", "noprefix")
                and not option.startswith("release_agent=")
            )
            found.setdefault(names, Hierarchy(1, names, mount.root, mount.target))
    return list(found.values())


def parse_paths(text: str) -> dict[tuple[str, ...], str]:
    """Controllers → path, of /proc/PID/cgroup; ("",) is version 2."""
    found = {}
    for line in text.split("\n"):
        _, names, path = line.split(":", 2) if line else ("", "", "")
        if path:
            found[tuple(names.split(","))] = path
    return found


def place(hierarchy: Hierarchy, path: str) -> str | None:
    """The directory of the cgroup *path*, or None where the mount does not show it."""
    top = hierarchy.root.rstrip("/")
    if ".." in path.split("/") or not (path == hierarchy.root or path.startswith(top + "/")):
        return None
    return (hierarchy.target + path[len(top) :]).rstrip("/") or "/"


def memory_of(directory: str) -> int | None:
    """Bytes that the cgroup uses, with the files that it has in the page cache; None: unknown."""
    for name in ("memory.current", "memory.usage_in_bytes"):
        number = read_number(f"{directory}/{name}")
        if number is not None:
            return number
    return None


def read_number(path: str) -> int | None:
    """A file that holds one number; None for another one ("max"), or none."""
    try:
        with open(path, "rb") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def whole_cgroup(directory: str, top: str, pids: Container[int]) -> str | None:
    """The highest cgroup from *directory* on that holds processes of *pids* and no others.

    An engine may put the processes of a container into a cgroup below the one that it limits.

    Arguments:
        directory: of a cgroup of one of the processes.
        top: the directory of the whole hierarchy, which is nobody's alone.
        pids: the processes of the container.
    """
    found = None
    for _ in range(_HIGHEST):
        if directory == top or not directory.startswith(top):
            break
        try:
            with open(f"{directory}/cgroup.procs", "rb") as file:
                inside = [int(pid) for pid in file.read().split()]
            below = [entry.name for entry in os.scandir(directory) if entry.is_dir()]
        except (OSError, ValueError):
            break
        if any(pid not in pids for pid in inside):
            break
        # Siblings of the container's own cgroup would be somebody else's.
        if found is not None and below != [os.path.basename(found)]:
            break
        found = directory
        directory = os.path.dirname(directory)
    return found
