"""How mounts and entries stand to each other: flattening, and the mistakes that only show together.

Later mounts lie over earlier ones, so the order in which they are given matters.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, TypeAlias

from .checks import Problems, parents
from .entries import Directory, File, Symlink
from .mounts import Mount, Overlay

__all__ = ["Item", "arrange", "check_arrangement"]

Item: TypeAlias = Mount | Overlay | Directory | File | Symlink
"""One mount or entry."""

_ITEMS = (Mount, Overlay, Directory, File, Symlink)

NEEDED_NAMESPACES = {"proc": "pid", "sysfs": "net", "mqueue": "ipc", "cgroup2": "cgroup"}
"""File systems that the kernel mounts for the owner of a namespace only: proc_init_fs_context(),
sysfs_init_fs_context(), mqueue_init_fs_context() and cgroup_init_fs_context()."""

_KERNEL_PLACES = {"/proc": "pid", "/sys": "net", "/dev/pts": "mnt"}
"""Default mounts in which nothing can be made, and the namespaces with which they are there."""


def arrange(mounts: Iterable[Item | Iterable[Item]]) -> tuple[Item, ...]:
    """*mounts* flattened one level, each once, without the binds that a later bind shows anyway.

    What is neither a mount nor an entry stays, for ``check_arrangement`` to name it.
    """
    if isinstance(mounts, (str, bytes, os.PathLike, *_ITEMS)):
        return (_Stray(mounts, alone=True),)  # type: ignore[return-value]
    try:
        given = iter(mounts)
    except TypeError:
        return (_Stray(mounts, alone=True),)  # type: ignore[return-value]
    flat: list[Any] = []
    stray = False
    for item in given:
        if isinstance(item, _ITEMS):
            flat.append(item)
        elif isinstance(item, (str, bytes, os.PathLike)) or not isinstance(item, Iterable):
            flat.append(_Stray(item))
            stray = True
        else:
            for inner in item:
                good = isinstance(inner, _ITEMS)
                flat.append(inner if good else _Stray(inner))
                stray = stray or not good
    if stray or len(flat) < 2:
        return tuple(flat)
    return _without_shown(dict.fromkeys(flat))


class _Stray:
    """Something among the mounts that is none, kept until it is reported."""

    def __init__(self, value: Any, alone: bool = False) -> None:
        self.value = value
        self.alone = alone

    def problem(self) -> str:
        if self.alone and isinstance(self.value, _ITEMS):
            return "mounts must be a collection; put the one mount in a list"
        if isinstance(self.value, (str, bytes, os.PathLike)):
            return f"mounts: {self.value!r} is a path; write bind({self.value!r})"
        return f"mounts: {self.value!r} is neither a mount nor an entry"


def _without_shown(items: Iterable[Item]) -> tuple[Item, ...]:
    """*items* less the binds that a later bind of a parent directory shows at the same place.

    Ready-made lists overlap: one binds /usr/lib/python3, the next one /usr.
    """
    kept: list[Item] = []
    later: dict[str, Mount] = {}
    for item in reversed(list(items)):
        if isinstance(item, Mount) and item.type == "bind":
            if not _is_shown(item, later):
                later[item.target] = item
                kept.append(item)
        else:
            kept.append(item)
    kept.reverse()
    return tuple(kept)


def _is_shown(item: Mount, later: dict[str, Mount]) -> bool:
    if not later or item.source is None:
        return False
    for parent in parents(item.target):
        cover = later.get(parent)
        if cover is not None:
            return (
                cover.recursive
                and not cover.optional
                and f"{cover.source}{item.target[len(parent) :]}" == item.source
                and _restrictions(cover) == _restrictions(item)
            )
    return False


def _restrictions(mount: Mount) -> tuple[Any, ...]:
    return (
        mount.writable,
        mount.nosuid,
        mount.nodev,
        mount.noexec,
        mount.nosymfollow,
        mount.atime,
        mount.device,
    )


def place_of(item: Item) -> str:
    """Where *item* is in the container."""
    return item.target if isinstance(item, (Mount, Overlay)) else item.path


def name_of(item: Item) -> str:
    """*item* in the words of the function that makes it: "bind at /usr", "file /etc/motd"."""
    if isinstance(item, Mount):
        return f"{item.type} at {item.target}"
    if isinstance(item, Overlay):
        return f"overlay at {item.target}"
    return f"{type(item).__name__.lower()} {item.path}"


def check_arrangement(
    problems: Problems, items: tuple[Any, ...], namespaces: frozenset[str], rootfs: str | None
) -> None:
    """Report strays, two things at one place, mounts that hide earlier ones, entries on the host
    and whatever lies below a link or file."""
    strays = [item.problem() for item in items if isinstance(item, _Stray)]
    problems += strays
    if strays:
        return
    leaves = {item.path: item for item in items if isinstance(item, (File, Symlink))}
    seen: dict[str, Item] = {}
    below: dict[str, Item] = {}  # every directory above a thing seen, and the first such thing
    for item in items:
        place = place_of(item)
        above = list(parents(place))
        if place in seen:
            problems.append(f"{place} is given twice: {name_of(seen[place])}, {name_of(item)}")
        elif place in below and not isinstance(item, Directory):
            problems.append(_order_problem(item, below[place]))
        for directory in above:
            if directory in leaves:
                problems.append(f"{name_of(item)} lies below {name_of(leaves[directory])}")
        if isinstance(item, (Mount, Overlay)):
            _check_needs(problems, item, namespaces)
        else:
            _check_ground(problems, item, above, seen, namespaces, rootfs)
        seen[place] = item
        for directory in above:
            if directory in below:
                break  # and so are those above it
            below[directory] = item


def _order_problem(item: Item, hidden: Item) -> str:
    if isinstance(item, (Mount, Overlay)):
        return (
            f"{name_of(item)} would hide the earlier {name_of(hidden)}; "
            f"put {place_of(item)} before {place_of(hidden)}"
        )
    return f"{name_of(item)} stands where the earlier {name_of(hidden)} needs a directory"


def _check_needs(problems: Problems, mount: Mount | Overlay, namespaces: frozenset[str]) -> None:
    needed = NEEDED_NAMESPACES.get(mount.type) if isinstance(mount, Mount) else None
    if needed is not None and needed not in namespaces and "user" in namespaces:
        problems.append(f"{name_of(mount)} needs the {needed!r} namespace")


def _check_ground(
    problems: Problems,
    entry: Item,
    above: list[str],
    seen: dict[str, Item],
    namespaces: frozenset[str],
    rootfs: str | None,
) -> None:
    """Entries are made on a tmpfs of the container only."""
    for directory in above:
        mount = seen.get(directory)
        if isinstance(mount, Mount) and mount.type == "tmpfs":
            if not mount.writable:
                problems.append(f"{name_of(entry)} lies in the read-only {name_of(mount)}")
            return
        if isinstance(mount, Mount) and mount.type != "bind":
            problems.append(f"{name_of(entry)} lies in the {name_of(mount)}, which takes no files")
            return
        if isinstance(mount, (Mount, Overlay)):
            problems.append(
                f"{name_of(entry)} lies in the {name_of(mount)}; nothing is written to the host"
            )
            return
        if directory in _DEFAULT_TMPFS:
            return
        if _KERNEL_PLACES.get(directory) in namespaces:
            problems.append(f"{name_of(entry)} lies in {directory}, which takes no files")
            return
    if rootfs is not None:
        problems.append(f"{name_of(entry)} lies in rootfs; nothing is written to the host")


_DEFAULT_TMPFS = frozenset({"/dev", "/dev/shm", "/tmp"})
"""The tmpfs that every container has by default; a test compares them with plan/defaults.py."""
