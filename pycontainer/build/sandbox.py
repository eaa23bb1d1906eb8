"""From a step to the config.json of an OCI runtime.  Pure: nothing of the host is looked at."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from typing import Any

from ..declare.checks import StrPath
from ..declare.mounts import Mount
from .step import Step

__all__ = ["CAPABILITIES", "HOSTS", "HOSTS_TEXT", "Extent", "secret_name", "step_spec"]

Extent = tuple[int, int, int]
"""Of a map of ids: the first inside, the first outside, how many."""

VERSION = "1.0.1"

CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in (
        "CHOWN",  # change file ownership, as package managers do
        "DAC_OVERRIDE",  # bypass file permissions
        "FSETID",  # keep set-id bits when a file changes
        "FOWNER",  # change what others own
        "MKNOD",  # make device files; those that a mount does not allow stay closed
        "SETGID",
        "SETUID",
        "SETFCAP",  # give files capabilities
        "SETPCAP",  # drop some of these
        "SYS_CHROOT",
        "KILL",  # signal other users' processes of the step
        "AUDIT_WRITE",  # sudo and su write to the audit log
    )
)
"""What a step's root may do: what installing software takes, and nothing about the network, the
kernel, or mounts."""

MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
)
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

SYNC_CALLS = ("fsync", "fdatasync", "msync", "sync", "syncfs", "sync_file_range")
"""What a step with ``fast_sync`` does not wait for."""

ARCHITECTURES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}
"""A machine's system call tables, by its name in uname(2): a filter must know of each."""

HOSTS = "hosts"
HOSTS_TEXT = b"127.0.0.1 localhost builder\n"
"""The file among a step's own, and its content, that is its /etc/hosts."""

NOFILE = 1024
TTY_GROUP = 5
"""The group of terminals on Debian and Fedora, which devpts is told."""

_CLOSED = ["nosuid", "noexec", "nodev"]


def secret_name(number: int) -> str:
    """The file among a step's own that holds its secret of that number."""
    return f"secrets/{number}"


