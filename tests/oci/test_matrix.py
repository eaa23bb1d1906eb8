"""The same container is the same natively, under runc and under crun: what a probe sees inside.

What differs is listed in ``DIFFERENCES``, and each row of it in docs/oci.md.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import pycontainer as pc
from pycontainer import Container, bind, directory, file, overlay, symlink, tmpfs
from pycontainer.oci import run_bundle, write_bundle

ROOT = os.geteuid() == 0


class Difference(NamedTuple):
    """A fact that may differ: its name, its value natively and elsewhere, as patterns."""

    key: str
    name: str
    native: str
    other: str
    who: str = "runc crun root user"


# A fact that is absent on one side has the value "".
DIFFERENCES = (
    Difference("process 1", "(pid|parent|session leader)", "2|1|0", "1|0|1"),
    Difference("process 1", "death signal", "9", "0"),
    Difference("HOME", "env HOME", "", "/.*"),
    Difference("lock", "call umount", "22", "0"),
    Difference("lock", "call sethostname", "1", "0"),
    Difference("lock", "[ug]id_map .*", ".*", ".*"),
    Difference("/dev", "mount /dev/(null|zero|full|random|urandom|tty)", "(.* ro .*)?", ".* rw.*"),
    # Without a user namespace they make nodes, and no mounts.
    Difference(
        "/dev", "mount /dev/(null|zero|full|random|urandom|tty)", ".* ro .*", "", "runc crun root"
    ),
    Difference("/dev", "file /dev/core", "", ".* -> /proc/kcore", "crun root user"),
    Difference("/dev", "file /dev(/(null|zero|full|random|urandom|tty))?", "", ".*"),
    Difference("/dev", "file /dev/(fd|stdin|stdout|stderr|ptmx|pts/ptmx)", ".*", ".* 0:0 .*"),
    Difference("/dev", "file /dev/mqueue", "41777 65534:65534 .*", "41777 0:(65534|0) .*"),
    Difference("root", "mount /", "tmpfs ro nodev nosuid .*", "disk ro"),
    Difference("root", "mount /", "tmpfs rw nodev nosuid .*", "disk rw"),
    Difference("root", "mount /", "disk (r[ow]) nodev", "disk r[ow]"),
    Difference("rootfs", "file /(tmp|data|dev/shm)", "4[01]... .*", "40755 .*"),
    Difference("masks", "file /hidden", "40555 .*", "4.*"),
    Difference("masks", "mount /(file|hidden|proc/kcore)", ".* ro .*", ".*"),
    Difference("masks", "mount /(tmp|proc/.*)", ".* ro nodev .*", ".* ro.*", "crun root user"),
    Difference("places", "file /w/deep", "40755 (.*)", "41755 .*", "crun root user"),
    Difference("ids", "groups", "[0-9]* ?", "(0 )?", "runc crun user"),
    Difference("ids", "setgroups", "deny", "allow", "runc crun user"),
    Difference("ids", "file /dev/pts", "40755 65534:65534", "40755 0:0", "runc crun user"),
    Difference("overlay", "mount /over", "overlay .*", "overlay rw.*"),
    Difference("overlay", "mount /over/lower0", "disk ro .*", ""),
    Difference("access times", "mount /still", "(disk ro) noatime( .*)", "disk ro .*"),
    Difference(
        "binds of root",
        "file .*",
        "[0-9]+ (0:0|1000:1000|1000:100|5:5).*",
        "[0-9]+ 65534:65534.*",
        "runc crun root",
    ),
    Difference(
        "set-id",
        "(bounding|effective|permitted)",
        "000001ff7fffffff",
        "000001ffffffffff",
        "runc crun root",
    ),
    Difference("set-id", "call chmod set-id", "1", "0", "runc crun root"),
    Difference("set-id", "seccomp", "2", "0", "runc crun root"),
)


def facts_of(text: str) -> dict[str, str]:
    """What the probe said, by name; what differs from run to run is made the same."""
    facts: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition("\t")
        if name == "mount":
            name, value = _mount(value)
        elif name.startswith("namespace "):
            kind = name.split()[1]
            value = "host's" if value == os.readlink(f"/proc/self/ns/{kind}") else "own"
        elif name == "env":
            variable, _, value = value.partition("=")
            name = f"env {variable}"
        elif name in ("uid_map", "gid_map", "fd"):
            name = f"{name} {value.split()[0]}"
        facts[name] = value
    return facts


def _mount(line: str) -> tuple[str, str]:
    """A line of mountinfo (proc_pid_mountinfo(5)), without numbers and what is the disk's own."""
    before, _, after = line.partition(" - ")
    place, flags, *propagation = before.split()[4:]
    kind, _, options = after.split()
    words = set(flags.split(",")) - {"idmapped", "relatime"}
    known = {"size", "mode", "nr_inodes", "ptmxmode", "lowerdir"}
    own = {one for one in options.split(",") if one.partition("=")[0] in known}
    if kind not in _KINDS:
        kind, own = "disk", set()
    access = "ro" if "ro" in words else "rw"
    rest = sorted(words - {"ro", "rw"})
    return f"mount {place}", " ".join([kind, access, *rest, *propagation, *sorted(own)])


