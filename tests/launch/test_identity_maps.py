"""Who gets which ids, by value: nothing is asked of the kernel."""

from __future__ import annotations

import errno
import os

import pytest

from pycontainer import Container, SetupError, extend
from pycontainer.launch.identity import FIRST_ID, IDS, identity_of


def extents(text: str) -> list[tuple[int, ...]]:
    return [tuple(map(int, line.split())) for line in text.splitlines()]


def test_first_id():
    """systemd's docs/UIDS-GIDS.md: unused from 1879048192 to 2147483647."""
    assert FIRST_ID == 1879048192
    assert FIRST_ID % IDS == 0
    assert FIRST_ID + 2 * IDS <= 2147483647


# ---- an ordinary user


def test_ordinary_user():
    identity = identity_of(Container(), False)
    assert extents(identity.uid_map) == [(0, os.geteuid(), 1)]
    assert extents(identity.gid_map) == [(0, os.getegid(), 1)]
    assert not identity.by_parent
    assert (identity.mount_uid_map, identity.mount_gid_map) == ("", "")
    assert not identity.host_root


@pytest.mark.parametrize("uid", [1, 1000, 65535, 65536, 4294967294])
def test_ordinary_user_guest(uid):
    identity = identity_of(Container(guest_uid=uid, guest_gid=7), False)
    assert extents(identity.uid_map) == [(uid, os.geteuid(), 1)]
    assert extents(identity.gid_map) == [(7, os.getegid(), 1)]
    assert extents(identity.lock_uid_map) == [(uid, uid, 1)]


def test_ordinary_user_own_start():
    own = Container(host_uid_start=os.geteuid(), host_gid_start=os.getegid())
    assert identity_of(own, False) == identity_of(Container(), False)


@pytest.mark.parametrize("field", ["host_uid_start", "host_gid_start"])
def test_ordinary_user_start_of_another(field):
    starts = {"host_uid_start": os.geteuid(), "host_gid_start": os.getegid()} | {field: 123456}
    with pytest.raises(SetupError, match="123456") as caught:
        identity_of(Container(**starts), False)
    assert caught.value.errno == errno.EPERM
    assert caught.value.step == "map ids"


def test_ordinary_user_without_user_namespace():
    with pytest.raises(SetupError, match="'user'") as caught:
        identity_of(Container(namespaces={"mnt", "pid"}), False)
    assert caught.value.errno == errno.EPERM


# ---- host root


def test_host_root():
    identity = identity_of(Container(), True)
    assert extents(identity.uid_map) == [(0, FIRST_ID, IDS)]
    assert extents(identity.gid_map) == [(0, FIRST_ID, IDS)]
    assert extents(identity.lock_uid_map) == [(0, 0, IDS)]
    assert extents(identity.mount_uid_map) == [(0, FIRST_ID, IDS)]
    assert identity.by_parent
    assert identity.host_root


def test_host_root_guest():
    """All ids are there; on disk the guest's number and 0 change places."""
    identity = identity_of(Container(guest_uid=1000, guest_gid=1), True)
    assert extents(identity.uid_map) == [(0, FIRST_ID, IDS)]
    assert extents(identity.mount_uid_map) == [
        (0, FIRST_ID + 1000, 1),
        (1, FIRST_ID + 1, 999),
        (1000, FIRST_ID, 1),
        (1001, FIRST_ID + 1001, IDS - 1001),
    ]
    assert extents(identity.mount_gid_map) == [
        (0, FIRST_ID + 1, 1),
        (1, FIRST_ID, 1),
        (2, FIRST_ID + 2, IDS - 2),
    ]


@pytest.mark.parametrize("uid", [IDS, 100_000, 4294967294])
def test_host_root_guest_beyond_the_range(uid):
    identity = identity_of(Container(guest_uid=uid), True)
    assert extents(identity.uid_map) == [(0, FIRST_ID, IDS), (uid, FIRST_ID + IDS, 1)]
    assert extents(identity.mount_uid_map) == [(0, FIRST_ID + IDS, 1), (1, FIRST_ID + 1, IDS - 1)]


def test_host_root_guest_last_of_the_range():
    identity = identity_of(Container(guest_uid=IDS - 1), True)
    assert extents(identity.mount_uid_map) == [
        (0, FIRST_ID + IDS - 1, 1),
        (1, FIRST_ID + 1, IDS - 2),
        (IDS - 1, FIRST_ID, 1),
    ]


@pytest.mark.parametrize(
    ("options", "uids", "gids"),
    [
        ({"host_uid_start": 0}, (0, 0, 1), (0, 0, 1)),
        ({"host_uid_start": 5000, "host_gid_start": 6000}, (0, 5000, 1), (0, 6000, 1)),
        ({"host_uid_start": 5000, "host_uids": 10}, (0, 5000, 10), (0, 5000, 10)),
        ({"host_uid_start": 5000, "guest_uid": 42}, (42, 5000, 1), (0, 5000, 1)),
        (
            {"host_uid_start": 5000, "guest_uid": 4, "guest_gid": 5, "host_uids": 10},
            (0, 5000, 10),
            (0, 5000, 10),
        ),
    ],
)
def test_host_root_explicit(options, uids, gids):
    identity = identity_of(Container(**options), True)
    assert extents(identity.uid_map) == [uids]
    assert extents(identity.gid_map) == [gids]
    assert identity.mount_uid_map == identity.mount_gid_map == ""


