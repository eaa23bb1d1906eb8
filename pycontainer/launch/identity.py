"""Whose ids of the host a container gets, and who writes its maps.

An ordinary user maps itself: one id, its own; or its subordinate ids as well (``ranges.py``).
Host root's containers get ids that nobody has, so that a process that breaks out is nobody; their
binds are idmapped (``trees.py``).
"""

from __future__ import annotations

import errno
import os
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from ..declare.capabilities import CAPABILITIES
from ..declare.record import Record, set_field
from ..errors import SetupError

if TYPE_CHECKING:
    from ..declare.container import Container

__all__ = ["FIRST_ID", "IDS", "Identity", "identity_of", "is_host_root"]

FIRST_ID = 0x70000000
"""1879048192: the first id above what systemd-nspawn and user managers hand out (systemd's
docs/UIDS-GIDS.md leaves 1879048192-2147483647 unused), aligned to 65,536."""
IDS = 65536
LONGEST_MAP = 255
"""Bytes of a map in an order to the helper (``struct pc_order``)."""

_NEEDED = sum(1 << CAPABILITIES[name] for name in ("CAP_SETUID", "CAP_SETGID", "CAP_SYS_ADMIN"))


def is_host_root(capabilities: int) -> bool:
    """Whether this process may hand out any id of the host.

    Root of a container holds the capabilities too, over fewer ids: it counts as an ordinary user.
    """
    if capabilities & _NEEDED != _NEEDED or os.geteuid() != 0:
        return False
    with open("/proc/self/uid_map") as file:
        return file.read().split() == ["0", "0", "4294967295"]


Extent = tuple[int, int, int]  # first id inside, first id outside, how many


def _text(extents: tuple[Extent, ...]) -> str:
    return "".join("{} {} {}\n".format(*extent) for extent in extents)


class Identity(Record):
    """The maps of one container, as the kernel reads them.

    Attributes:
        uid_map, gid_map: of the container's user namespace.
        by_parent: the helper writes them, not the container's own process.
        lock_uid_map, lock_gid_map: of the second namespace that locks the mounts.
        mount_uid_map, mount_gid_map: for idmapped binds: ids on disk to ids outside; "" where
            binds are not idmapped.
        host_root: host root's own ids are kept out.
    """

    __slots__ = (  # noqa: RUF023 - in the order of __init__()
        "uid_map",
        "gid_map",
        "by_parent",
        "lock_uid_map",
        "lock_gid_map",
        "mount_uid_map",
        "mount_gid_map",
        "host_root",
    )

    uid_map: str
    gid_map: str
    by_parent: bool
    lock_uid_map: str
    lock_gid_map: str
    mount_uid_map: str
    mount_gid_map: str
    host_root: bool

    def __init__(
        self,
        uid_map: str,
        gid_map: str,
        by_parent: bool,
        lock_uid_map: str,
        lock_gid_map: str,
        mount_uid_map: str = "",
        mount_gid_map: str = "",
        host_root: bool = False,
    ) -> None:
        set_field(self, "uid_map", uid_map)
        set_field(self, "gid_map", gid_map)
        set_field(self, "by_parent", by_parent)
        set_field(self, "lock_uid_map", lock_uid_map)
        set_field(self, "lock_gid_map", lock_gid_map)
        set_field(self, "mount_uid_map", mount_uid_map)
        set_field(self, "mount_gid_map", mount_gid_map)
        set_field(self, "host_root", host_root)

    def host_uid(self, guest: int) -> int:
        """The id of the host that the container knows as *guest*."""
        for extent in self.uid_map.splitlines():
            inside, outside, count = map(int, extent.split())
            if inside <= guest < inside + count:
                return outside + guest - inside
        return guest  # without a user namespace ids are the host's


