"""Who the function is, and what it may do."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pycontainer import (
    SetupError,
    bind,
    call_with_container,
    diagnose,
    host_system,
    start_container,
    tmpfs,
)


def ids():
    return os.getresuid(), os.getresgid()


def status(*fields):
    lines = Path("/proc/self/status").read_text().splitlines()
    found = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return {field: found[field] for field in fields}


def capability_sets():
    sets = status("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    return {name: int(bits, 16) for name, bits in sets.items()}


def test_ids_are_0_by_default():
    assert call_with_container([], ids) == ((0, 0, 0), (0, 0, 0))


def test_guest_ids_42_and_77():
    inside = call_with_container([], ids, guest_uid=42, guest_gid=77)
    assert inside == ((42, 42, 42), (77, 77, 77))


def test_guest_ids_beyond_16_bits():
    inside = call_with_container([], ids, guest_uid=100_000, guest_gid=200_000)
    assert inside == ((100_000,) * 3, (200_000,) * 3)


def test_supplementary_groups():
    groups = call_with_container([], os.getgroups)
    # An ordinary user's cannot be dropped; those that are not mapped show as the overflow id.
    assert set(groups) <= {65534, 0}


@pytest.mark.parametrize(("uid", "gid", "name"), [(0, 0, "root"), (42, 77, "guest")])
def test_passwd_and_group_for_the_guest_ids(uid, gid, name):
    def fn():
        user = pwd.getpwuid(os.getuid())
        return user.pw_name, user.pw_gid, grp.getgrgid(os.getgid()).gr_name

    group = "root" if gid == 0 else "guest"
    assert call_with_container([], fn, guest_uid=uid, guest_gid=gid) == (name, gid, group)


def test_expanduser():
    assert call_with_container([], lambda: os.path.expanduser("~")) == "/"


def test_process_may_be_looked_at_by_itself():
    """Being dumpable: /proc/self belongs to the function's user."""

    def fn():
        return os.stat("/proc/self").st_uid, os.listdir("/proc/self/fd")

    uid, fds = call_with_container([], fn, guest_uid=42, guest_gid=77)
    assert uid == 42
    assert fds


def test_files_that_it_makes_are_its_own():
    def fn():
        Path("/tmp/made").touch()
        made = os.stat("/tmp/made")
        return made.st_uid, made.st_gid

    assert call_with_container([], fn, guest_uid=42, guest_gid=77) == (42, 77)


@pytest.mark.parametrize("uid", [0, 42])
def test_files_made_in_a_writable_bind_are_the_callers(tmp_path, uid):
    tmp_path.chmod(0o755)

    def fn():
        Path("/work/made").touch()
        return os.stat("/work/made").st_uid

    inside = call_with_container(
        [bind(tmp_path, "/work", writable=True)], fn, guest_uid=uid, guest_gid=uid
    )
    assert inside == uid
    made = (tmp_path / "made").stat()
    assert (made.st_uid, made.st_gid) == (os.geteuid(), os.getegid())


# ---- ranges of ids


