"""Row 26: host root mapped 0 to 0.

The kernel lets uid 0 of the host write core_pattern (a program that it runs as root), sysrq and
sysfs, whatever capabilities it lacks.  By default it is nobody in a container; where a caller asks
for the host's ids, these files are read-only and stay so.
"""

from __future__ import annotations

import os

import pytest

from pycontainer import (
    NAMESPACES,
    Container,
    Mount,
    bind,
    call_with_container,
    proc,
    run_container,
    sysfs,
)

IDENTITIES = [
    {},
    {"guest_uid": 1000, "guest_gid": 1000},
    pytest.param({"host_uid_start": 0, "host_gid_start": 0}, marks=pytest.mark.is_root),
    pytest.param({"host_uid_start": 0, "host_uids": 65536}, marks=pytest.mark.is_root),
    pytest.param({"host_uid_start": 0, "capabilities": ()}, marks=pytest.mark.is_root),
]

# Of the host as a whole.  Some do not exist on every host, which is as good.
SETTINGS = [
    "sys/kernel/core_pattern",
    "sys/kernel/modprobe",
    "sys/kernel/hotplug",
    "sys/kernel/sysrq",
    "sys/kernel/randomize_va_space",
    "sys/kernel/unprivileged_userns_clone",
    "sys/vm/overcommit_memory",
    "sys/vm/drop_caches",
    "sys/fs/protected_symlinks",
    "sys/fs/binfmt_misc/register",
    "sys/fs/suid_dumpable",
    "sysrq-trigger",
    "irq/default_smp_affinity",
    "acpi/wakeup",
    "scsi/scsi",
    "mtrr",
    "kcore",
    "kmsg",
]
IN_SYSFS = [
    "power/state",
    "power/disk",
    "kernel/uevent_helper",
    "kernel/profiling",
    "kernel/mm/transparent_hugepage/enabled",
    "module/kernel/parameters/panic",
    "bus/pci/rescan",
    "firmware/acpi/hotplug/force_remove",
]


def opened(paths):
    """Those of *paths* that can be opened for writing, and unexpected refusals."""
    import errno

    found = []
    for path in paths:
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
            try:
                os.open(path, flags)
                found.append(path)
            except OSError as error:
                if error.errno not in (errno.EROFS, errno.EACCES, errno.ENOENT, errno.EPERM):
                    found.append((path, error.strerror))
    return found


@pytest.mark.parametrize("identity", IDENTITIES)
def test_settings_of_the_kernel(identity):
    paths = [f"/proc/{name}" for name in SETTINGS] + [f"/sys/{name}" for name in IN_SYSFS]
    assert os.path.exists("/proc/sys/kernel/core_pattern")
    assert call_with_container([], lambda: opened(paths), timeout=20, **identity) == []


@pytest.mark.parametrize("identity", IDENTITIES)
def test_all_of_sysfs(identity):
    def fn():
        found = []
        for directory, _, files in os.walk("/sys"):
            found += opened([f"{directory}/{name}" for name in files])
        return found

    assert call_with_container([], fn, timeout=20, **identity) == []


@pytest.mark.parametrize("identity", IDENTITIES)
def test_they_stay_read_only(identity):
    """Nor can it be uncovered, remounted, or mounted anew."""

    def fn():
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        os.mkdir("/tmp/new")
        libc.umount2(b"/proc/sys", 2)
        libc.umount2(b"/proc", 2)
        libc.mount(None, b"/proc/sys", None, 32 | 4096, None)  # MS_REMOUNT | MS_BIND
        libc.mount(None, b"/sys", None, 32 | 4096, None)
        found = opened(["/proc/sys/kernel/core_pattern", "/sys/power/state"])
        for kind in (b"proc", b"sysfs"):
            if libc.mount(b"none", b"/tmp/new", kind, 0, None) == 0:
                found += opened(["/tmp/new/sys/kernel/core_pattern", "/tmp/new/power/state"])
        if libc.unshare(0x10000000 | 0x20000 | 0x40000000) == 0:  # NEWUSER, NEWNS, NEWNET
            for kind in (b"proc", b"sysfs"):
                if libc.mount(b"none", b"/tmp/new", kind, 0, None) == 0:
                    found += opened(["/tmp/new/sys/kernel/core_pattern", "/tmp/new/power/state"])
        return found

    assert call_with_container([], fn, preload=("ctypes",), timeout=20, **identity) == []


@pytest.mark.parametrize("identity", IDENTITIES)
def test_a_proc_and_a_sysfs_elsewhere(identity):
    paths = ["/p/sys/kernel/core_pattern", "/p/sysrq-trigger", "/s/power/state"]
    mounts = [proc("/p"), sysfs("/s")]
    assert call_with_container(mounts, lambda: opened(paths), timeout=20, **identity) == []


@pytest.mark.parametrize(
    "options", [{"host_uid_start": 0, "host_gid_start": 0}, {"namespaces": NAMESPACES - {"user"}}]
)
def test_writable_sysfs_is_refused_with_the_hosts_root(options):
    mounts: list[Mount] = [Mount("/sys", "sysfs", writable=True)]
    with pytest.raises(ValueError, match="sysfs at /sys is writable"):
        Container(mounts, **options)
    assert Container([sysfs("/s")], **options).mounts
    assert call_with_container(mounts, lambda: opened(["/sys/power/state"]), timeout=20) == []


@pytest.mark.is_root
def test_default_ids_are_nobodys():
    def fn():
        with open("/proc/self/uid_map") as uids, open("/proc/self/gid_map") as gids:
            return uids.read().split(), gids.read().split()

    assert call_with_container([], lambda: (os.getuid(), os.getgid()), timeout=20) == (0, 0)
    pid = []
    run_container(
        [],
        lambda: None,
        process_spawned_hook=lambda running: pid.append(os.stat(f"/proc/{running.pid}").st_uid),
        timeout=20,
    )
    assert pid[0] >= 0x70000000


@pytest.mark.parametrize("identity", IDENTITIES)
def test_files_made_in_a_bind_are_the_callers(tmp_path, identity):
    """Nobody's ids never reach the disk."""
    folder = tmp_path / "bind"
    folder.mkdir()
    before = folder / "before"
    before.write_text("old")

    def fn():
        with open("/data/file", "w") as file:
            file.write("new")
        os.mkdir("/data/directory")
        os.symlink("x", "/data/link")
        os.mkfifo("/data/fifo")
        owners = {os.lstat(f"/data/{name}").st_uid for name in os.listdir("/data")}
        with open("/data/before", "a") as file:
            file.write("er")
        return owners

    seen = call_with_container([bind(folder, "/data", writable=True)], fn, timeout=20, **identity)
    assert seen == {identity.get("guest_uid", 0)}
    assert before.read_text() == "older"
    assert len(list(folder.iterdir())) == 5
    for path in folder.iterdir():
        assert (path.lstat().st_uid, path.lstat().st_gid) == (os.geteuid(), os.getegid()), path