def step_spec(
    rootfs: StrPath,
    step: Step,
    *,
    files: StrPath = "",
    machine: str | None = None,
    resolv_conf: StrPath | None = "/etc/resolv.conf",
    uid_map: Iterable[Extent] = (),
    gid_map: Iterable[Extent] = (),
) -> dict[str, Any]:
    """The config.json of *step* in *rootfs*, as data for ``json``.

    Links among its mounts are not in it, and optional binds are, as if they were none: ``run_step``
    looks at the host.

    Arguments:
        rootfs: the root file system that it changes; a relative path is the bundle's.
        files: the directory of ``hosts`` and ``secrets/0`` and so on, the step's own files; "" for
            the bundle's.
        machine: whose system calls a filter is for, "x86_64" or "aarch64"; None for this one's.
        resolv_conf: the host's file that a step with a network has; None where there is none.
        uid_map, gid_map: the ids that an ordinary user gives to a user namespace of the step's own;
            none for root, whose steps have the host's ids.

    Raises:
        ValueError: a machine that is not known, for ``fast_sync``.
    """
    uids, gids = list(uid_map), list(gid_map)
    rootless = bool(uids)
    namespaces = ["pid", "ipc", "uts", "mount"]
    if not step.network:
        namespaces.append("network")
    linux: dict[str, Any] = {
        "namespaces": [{"type": kind} for kind in namespaces],
        "maskedPaths": list(MASKED),
        "readonlyPaths": list(READONLY),
    }
    if rootless:
        linux["namespaces"].append({"type": "user"})
        linux["uidMappings"] = [_mapping(extent) for extent in uids]
        linux["gidMappings"] = [_mapping(extent) for extent in gids]
    if step.fast_sync:
        linux["seccomp"] = _seccomp(machine or platform.machine())
    uid, gid = step.user
    return {
        "ociVersion": VERSION,
        "process": {
            "terminal": False,
            "user": {"uid": uid, "gid": gid},
            "args": list(step.argv),
            "env": [f"{name}={value}" for name, value in step.env.items()],
            "cwd": step.cwd,
            "capabilities": {
                kind: list(CAPABILITIES)
                for kind in ("bounding", "effective", "inheritable", "permitted")
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": NOFILE, "soft": NOFILE}],
            "noNewPrivileges": False,
        },
        "root": {"path": os.fspath(rootfs), "readonly": False},
        "hostname": step.hostname,
        "mounts": _mounts(step, os.fspath(files), resolv_conf, gids),
        "linux": linux,
    }


def _mapping(extent: Extent) -> dict[str, int]:
    inside, outside, count = extent
    return {"containerID": inside, "hostID": outside, "size": count}


def _mount(place: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": place, "type": kind, "source": source, "options": list(options)}


def _file(place: str, source: str, rootless: bool) -> dict[str, Any]:
    # An ordinary user may not take attributes away that the source's mount has (mount_setattr(2),
    # "locked"), and a runtime that sets others than these takes them away.
    more = _CLOSED if rootless else []
    return _mount(place, "bind", source, "rbind", "rprivate", "ro", *more)


def _mounts(
    step: Step, files: str, resolv_conf: StrPath | None, gids: list[Extent]
) -> list[dict[str, Any]]:
    rootless = bool(gids)
    terminals = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    if not gids or any(first <= TTY_GROUP < first + count for first, _, count in gids):
        terminals.append(f"gid={TTY_GROUP}")  # EINVAL for a group that is not mapped
    sys = _mount("/sys", "sysfs", "sysfs", *_CLOSED, "ro")
    if rootless and step.network:
        # A new one belongs to the owner of the network (sysfs_init_fs_context() in the kernel's
        # fs/sysfs/mount.c), which is the host's.
        sys = _mount("/sys", "bind", "/sys", "rbind", "rprivate", *_CLOSED, "ro", "rro")
    mounts = [
        _mount("/proc", "proc", "proc", *_CLOSED),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount("/dev/pts", "devpts", "devpts", *terminals),
        sys,
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro", *_CLOSED),
        _mount("/dev/shm", "tmpfs", "shm", *_CLOSED, "mode=1777", "size=65536k"),
        _mount("/dev/mqueue", "mqueue", "mqueue", *_CLOSED),
        _file("/etc/hosts", os.path.join(files, HOSTS), rootless),
    ]
    if step.network and resolv_conf is not None:
        mounts.append(_file("/etc/resolv.conf", os.fspath(resolv_conf), rootless))
    mounts += [
        _file(place, os.path.join(files, secret_name(number)), rootless)
        for number, place in enumerate(step.secrets)
    ]
    mounts += [_bind(mount) for mount in step.mounts if isinstance(mount, Mount)]
    return mounts


def _bind(mount: Mount) -> dict[str, Any]:
    options = ["rbind" if mount.recursive else "bind", "rprivate", "nosuid", "nodev"]
    if mount.noexec:
        options.append("noexec")
    if mount.writable:
        options.append("rw")
    else:
        # "ro" is for the uppermost mount alone (the OCI runtime specification, config.md).
        options += ["ro", "rro"] if mount.recursive else ["ro"]
    return _mount(mount.target, "bind", mount.source or "", *options)


def _seccomp(machine: str) -> dict[str, Any]:
    known = ARCHITECTURES.get({"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine))
    if known is None:
        raise ValueError(
            f"fast_sync: the system calls of {machine!r} are not known, only those of "
            f"{' and '.join(ARCHITECTURES)}"
        )
    # An errno of 0: the call returns 0 and does nothing.
    rule = {"names": list(SYNC_CALLS), "action": "SCMP_ACT_ERRNO", "errnoRet": 0}
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": list(known),
        "syscalls": [rule],
    }
