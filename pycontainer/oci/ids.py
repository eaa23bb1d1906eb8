"""The host's ids of a container that the caller is going to run."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..declare.container import Container
from ..launch.identity import identity_of, is_host_root
from .spec import Extent

__all__ = ["caller_maps", "effective_capabilities", "outside"]

Maps = tuple[tuple[Extent, ...], tuple[Extent, ...]]


def caller_maps(container: Container) -> Maps:
    """The maps of users and of groups; empty without a user namespace.

    They are those that the container has natively.  An ordinary user's has another id besides,
    where there are subordinate ones: runc needs a 0 in the container.

    Raises:
        SetupError: the caller does not have these ids.
    """
    if "user" not in container.namespaces:
        return (), ()
    host_root = is_host_root(effective_capabilities())
    if not host_root and container.host_uids > 1:
        from ..launch.ranges import sizes_of_ranges

        identity = identity_of(container, host_root, sizes_of_ranges())
        return (
            _beyond(_extents(identity.uid_map), "/etc/subuid", os.geteuid()),
            _beyond(_extents(identity.gid_map), "/etc/subgid", os.getegid()),
        )
    identity = identity_of(container, host_root)
    uids, gids = _extents(identity.uid_map), _extents(identity.gid_map)
    if not host_root and (uids[0][0] or gids[0][0]):
        uids, gids = _with_zero(uids, "/etc/subuid"), _with_zero(gids, "/etc/subgid")
    return uids, gids


def _with_zero(extents: tuple[Extent, ...], path: str) -> tuple[Extent, ...]:
    from ..launch.ranges import subordinate_ranges

    ranges = subordinate_ranges(path)
    if extents[0][0] == 0 or not ranges:
        return extents
    return ((0, ranges[0][0], 1), *extents)


def _beyond(extents: tuple[Extent, ...], path: str, own: int) -> tuple[Extent, ...]:
    """*extents* in ids of the host, from those of a helper that has the caller's ids from 0 on."""
    from ..launch.ranges import subordinate_ranges

    found: list[Extent] = []
    for inside, helper, count in extents:
        first = 0
        for start, length in ((own, 1), *subordinate_ranges(path)):
            if first <= helper < first + length:
                found.append((inside, start + helper - first, count))
            first += length
    return tuple(found)


def outside(extents: Sequence[Extent], inside: int, default: int = -1) -> int:
    """The host's id of one in the container; *default* if it has none."""
    for first, start, count in extents:
        if first <= inside < first + count:
            return start + inside - first
    return default


def _extents(text: str) -> tuple[Extent, ...]:
    rows = (line.split() for line in text.splitlines())
    return tuple((int(inside), int(outside), int(count)) for inside, outside, count in rows)


def effective_capabilities() -> int:
    """The caller's, a bit each; without the compiled helper."""
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith("CapEff:"):
                return int(line.split()[1], 16)
    return 0