_KINDS = {"tmpfs", "proc", "sysfs", "devpts", "mqueue", "overlay", "cgroup2", "devtmpfs"}


def differences(native: dict[str, str], other: dict[str, str], runtime: str) -> list[str]:
    """What differs, and is not in the table."""
    found = []
    who = {runtime, "root" if ROOT else "user"}
    for name in sorted(native.keys() | other.keys()):
        here, there = native.get(name, ""), other.get(name, "")
        if here == there:
            continue
        if not any(
            who <= set(row.who.split())
            and re.fullmatch(row.name, name)
            and re.fullmatch(row.native, here)
            and re.fullmatch(row.other, there)
            for row in DIFFERENCES
        ):
            found.append(f"{name}: {here!r} natively, {there!r} under {runtime}")
    return found


def host(folder: Path) -> Path:
    """Files of the host to bind, readable by all."""
    place = folder / "host"
    (place / "below").mkdir(parents=True)
    (place / "file").write_text("of the host")
    (place / "below" / "deep").write_text("deep")
    return place


def rootfs(folder: Path) -> Path:
    place = folder / "rootfs"
    for name in ("proc", "sys", "dev", "tmp", "etc", "data"):
        (place / name).mkdir(parents=True)
    (place / "etc" / "motd").write_text("hello")
    (place / "probe").touch()
    return place


Made = Callable[[Path], dict[str, Any]]


def fixed(*mounts: Any, **fields: Any) -> Made:
    return lambda folder: {"mounts": mounts, **fields}