def identity_of(
    container: Container,
    host_root: bool,
    sizes: tuple[tuple[int, ...], tuple[int, ...]] | None = None,
) -> Identity:
    """The maps for *container* when this process starts it.

    Arguments:
        host_root: the caller may hand out any id.
        sizes: of the ranges in the helper's own namespace (``ranges.py``), or None.

    Raises:
        SetupError: EPERM, for ids that an ordinary user does not have; EINVAL, E2BIG for too many.
    """
    if "user" not in container.namespaces:
        if not host_root:
            raise SetupError(
                errno.EPERM,
                "only host root can make namespaces without a new 'user' namespace; "
                "leave 'user' in namespaces=",
                None,
                "make the namespaces",
            )
        return Identity("", "", False, "", "", host_root=True)
    starts = container.host_uid_start, container.host_gid_start
    if starts[1] is None:
        starts = starts[0], starts[0]
    guests = container.guest_uid, container.guest_gid
    count = container.host_uids
    if host_root:
        uids, gids = (
            _of_host_root(guest, count, start) for guest, start in zip(guests, starts, strict=True)
        )
    elif sizes is not None:
        uids = _of_ranges(guests[0], count, sizes[0], starts[0], os.geteuid(), "u")
        gids = _of_ranges(guests[1], count, sizes[1], starts[1], os.getegid(), "g")
    else:
        uids = _own_id(guests[0], os.geteuid(), starts[0], "user")
        gids = _own_id(guests[1], os.getegid(), starts[1], "group")
    idmapped = host_root and starts == (None, None)
    return Identity(
        _text(uids),
        _text(gids),
        host_root or sizes is not None,
        _text(tuple((inside, inside, count) for inside, _, count in uids)),
        _text(tuple((inside, inside, count) for inside, _, count in gids)),
        _mount_map(guests[0]) if idmapped else "",
        _mount_map(guests[1]) if idmapped else "",
        host_root,
    )


def _of_host_root(guest: int, count: int, start: int | None) -> tuple[Extent, ...]:
    if start is not None:
        return ((guest if count == 1 else 0, start, count),)
    if count > IDS:
        raise SetupError(
            errno.EINVAL,
            f"host root's containers get {IDS} ids, not {count}; "
            "choose the host's ids yourself with host_uid_start= and host_gid_start=",
            None,
            "map ids",
        )
    if guest < IDS:
        return ((0, FIRST_ID, IDS),)
    return ((0, FIRST_ID, IDS), (guest, FIRST_ID + IDS, 1))


def _of_ranges(
    guest: int, count: int, sizes: tuple[int, ...], start: int | None, own: int, kind: str
) -> tuple[Extent, ...]:
    """From the helper's namespace, where 0 is the user: the guest is the user, whatever its id; or
    the container's 0 is, with the user's own id as the *start*.

    The kernel takes no extent that spans two extents of the outer namespace (map_write() in
    kernel/user_namespace.c), so they are split along its ranges.
    """
    path = f"/etc/sub{kind}id"
    if start not in (None, own):
        raise SetupError(
            errno.EPERM,
            f"an ordinary user's first id is its own ({own}), not {start}; the others are its "
            "subordinate ids, in their order",
            path,
            "map ids",
        )
    if count > sum(sizes):
        raise SetupError(
            errno.EPERM,
            f"this user has {sum(sizes)} ids, not {count}",
            path,
            "map ids",
        )
    borders = set(accumulate(sizes))
    split: list[Extent] = []
    for inside, outside, length in _exchanged(guest if start is None else 0, 0, count):
        end = outside + length
        cuts = sorted(border for border in borders if outside < border < end)
        for start, stop in pairwise([outside, *cuts, end]):
            split.append((inside + start - outside, start, stop - start))
    if len(_text(tuple(split))) > LONGEST_MAP:
        raise SetupError(
            errno.E2BIG,
            f"this user's {count} ids lie in {len(sizes)} ranges, which is too many at once",
            path,
            "map ids",
        )
    return tuple(split)


def _own_id(guest: int, own: int, start: int | None, kind: str) -> tuple[Extent, ...]:
    if start not in (None, own):
        raise SetupError(
            errno.EPERM,
            f"an ordinary user can map its own {kind} id ({own}), not {start}; "
            "leave host_uid_start and host_gid_start out",
            None,
            "map ids",
        )
    return ((guest, own, 1),)


def _exchanged(guest: int, outside: int, count: int) -> tuple[Extent, ...]:
    """*count* ids from 0 to *outside* on, but 0 and *guest* have changed places."""
    if guest == 0:
        return ((0, outside, count),)
    extents = [(0, outside + guest, 1), (1, outside + 1, guest - 1), (guest, outside, 1)]
    extents.append((guest + 1, outside + guest + 1, count - guest - 1))
    return tuple(extent for extent in extents if extent[2] > 0)


def _mount_map(guest: int) -> str:
    """Files of host root appear as the guest's, and what the guest writes is host root's.

    Ids on disk keep their numbers otherwise; the guest's number and 0 change places.
    """
    if guest >= IDS:
        return _text(((0, FIRST_ID + IDS, 1), (1, FIRST_ID + 1, IDS - 1)))
    return _text(_exchanged(guest, FIRST_ID, IDS))