def can_map_ranges():
    done = subprocess.run(["sh", "-c", "command -v newuidmap"], capture_output=True, check=False)
    if os.geteuid() == 0:
        return True
    name = pwd.getpwuid(os.geteuid()).pw_name
    try:
        lines = Path("/etc/subuid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return done.returncode == 0 and any(line.startswith(f"{name}:") for line in lines)


def test_host_uids(tmp_path):
    def fn():
        directory = Path("/tmp/of_another")
        directory.mkdir()
        os.chown(directory, 1000, 1000)
        os.setgroups([5])
        os.setgid(1000)
        os.setuid(1000)
        return os.stat(directory).st_uid, os.getuid(), os.getgid(), os.getgroups()

    if can_map_ranges():
        assert call_with_container([], fn, host_uids=1001) == (1000, 1000, 1000, [5])
    else:
        with pytest.raises(SetupError) as caught:
            call_with_container([], fn, host_uids=1001)
        assert caught.value.errno == errno.EPERM
        assert caught.value.__notes__


def test_host_uids_map_from_0():
    if not can_map_ranges():
        with pytest.raises(SetupError):
            call_with_container([], os.getuid, host_uids=10)
        return
    inside = call_with_container([], ids, host_uids=100, guest_uid=42, guest_gid=77)
    assert inside == ((42, 42, 42), (77, 77, 77))


@pytest.mark.unprivileged
def test_host_uid_start_of_another():
    with pytest.raises(SetupError, match="can map its own user id") as caught:
        call_with_container([], ids, host_uid_start=0)
    assert caught.value.errno == errno.EPERM


@pytest.mark.unprivileged
def test_host_uid_start_of_oneself():
    inside = call_with_container(
        [], ids, host_uid_start=os.geteuid(), host_gid_start=os.getegid(), guest_uid=7
    )
    assert inside == ((7, 7, 7), (0, 0, 0))


@pytest.mark.is_root
def test_host_root_is_not_mapped_by_default():
    with start_container([]) as running:
        maps = Path(f"/proc/{running.pid}/uid_map").read_text().split()
        assert maps == ["0", str(0x70000000), "65536"]


@pytest.mark.is_root
def test_host_uid_start():
    with start_container([], host_uid_start=5000, host_gid_start=6000, host_uids=3) as running:
        uids = Path(f"/proc/{running.pid}/uid_map").read_text().split()
        gids = Path(f"/proc/{running.pid}/gid_map").read_text().split()
    assert (uids, gids) == (["0", "5000", "3"], ["0", "6000", "3"])


# ---- privileges


def test_capabilities_all():
    sets = call_with_container([], capability_sets)
    everything = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert sets["CapEff"] & 1 << 21  # CAP_SYS_ADMIN, over the container
    assert sets["CapEff"].bit_count() >= everything - 1


def test_capabilities_named():
    sets = call_with_container([], capability_sets, capabilities={"CAP_KILL", "net_raw"})
    wanted = 1 << 5 | 1 << 13
    assert sets == dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), wanted)


def test_capabilities_none():
    sets = call_with_container([], capability_sets, capabilities=())
    assert set(sets.values()) == {0}


def test_capabilities_named_of_a_guest_that_is_not_root():
    sets = call_with_container(
        [], capability_sets, capabilities={"CAP_KILL"}, guest_uid=42, guest_gid=42
    )
    assert set(sets.values()) == {1 << 5}


def test_capabilities_reach_a_program():
    """Ambient: execve(2) keeps them for a user who is not root."""

    def fn():
        shell = "while read -r name bits; do [ $name = CapEff: ] && echo $bits; done"
        return subprocess.run(
            ["/bin/sh", "-c", f"{shell} </proc/self/status"], capture_output=True, check=False
        ).stdout

    options: Any = {"guest_uid": 42, "guest_gid": 42, "capabilities": {"CAP_KILL"}}
    found = call_with_container([host_system()], fn, preload=["subprocess"], **options)
    assert int(found, 16) == 1 << 5


@pytest.mark.parametrize("value", [True, False])
def test_no_new_privs(value):
    found = call_with_container([], lambda: status("NoNewPrivs"), no_new_privs=value)
    assert found == {"NoNewPrivs": str(int(value))}


@pytest.mark.parametrize("pid1", [True, False])
def test_lock_mounts(tmp_path, pid1):
    """umount(2) of a locked mount is EINVAL, though the function holds CAP_SYS_ADMIN."""

    def fn():
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        return libc.umount2(b"/mnt", 2), ctypes.get_errno()

    mounts = [tmpfs("/mnt")]
    preload = ["ctypes"]
    assert call_with_container(mounts, fn, preload=preload, child_is_pid1=pid1) == (
        -1,
        errno.EINVAL,
    )
    unlocked = call_with_container(
        mounts, fn, preload=preload, lock_mounts=False, child_is_pid1=pid1
    )
    assert unlocked == (0, 0)


def test_locked_read_only_bind_cannot_be_remounted(tmp_path):
    def fn():
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        bind_remount = 32 | 4096
        return libc.mount(None, b"/mnt", None, bind_remount, None), ctypes.get_errno()

    assert call_with_container([bind(tmp_path, "/mnt")], fn, preload=["ctypes"]) == (
        -1,
        errno.EPERM,
    )


def test_diagnose_agrees_that_containers_run():
    assert diagnose()