CONTAINERS: dict[str, Made] = {
    "default": fixed(),
    "named": fixed(hostname="box", cwd="/tmp", env={"A": "b c", "PATH": "/bin", "HOME": "/h"}),
    "ids": fixed(guest_uid=1000, guest_gid=100),
    "nobody": fixed(guest_uid=65534, guest_gid=65534, capabilities=()),
    "entries": fixed(
        directory("/srv/a", 0o700),
        file("/srv/a/b", "text", 0o640),
        file("/srv/run", b"\x00\xff", 0o755),
        symlink("/srv/link", "/etc/hosts"),
    ),
    "files in tmpfs": fixed(
        tmpfs("/work", size="1m", mode=0o750),
        file("/work/a/b", "text", 0o600),
        directory("/tmp/d", 0o711),
        symlink("/tmp/l", "d"),
        file("/dev/shm/f", "shared"),
    ),
    "tmpfs": fixed(
        tmpfs("/one"),
        tmpfs("/two/three", size="2m", mode=0o1777),
        pc.Mount("/four", "tmpfs", noexec=True, atime="none", options=["nr_inodes=10"]),
        pc.Mount("/five", "tmpfs", writable=False, atime="strict"),
        pc.Mount("/six", "tmpfs", nosuid=False, nodev=False),
    ),
    "binds": lambda folder: {
        "mounts": [
            bind(folder / "host", "/ro"),
            bind(folder / "host" / "file", "/one/file"),
            bind(folder / "host", "/plain", recursive=False, noexec=True),
            bind(folder / "host", "/dev-and-suid", nosuid=False, nodev=False),
            bind(folder / "absent", "/absent", optional=True),
            bind(folder / "host", "/there", optional=True),
        ]
    },
    # The kernel lets an ordinary user change those of no mount of the host.
    "access times": lambda folder: {
        "mounts": [pc.Mount("/still", "bind", folder / "host", atime="none")] if ROOT else []
    },
    "bind in tmpfs": lambda folder: {
        "mounts": [tmpfs("/w"), bind(folder / "host", "/w/deep/er"), file("/w/f", "x")]
    },
    "devices": fixed(pc.mqueue(), pc.proc("/again/proc"), pc.sysfs("/again/sys")),
    "capabilities": fixed(capabilities=["chown", "kill", "sys_chroot"]),
    "capabilities of a user": fixed(capabilities=["chown", "kill"], guest_uid=1000, guest_gid=1000),
    "not ambient": fixed(capabilities=["chown", "kill"], ambient_capabilities=False),
    "not ambient of a user": fixed(
        capabilities=["chown"], ambient_capabilities=False, guest_uid=5, guest_gid=5
    ),
    "no capabilities": fixed(capabilities=()),
    "new privileges": fixed(no_new_privs=False),
    "limits": fixed(
        limits=pc.Limits(
            open_files=64, file_size="1m", stack="1m", processes=50, cpu_time=100, wall_time=50
        )
    ),
    "no stack limit": fixed(limits=pc.Limits(stack="unlimited", cpu_affinity=[0])),
    "writable root": fixed(file("/f", "x"), writable_root=True),
    "network": fixed(namespaces=pc.NAMESPACES - {"net"}),
    "ipc, names": fixed(namespaces=pc.NAMESPACES - {"ipc", "uts"}),
    "cgroups": fixed(namespaces=pc.NAMESPACES - {"cgroup"}),
    "masks": fixed(
        directory("/hidden", 0o755),
        file("/hidden/secret", "x"),
        file("/file", "x"),
        masked_paths=["/hidden", "/file", "/proc/kcore", "/absent"],
        readonly_paths=["/proc/sys", "/tmp", "/absent"],
    ),
    "no sync": fixed(seccomp=pc.NO_SYNC),
    "filters": fixed(
        seccomp=pc.SeccompFilter(
            "allow",
            {
                "mkdir": errno.EDOM,
                "unshare": {pc.SyscallArgument(0, "==", 0x04000000): errno.EXDEV},
                "chmod": {
                    pc.SyscallArgument(1, "==", 0o4000, mask=0o4000): errno.EPERM,
                    pc.SyscallArgument(1, "==", 0o1, mask=0o1): 0,
                },
            },
        )
        | pc.NO_SYNC
    ),
    "untrusted": fixed(seccomp=pc.UNTRUSTED),
    "sandbox": lambda folder: {"base": pc.SANDBOX, "limits": None},
    "rootfs": lambda folder: {"rootfs": folder / "rootfs"},
    "writable rootfs": lambda folder: {"rootfs": folder / "rootfs", "writable_root": True},
    "rootfs with mounts": lambda folder: {
        "rootfs": folder / "rootfs",
        "mounts": [tmpfs("/data"), bind(folder / "host", "/nowhere", optional=True)],
    },
    "bare": fixed(pc.proc(), tmpfs("/tmp"), default_files=False),
    "overlay": lambda folder: {"mounts": [overlay(folder / "host", "/over")]},
    "ranges": fixed(host_uids=1000),
}


# Host root alone may leave the user namespace out, or hand out its own ids.
ROOTS: dict[str, Made] = {
    "host's ids": fixed(namespaces=pc.NAMESPACES - {"user"}),
    "host's ids of a user": fixed(namespaces=pc.NAMESPACES - {"user"}, guest_uid=7, guest_gid=8),
    "host's root": fixed(host_uid_start=0),
    "ids that are chosen": fixed(host_uids=2000, host_uid_start=100_000, guest_uid=1000),
}
if ROOT:
    CONTAINERS.update(ROOTS)


def build(name: str, folder: Path, probe: Path) -> Container:
    host(folder)
    rootfs(folder)
    fields = CONTAINERS[name](folder)
    base = fields.pop("base", Container())
    mounts = [*fields.pop("mounts", ()), bind(probe, "/probe")]
    return pc.extend(base, *mounts, child_is_pid1=True, **fields)


def look(bundle: str, runtime: Any) -> dict[str, str]:
    said: list[bytes] = []
    done = run_bundle(bundle, runtime=runtime, log=said.append)
    text = b"".join(said).decode()
    assert (done.returncode, done.verdict) == (7, pc.Verdict.EXIT), text
    return facts_of(text)


@pytest.mark.parametrize("name", CONTAINERS)
def test_the_same_container(name, tmp_path, probe):
    container = build(name, tmp_path, probe)
    bundle = write_bundle(tmp_path / "bundle", container, ["/probe"])
    native = look(bundle.path, "native")
    found = []
    for runtime in ("runc", "crun"):
        if shutil.which(runtime) is None:
            pytest.skip(f"{runtime} is not installed")
        found += differences(native, look(bundle.path, runtime), runtime)
    assert not found, "\n".join(found)


def test_a_difference_is_seen():
    same = {"hostname": "a", "call umount": "22"}
    other = {"hostname": "b", "call umount": "0", "env X": "1"}
    assert differences(same, other, "runc") == [
        "env X: '' natively, '1' under runc",
        "hostname: 'a' natively, 'b' under runc",
    ]