def test_host_root_without_user_namespace():
    identity = identity_of(Container(namespaces={"mnt", "pid"}, lock_mounts=False), True)
    assert identity.uid_map == identity.gid_map == ""


# ---- ranges: in the helper's namespace 0 is the user, then its subordinate ids in order


def test_ranges_one():
    identity = identity_of(Container(host_uids=1001), False, ((1, 65536), (1, 65536)))
    assert extents(identity.uid_map) == [(0, 0, 1), (1, 1, 1000)]
    assert extents(identity.lock_uid_map) == [(0, 0, 1), (1, 1, 1000)]
    assert identity.by_parent
    assert not identity.host_root


def test_ranges_guest_is_the_user():
    container = Container(host_uids=100, guest_uid=42)
    identity = identity_of(container, False, ((1, 65536), (1, 65536)))
    assert extents(identity.uid_map) == [(0, 42, 1), (1, 1, 41), (42, 0, 1), (43, 43, 57)]


def test_ranges_from_the_users_own_id_on():
    """The container's 0 is the user, whoever the guest is."""
    own = Container(host_uid_start=os.geteuid(), host_gid_start=os.getegid(), host_uids=10)
    container = extend(own, guest_uid=5, guest_gid=6)
    identity = identity_of(container, False, ((1, 20), (1, 20)))
    assert extents(identity.uid_map) == [(0, 0, 1), (1, 1, 9)]
    assert extents(identity.gid_map) == [(0, 0, 1), (1, 1, 9)]


@pytest.mark.parametrize("field", ["host_uid_start", "host_gid_start"])
def test_ranges_from_another_id_on(field):
    starts = {"host_uid_start": os.geteuid(), "host_gid_start": os.getegid()} | {field: 123456}
    with pytest.raises(SetupError, match=r"first id is its own .*, not 123456") as caught:
        identity_of(Container(host_uids=10, **starts), False, ((1, 20), (1, 20)))
    assert caught.value.errno == errno.EPERM


def test_ranges_are_split_along_the_outer_extents():
    identity = identity_of(Container(host_uids=30), False, ((1, 10, 5, 100), (1, 40)))
    assert extents(identity.uid_map) == [(0, 0, 1), (1, 1, 10), (11, 11, 5), (16, 16, 14)]
    assert extents(identity.gid_map) == [(0, 0, 1), (1, 1, 29)]


def test_ranges_split_and_guest():
    identity = identity_of(Container(host_uids=20, guest_uid=12), False, ((1, 10, 100), (1, 40)))
    assert extents(identity.uid_map) == [
        (0, 12, 1),
        (1, 1, 10),
        (11, 11, 1),
        (12, 0, 1),
        (13, 13, 7),
    ]


@pytest.mark.parametrize("guest", [0, 1, 9, 10, 11, 29])
def test_ranges_every_id_once_and_within_one_extent(guest):
    sizes = (1, 10, 5, 100)
    container = Container(host_uids=30, guest_uid=guest, guest_gid=guest)
    identity = identity_of(container, False, (sizes, sizes))
    inside: list[int] = []
    outside: list[int] = []
    borders = [sum(sizes[:count]) for count in range(1, len(sizes))]
    for first, start, count in extents(identity.uid_map):
        inside += range(first, first + count)
        outside += range(start, start + count)
        assert not any(start < border < start + count for border in borders)
    assert sorted(inside) == sorted(outside) == list(range(30))
    assert outside[inside.index(guest)] == 0


@pytest.mark.parametrize(
    ("sizes", "path"),
    [(((1, 16), (1, 40)), "/etc/subuid"), (((1, 40), (1, 16)), "/etc/subgid")],
)
def test_ranges_too_small(sizes, path):
    with pytest.raises(SetupError, match="17 ids, not 18") as caught:
        identity_of(Container(host_uids=18), False, sizes)
    assert (caught.value.errno, caught.value.filename) == (errno.EPERM, path)
    identity_of(Container(host_uids=17), False, sizes)


def test_ranges_too_many():
    """A map that the order has no room for is refused, not cut off."""
    sizes = (1, *([10] * 40))
    with pytest.raises(SetupError, match="41 ranges") as caught:
        identity_of(Container(host_uids=401), False, (sizes, sizes))
    assert caught.value.errno == errno.E2BIG
    identity = identity_of(Container(host_uids=101), False, (sizes, sizes))
    assert len(extents(identity.uid_map)) == 11


def test_host_root_more_ids_than_it_gives_out():
    with pytest.raises(SetupError, match="host_uid_start=") as caught:
        identity_of(Container(host_uids=IDS + 1), True)
    assert caught.value.errno == errno.EINVAL
    chosen = identity_of(Container(host_uids=IDS + 1, host_uid_start=IDS), True)
    assert extents(chosen.uid_map) == [(0, IDS, IDS + 1)]
