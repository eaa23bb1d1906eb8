"""The file system that every container with a "mnt" namespace has before its own mounts.

With an empty root: /proc, /sys, a small /dev, /tmp, and /etc/passwd, group and hosts.  With a
``rootfs`` the mounts alone, each where the directory has a place for it: nothing is written there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from ..declare.container import Container
from .steps import MountAttr, Op, Step, StepFlag

__all__ = ["NULL_NUMBER", "TMPFS_SIZE", "default_steps"]

TMPFS_SIZE = "10%"
"""The bound of each tmpfs for which none is given: the kernel's own is half of the RAM
(tmpfs(5)), so two of them could take all of it."""

_NO_SUID_DEV = int(MountAttr.NO_SUID | MountAttr.NO_DEV)
_CLOSED = int(MountAttr.NO_SUID | MountAttr.NO_DEV | MountAttr.NO_EXEC)
_DEVICE_ATTRIBUTES = int(MountAttr.READ_ONLY | MountAttr.NO_SUID | MountAttr.NO_EXEC)
_DEV_ATTRIBUTES = int(MountAttr.NO_SUID | MountAttr.NO_EXEC | MountAttr.STRICT_ATIME)
_SHM_SIZE = f"size={TMPFS_SIZE}"

NULL_NUMBER = os.makedev(1, 3)
_DEVICES = {
    "null": NULL_NUMBER,
    "zero": os.makedev(1, 5),
    "full": os.makedev(1, 7),
    "random": os.makedev(1, 8),
    "urandom": os.makedev(1, 9),
    "tty": os.makedev(5, 0),
}
"""Devices that programs take for granted, with their numbers (the kernel's
Documentation/admin-guide/devices.txt), so that nothing else can pass for them."""

_DEV_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}

_PROC = Step(Op.MOUNT, "/proc", "proc", numbers=(_CLOSED,))
# In a user namespace the kernel refuses a new sysfs when the caller's own is masked or absent
# (mount_too_revealing() in fs/namespace.c); few programs miss it.
_SYS = Step(
    Op.MOUNT,
    "/sys",
    "sysfs",
    flags=int(StepFlag.IGNORE_EPERM),
    numbers=(_CLOSED | int(MountAttr.READ_ONLY),),
)
# Devices cannot be opened on a nodev mount, and binds inherit nothing from what they lie on: /dev
# itself may be noexec and is for names, hence its size.
_DEV = (
    Step(Op.MOUNT, "/dev", "tmpfs", ("size=1m", "mode=755"), numbers=(_DEV_ATTRIBUTES,)),
    *(
        Step(
            Op.BIND,
            f"/dev/{name}",
            f"/dev/{name}",
            flags=int(StepFlag.DEVICE | StepFlag.OPTIONAL),
            numbers=(_DEVICE_ATTRIBUTES, number),
        )
        for name, number in _DEVICES.items()
    ),
    *(Step(Op.MAKE_SYMLINK, f"/dev/{name}", to) for name, to in _DEV_LINKS.items()),
    # No gid=5 as on most hosts: with one group mapped the kernel refuses any other (EINVAL).
    Step(
        Op.MOUNT,
        "/dev/pts",
        "devpts",
        ("newinstance", "ptmxmode=0666", "mode=0620"),
        numbers=(int(MountAttr.NO_SUID | MountAttr.NO_EXEC),),
    ),
    Step(Op.MAKE_SYMLINK, "/dev/ptmx", "pts/ptmx"),
    Step(Op.MOUNT, "/dev/shm", "tmpfs", (_SHM_SIZE, "mode=1777"), numbers=(_NO_SUID_DEV,)),
    Step(Op.CONSOLE, "/dev/console"),
)
_TMP = Step(Op.MOUNT, "/tmp", "tmpfs", (_SHM_SIZE, "mode=1777"), numbers=(_NO_SUID_DEV,))

NOBODY = 65534
"""What unmapped ids look like: /proc/sys/kernel/overflowuid (user_namespaces(7))."""


def default_steps(container: Container) -> Iterator[Step]:
    """The default mounts and files of *container*, as if it had no mounts of its own.

    Whether their places must be made first is for the compiler to see.
    """
    if "pid" in container.namespaces:
        yield _PROC
    if "net" in container.namespaces:
        yield _SYS
    yield from _DEV
    yield _TMP
    if container.rootfs is not None:
        return
    yield Step(Op.WRITE_FILE, "/etc/passwd", content=_passwd(container), mode=0o644)
    yield Step(Op.WRITE_FILE, "/etc/group", content=_group(container), mode=0o644)
    if "net" in container.namespaces:
        yield Step(Op.WRITE_FILE, "/etc/hosts", content=_hosts(container), mode=0o444)


def _passwd(container: Container) -> bytes:
    uid, gid = container.guest_uid, container.guest_gid
    users = {0: "root:x:0:0:root:/:/bin/sh"}
    users[NOBODY] = f"nobody:x:{NOBODY}:{NOBODY}:nobody:/:/bin/sh"
    name = {0: "root", NOBODY: "nobody"}.get(uid, "guest")
    users[uid] = f"{name}:x:{uid}:{gid}:{name}:/:/bin/sh"
    return "".join(f"{line}\n" for _, line in sorted(users.items())).encode()


def _group(container: Container) -> bytes:
    groups = {container.guest_gid: "guest", 0: "root", NOBODY: "nogroup"}
    return "".join(f"{name}:x:{gid}:\n" for gid, name in sorted(groups.items())).encode()


def _hosts(container: Container) -> bytes:
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    if container.hostname != "localhost":
        lines.append(f"127.0.0.1 {container.hostname}")
    return os.fsencode("".join(f"{line}\n" for line in lines))
