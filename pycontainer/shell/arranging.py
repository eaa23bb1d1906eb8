"""Mounts and entries from many hands, put together into one root.

Software, the shell's own files and what the user shares are each declared without knowing of the
others.  Here they are sorted out: of two things at one place the later one stays, whatever lies
below a link is moved to where the link leads, and parents come before children.

Nothing can be made in a host's directory, so a root file system below other things is not mounted
in one piece: a directory in which something else has its place is made anew, and what the root
file system has in it is shown there, each thing by itself.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from attrs import evolve

from ..declare.arrangement import Item, place_of
from ..declare.checks import parents
from ..declare.entries import Directory, Symlink
from ..declare.mounts import Mount, Overlay, bind
from ..declare.part import Part

__all__ = ["arranged", "flattened"]

# What every container has by itself, and no root file system needs to bring.
_DEFAULTS = frozenset({"/dev", "/proc", "/sys", "/tmp"})


def flattened(parts: Iterable[Part]) -> Iterator[Item]:
    """The items of *parts*, among which there may be views of the host."""
    for part in parts:
        if isinstance(part, tuple):
            yield from part
        else:
            yield part  # type: ignore[misc]


def arranged(
    own: Iterable[Item],
    software: Iterable[Item],
    given: Iterable[Item],
    *,
    rootfs: str | None = None,
    writable: bool = False,
) -> list[Item]:
    """What a container with all of them is made of, in an order in which it can be made.

    Arguments:
        own: the shell's own files, which give way to the others, and are left out below what the
            user shares.
        software: what programs need.
        given: what the user asks for by name.
        rootfs: a directory of the host that is below all of it.
        writable: changes to *rootfs* can be made, and end with the container.

    Raises:
        ValueError: links lead round and round.
        OSError: *rootfs* cannot be read.
    """
    given = list(given)
    shared = {place_of(item) for item in given}
    kept = [item for item in own if shared.isdisjoint(parents(place_of(item)))]
    places: dict[str, Item] = {}
    for item in (*kept, *software, *given):
        places[place_of(item)] = item
    places = _moved_along_links(places, rootfs)
    if rootfs is not None:
        places |= dict(_of_rootfs(rootfs, places, writable))
    # A parent's components are the beginning of a child's.
    order = sorted(places.values(), key=lambda item: place_of(item).split("/"))
    return _without_repetitions(order)


def _moved_along_links(places: dict[str, Item], rootfs: str | None) -> dict[str, Item]:
    links = {path: item.to for path, item in places.items() if isinstance(item, Symlink)}
    if not links and rootfs is None:
        return places
    moved: dict[str, Item] = {}
    for path, item in places.items():
        place = _followed(path, links, rootfs)
        moved[place] = item if place == path else _at(item, place)
    return moved


def _at(item: Item, place: str) -> Item:
    """*item*, but at *place*."""
    if isinstance(item, (Mount, Overlay)):
        return evolve(item, target=place)
    return evolve(item, path=place)


def _followed(path: str, links: dict[str, str], rootfs: str | None) -> str:
    """*path* with the links among the directories above it followed.

    Raises:
        ValueError: there is no end to them.
    """
    for _ in range(41):  # the kernel follows 40 links (path_resolution(7))
        for parent in reversed(list(parents(path))):
            to = links.get(parent)
            if to is None and rootfs is not None:
                # Nothing above it is a link, or the loop would have begun anew.
                where = rootfs + parent
                to = os.readlink(where) if os.path.islink(where) else None
            if to is not None:
                leads = os.path.join(os.path.dirname(parent), to)
                path = "/" + os.path.normpath(leads + path[len(parent) :]).lstrip("/")
                break
        else:
            return path
    raise ValueError(f"{path}: too many links above it")


def _of_rootfs(rootfs: str, places: dict[str, Item], writable: bool) -> Iterator[tuple[str, Item]]:
    """What *rootfs* has beside *places*."""
    crowded = {parent for place in places for parent in parents(place)}
    taken = {place for place, item in places.items() if not isinstance(item, Directory)}
    waiting = [("/", rootfs)]
    while waiting:
        directory, source = waiting.pop()
        with os.scandir(source) as entries:
            for entry in entries:
                place = os.path.join(directory, entry.name)
                if place in _DEFAULTS or place in taken:
                    continue
                # A link is never followed here: it would lead over the host's directories.
                if place in crowded:
                    if entry.is_dir(follow_symlinks=False):
                        mode = stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode)
                        yield place, Directory(place, mode | 0o500)
                        waiting.append((place, entry.path))
                elif entry.is_symlink():
                    yield place, Symlink(place, os.readlink(entry.path))
                elif entry.is_dir(follow_symlinks=False) and writable:
                    yield place, Overlay(place, entry.path)
                elif entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False):
                    yield place, bind(entry.path, place)


def _without_repetitions(items: list[Item]) -> list[Item]:
    """Leave out binds that only repeat what a bind above shows at the same place."""
    kept: list[Item] = []
    binds: dict[str, Item] = {}  # every mount so far, by its place
    for item in items:
        place = place_of(item)
        if isinstance(item, Mount) and item.type == "bind":
            above = next((binds[one] for one in parents(place) if one in binds), None)
            if (
                isinstance(above, Mount)
                and above.type == "bind"
                and above.recursive
                and f"{above.source}{place[len(above.target) :]}" == item.source
                and evolve(above, target=place, source=item.source, optional=item.optional) == item
            ):
                continue
        if isinstance(item, (Mount, Overlay)):
            binds[place] = item
        kept.append(item)
    return kept
