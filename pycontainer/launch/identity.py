"""Whose ids of the host a container gets, and who writes its maps.

An ordinary user maps itself: one id, its own.  Host root's containers get ids that nobody has,
so that a process that breaks out is nobody; their binds are idmapped (``trees.py``).
"""

from __future__ import annotations

import errno
import os

from attrs import frozen

from ..declare.capabilities import CAPABILITIES
from ..declare.container import Container
from ..errors import SetupError

__all__ = ["FIRST_ID", "IDS", "Identity", "identity_of", "is_host_root"]

FIRST_ID = 0x70000000
"""1879048192: the first id above what systemd-nspawn and user managers hand out (systemd's
docs/UIDS-GIDS.md leaves 1879048192-2147483647 unused), aligned to 65,536."""
IDS = 65536

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


@frozen
class Identity:
    """The maps of one container, as the kernel reads them.

    Attributes:
        uid_map, gid_map: of the container's user namespace.
        by_parent: the helper writes them, not the container's own process.
        lock_uid_map, lock_gid_map: of the second namespace that locks the mounts.
        mount_uid_map, mount_gid_map: for idmapped binds: ids on disk to ids outside; "" where
            binds are not idmapped.
        host_root: host root's own ids are kept out.
    """

    uid_map: str
    gid_map: str
    by_parent: bool
    lock_uid_map: str
    lock_gid_map: str
    mount_uid_map: str = ""
    mount_gid_map: str = ""
    host_root: bool = False


def identity_of(container: Container, host_root: bool) -> Identity:
    """The maps for *container* when this process starts it.

    Raises:
        SetupError: EPERM, for ids that an ordinary user does not have.
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
    uids = _extents(container.guest_uid, container.host_uids, container.host_uid_start, host_root)
    gids = _extents(
        container.guest_gid,
        container.host_uids,
        container.host_gid_start
        if container.host_gid_start is not None
        else container.host_uid_start,
        host_root,
        group=True,
    )
    explicit = container.host_uid_start is not None or container.host_gid_start is not None
    idmapped = host_root and not explicit
    return Identity(
        _text(uids),
        _text(gids),
        host_root,
        _text(tuple((inside, inside, count) for inside, _, count in uids)),
        _text(tuple((inside, inside, count) for inside, _, count in gids)),
        _mount_map(container.guest_uid) if idmapped else "",
        _mount_map(container.guest_gid) if idmapped else "",
        host_root,
    )


def _extents(
    guest: int, count: int, start: int | None, host_root: bool, group: bool = False
) -> tuple[Extent, ...]:
    if host_root:
        if start is not None:
            return ((guest if count == 1 else 0, start, count),)
        if guest < IDS:
            return ((0, FIRST_ID, IDS),)
        return ((0, FIRST_ID, IDS), (guest, FIRST_ID + IDS, 1))
    own = os.getegid() if group else os.geteuid()
    if count == 1 and start in (None, own):
        return ((guest, own, 1),)
    kind = "group" if group else "user"
    raise SetupError(
        errno.EPERM,
        f"an ordinary {kind} can map one id, its own ({own}); "
        f"host_uids={count} from {start} needs root",
        None,
        "map ids",
    )


def _mount_map(guest: int) -> str:
    """Files of host root appear as the guest's, and what the guest writes is host root's.

    Ids on disk keep their numbers otherwise; the guest's number and 0 change places.
    """
    if guest == 0:
        return f"0 {FIRST_ID} {IDS}\n"
    outside = FIRST_ID + (guest if guest < IDS else IDS)
    lines = [(0, outside, 1)]
    if guest >= IDS:
        lines.append((1, FIRST_ID + 1, IDS - 1))
    else:
        lines += [(1, FIRST_ID + 1, guest - 1)] if guest > 1 else []
        lines.append((guest, FIRST_ID, 1))
        lines += [(guest + 1, FIRST_ID + guest + 1, IDS - guest - 1)] if guest < IDS - 1 else []
    return _text(tuple(lines))
