"""How mounts and entries stand to each other: flattening, and the mistakes that only show together.

Later mounts lie over earlier ones, so the order in which they are given matters.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, TypeAlias

from attrs import evolve

from .checks import Problems, parents
from .entries import Directory, File, Symlink
from .mounts import Mount, Overlay
from .part import Part

__all__ = ["Item", "arrange", "check_arrangement"]

Item: TypeAlias = Mount | Overlay | Directory | File | Symlink
"""One mount or entry."""

_ITEMS = (Mount, Overlay, Directory, File, Symlink)

NEEDED_NAMESPACES = {"proc": "pid", "sysfs": "net", "mqueue": "ipc", "cgroup2": "cgroup"}
"""File systems that the kernel mounts for the owner of a namespace only: proc_init_fs_context(),
sysfs_init_fs_context(), mqueue_init_fs_context() and cgroup_init_fs_context()."""

_KERNEL_PLACES = {"/proc": "pid", "/sys": "net", "/dev/pts": "mnt"}
"""Default mounts in which nothing can be made, and the namespaces with which they are there."""


def arrange(mounts: Iterable[Part | Iterable[Part]]) -> tuple[Item, ...]:
    """*mounts* flattened one level, each once.

    What comes from a collection is ready-made and yields: to what is given later for the same
    place, and to a later bind that shows the same thing there.  Two things that differ stay when
    both are given by hand, or both by one collection; and so does what is neither a mount nor an
    entry.  ``check_arrangement`` names them.
    """
    if isinstance(mounts, (str, bytes, os.PathLike, *_ITEMS)) or not isinstance(mounts, Iterable):
        return (_Stray(mounts, alone=True),)  # type: ignore[return-value]
    flat: list[Any] = []
    origins: list[int] = []  # 0: given by hand; else the number of the collection
    for number, given in enumerate(mounts, 1):
        if isinstance(given, (str, bytes, os.PathLike, *_ITEMS)) or not isinstance(given, Iterable):
            flat.append(given)
            origins.append(0)
        else:
            inner = list(given)
            flat += inner
            origins += [number] * len(inner)
    if not all(isinstance(item, _ITEMS) for item in flat):
        flat = [item if isinstance(item, _ITEMS) else _Stray(item) for item in flat]
        return tuple(flat)
    if len(flat) > 1:
        _one_a_place(flat, origins)
        if any(origins):
            _leave_out_shown(flat, origins)
    return tuple(flat)


def _one_a_place(items: list[Item], origins: list[int]) -> None:
    """Leave out repetitions, and the ready-made where something else is given later."""
    where: dict[str, int] = {}
    kept = 0
    for item, origin in zip(tuple(items), tuple(origins), strict=True):
        place = place_of(item)
        position = where.get(place, kept)
        if position < kept and items[position] == item:
            continue
        if position < kept and origins[position] in (0, origin):
            position = kept
        items[position], origins[position] = item, origin
        where[place] = position
        kept += position == kept
    del items[kept:], origins[kept:]


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


def _leave_out_shown(items: list[Item], origins: list[int]) -> None:
    """Leave out ready-made binds that a later bind of a parent directory shows at the same place.

    Ready-made lists overlap: one binds /usr/lib/python3, the next one /usr.
    """
    kept: list[Item] = []
    later: dict[str, int] = {}  # targets of binds, and where they are in kept
    for item, origin in zip(reversed(items), reversed(origins), strict=True):
        if isinstance(item, Mount) and item.type == "bind":
            position = _cover_of(item, kept, later) if origin else None
            if position is not None:
                cover = kept[position]
                if isinstance(cover, Mount) and cover.optional and not item.optional:
                    # What must be there inside a directory makes the directory one of them.
                    kept[position] = evolve(cover, optional=False)
                continue
            later[item.target] = len(kept)
        kept.append(item)
    items[:] = reversed(kept)


def _cover_of(bind: Mount, kept: list[Item], later: dict[str, int]) -> int | None:
    """Where in *kept* a later bind is that shows what *bind* shows, with the same restrictions."""
    if not later:
        return None
    for parent in parents(bind.target):
        if parent in later:
            cover = kept[later[parent]]
            shown = (
                isinstance(cover, Mount)
                and cover.recursive
                and f"{cover.source}{bind.target[len(parent) :]}" == bind.source
                and _restrictions(cover) == _restrictions(bind)
            )
            return later[parent] if shown else None
    return None


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
    problems: Problems,
    items: tuple[Any, ...],
    namespaces: frozenset[str],
    rootfs: str | None,
    default_files: bool = True,
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
            _check_ground(
                problems, item, above, seen, namespaces, rootfs, default_files is not False
            )
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
    default_files: bool,
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
        if not default_files:
            continue
        if directory in _DEFAULT_TMPFS:
            return
        if _KERNEL_PLACES.get(directory) in namespaces:
            problems.append(f"{name_of(entry)} lies in {directory}, which takes no files")
            return
    if rootfs is not None:
        problems.append(f"{name_of(entry)} lies in rootfs; nothing is written to the host")


_DEFAULT_TMPFS = frozenset({"/dev", "/dev/shm", "/tmp"})
"""The tmpfs that every container has by default; a test compares them with plan/defaults.py."""
