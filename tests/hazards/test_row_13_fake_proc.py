"""Row 13: trusting the container's /proc (runc CVE-2025-52881, LXC CVE-2015-1334).

Id maps, labels and limits are set by writing to files of /proc.  Where the container has put
something else there, the writes succeed and nothing has been set.  What is written to is opened
on the host's /proc, before the container has a say.
"""

from __future__ import annotations

import contextlib
import ctypes
import os

import pytest

from pycontainer import (
    ContainerExitError,
    call_with_container,
    container_excursion,
    start_container,
    tmpfs,
)

FAKES = ("setgroups", "uid_map", "gid_map", "status", "attr/current", "ns/user", "fd/0")


def policy():
    """What holds for this process, asked of the kernel and not of any file."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, data) == 0
    bounding = sum((libc.prctl(23, number, 0, 0, 0) == 1) << number for number in range(41))
    return {
        "uid": os.getresuid(),
        "gid": os.getresgid(),
        "effective": data[0] | data[3] << 32,
        "permitted": data[1] | data[4] << 32,
        "bounding": bounding,
        "no_new_privs": libc.prctl(39, 0, 0, 0, 0),
        # A locked mount does not come off, whatever the capabilities.
        "locked": libc.umount2(b"/dev/shm", 2) != 0,
        "set-id": libc.prctl(21, 0, 0, 0, 0),
    }


def cover_proc():
    """Put a file system of the container's own over /proc, with files that swallow writes."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", b"/proc", b"tmpfs", 0, None) != 0:
        raise OSError(ctypes.get_errno(), "mount")
    for process in ("self", "thread-self", *map(str, range(1, 60))):
        for name in FAKES:
            path = f"/proc/{process}/{name}"
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w"):
                pass
    os.makedirs("/proc/sys/kernel")


OPTIONS = [
    {},
    {"capabilities": []},
    {"capabilities": ["CAP_CHOWN"], "guest_uid": 1000, "guest_gid": 1000},
    {"lock_mounts": False},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("method", ["forkserver", "fork"])
def test_covered_while_it_is_populated(options, method):
    """Between the two halves of the set-up: the lock and its maps come after."""
    expected = call_with_container([], policy, preload=preload(method), start_method=method,
                                   **options)  # fmt: skip
    found = call_with_container(
        [],
        policy,
        populate_filesystem=cover_proc,
        preload=preload(method),
        start_method=method,
        **options,
    )
    assert found == expected
    assert found["locked"] == (options.get("lock_mounts") is None)


def preload(method):
    return () if method == "fork" else ("ctypes",)


@pytest.mark.parametrize("options", OPTIONS)
def test_covered_by_a_mount(options):
    """The plan itself has no /proc, but a tmpfs there."""
    expected = call_with_container([], policy, preload=["ctypes"], **options)
    found = call_with_container([tmpfs("/proc")], policy, preload=["ctypes"], **options)
    assert found == expected


@pytest.mark.parametrize("options", [{}, {"guest_uid": 1000, "guest_gid": 1000}])
def test_covered_before_an_excursion(options):
    """By the container's own process: who visits it is told nothing by that /proc."""

    def fn():
        import time

        found = policy()
        cover_proc()
        with open("/tmp/ready", "w"):
            pass
        while not os.path.exists("/tmp/stop"):
            time.sleep(0.005)
        return found

    with start_container([], fn, preload=["ctypes"], **options) as running:
        while not container_excursion(running, lambda: os.path.exists("/tmp/ready")):
            pass
        found = [
            container_excursion(running, policy, preload=["ctypes"], owner=owner)
            for owner in (False, True)
        ]
        # It was in the covered mount namespace, and it saw the fake.
        assert container_excursion(running, lambda: os.path.getsize("/proc/1/status")) == 0
        # A container takes its visitors along when it ends, and this visit is the reason.
        with contextlib.suppress(ContainerExitError):
            container_excursion(running, lambda: os.close(os.open("/tmp/stop", os.O_CREAT)))
        target = running.result(timeout=10)
    assert found == [target] * 2


def test_fake_that_is_written_to_would_be_seen():
    """The fakes are files that take writes; so the tests above would meet them."""

    def fn():
        with open("/proc/self/uid_map", "w") as swallowed:
            return swallowed.write("0 0 1\n")

    assert call_with_container([], fn, populate_filesystem=cover_proc, preload=["ctypes"]) == 6
