"""Row 27: writable cgroups (CVE-2022-0492).

Who may write to a cgroup's files lifts its limits, moves out of it, or has the host run a program
when it becomes empty (release_agent).  A container with every capability over its own namespaces
can mount cgroup file systems; there must be nothing in them for it.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import pytest

from pycontainer import DEVNULL, Limits, Verdict, call_with_container, run_container, tmpfs

HIERARCHIES = ("cgroup2", "memory", "pids", "cpu", "cpuacct", "freezer", "devices", "name=systemd")


CLONE_NEWCGROUP = 0x02000000


def mount_all(fresh):
    """Mount what can be mounted, each below /m; which ones.

    *fresh*: in a cgroup namespace of its own making: those of a locked container's outer
    namespace are not its own to mount.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    made = []
    if fresh:
        assert libc.unshare(CLONE_NEWCGROUP) == 0
    for name in HIERARCHIES:
        place = f"/m/{name}"
        os.makedirs(place, exist_ok=True)
        kind = b"cgroup2" if name == "cgroup2" else b"cgroup"
        options = None if name == "cgroup2" else name.encode()
        if libc.mount(b"none", place.encode(), kind, 0, options) == 0:
            made.append(name)
    return made


def look(fresh):
    mounted = mount_all(fresh)
    writable = []
    for name in mounted:
        for path in Path("/m", name).rglob("*"):
            if path.is_file():
                try:
                    os.close(os.open(path, os.O_WRONLY))
                    writable.append(str(path))
                except OSError:
                    pass
    cgroups = {line.split(":", 2)[2] for line in Path("/proc/self/cgroup").read_text().split()}
    return mounted, writable, cgroups


LIMITS = [None, Limits(memory="100m", processes=50, cpu_time=20)]


@pytest.mark.parametrize("limits", LIMITS)
def test_none_is_mounted(limits):
    def fn():
        return [line for line in Path("/proc/self/mountinfo").open() if " - cgroup" in line]

    assert call_with_container([], fn, limits=limits) == []


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("limits", LIMITS)
def test_nothing_is_writable(limits, fresh):
    mounted, writable, _ = call_with_container(
        [tmpfs("/m")], lambda: look(fresh), limits=limits, lock_mounts=fresh
    )
    assert mounted  # else this looks at nothing
    assert writable == []


@pytest.mark.is_root
@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("host_ids", [{}, {"host_uid_start": 0, "host_gid_start": 0}])
def test_the_limits_lie_outside(host_ids, fresh):
    """Even for who may write: what it sees begins below them."""

    def fn():
        # With swap first: memory alone cannot have more.
        texts = {
            "memory.memsw.limit_in_bytes": "-1",
            "memory.limit_in_bytes": "-1",
            "cgroup.procs": "0",
        }
        for name in mount_all(fresh):
            for file, text in texts.items():
                for path in Path("/m", name).rglob(file):
                    try:
                        path.write_text(text)
                    except OSError:
                        pass
        return len(bytearray(b"x" * (200 << 20)))

    options: Any = {
        "limits": Limits(memory="100m", wall_time=60),
        "lock_mounts": fresh,
        # A regular file as stdout, and host root's own ids may mount nothing at all (row 31).
        **dict.fromkeys(("stdin", "stdout", "stderr"), DEVNULL),
        **host_ids,
    }
    assert "memory" in call_with_container([tmpfs("/m")], lambda: mount_all(fresh), **options)
    completed = run_container([tmpfs("/m")], fn, **options)
    assert completed.verdict is Verdict.MEMORY


def test_its_own_cgroup_is_all_it_sees():
    limits = Limits(memory="100m", cpu_time=20)
    _, _, cgroups = call_with_container([tmpfs("/m")], lambda: look(True), limits=limits)
    assert cgroups == {"/"}
