"""A build request as an OCI runtime configuration: pure, and relative to the bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from .constraints import NetworkAccess, ProvideBinSh
from .request import BuildRequest, below

__all__ = [
    "BUILD_GID",
    "BUILD_UID",
    "NETWORK_FILES",
    "host_shell_visible",
    "request_spec",
    "scratch_name",
]

BUILD_UID, BUILD_GID = 1000, 100
"""Who a build is, inside."""

NETWORK_FILES = ("/etc/hosts", "/etc/resolv.conf", "/etc/services")
"""What a build with ``NetworkAccess`` sees of the host's /etc."""

_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL")
# In a user namespace of its own they are over nothing but what is the build's own.
_ROOTLESS_CAPABILITIES = (
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)

_MASKED = (
    "/proc/kcore",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
)
_READ_ONLY = (
    "/proc/asound",
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
)


def request_spec(
    request: BuildRequest,
    *,
    rootless: bool = False,
    host_uid: int = BUILD_UID,
    host_gid: int = BUILD_GID,
    shell: str = "shell/sh",
    shell_files: Mapping[str, str] | None = None,
    network_files: Iterable[str] = NETWORK_FILES,
    terminal: bool = True,
) -> dict[str, Any]:
    """The ``config.json`` of *request*: the same request gives the same, whatever the machine.

    Relative sources of mounts are in the bundle: ``scratch/NAME`` (see ``scratch_name``),
    ``inputs/NAME``, and the shell.

    Arguments:
        rootless: for an ordinary user: in a user namespace of its own.
        host_uid, host_gid: with *rootless*, who 1000:100 is on the host.
        shell: with ``ProvideBinSh``, the program that is seen at /bin/sh.
        shell_files: place inside to file of the host: what that program needs besides.
        network_files: with ``NetworkAccess``, the files of the host that are seen.
        terminal: whether the process has a terminal.
    """
    names = _ROOTLESS_CAPABILITIES if rootless else _CAPABILITIES
    sets = ["bounding", "effective", "inheritable", "permitted"]
    if rootless:
        sets.append("ambient")
    network = request.has(NetworkAccess)
    mounts = [
        *_default_mounts(rootless, network),
        _mount("/tmp", "tmpfs", "tmpfs", "nosuid", "noatime", "mode=700"),
        *(
            _bind("/" + path, f"scratch/{scratch_name(path)}", "rw")
            for path in request.scratch_paths
        ),
        # The kernel refuses a rootless read-only bind that drops the source's nosuid or nodev.
        *(
            _bind("/" + place, f"inputs/{name}", "ro", "nosuid", "nodev")
            for name, place in request.input_places().items()
        ),
        *(_bind(path, path, "ro") for path in request.available_paths()),
    ]
    if request.has(ProvideBinSh) and not host_shell_visible(request):
        files = {"/bin/sh": shell, **(shell_files or {})}
        mounts += [_bind(place, source, "ro") for place, source in files.items()]
    if network:
        mounts += [_bind(path, path, "ro") for path in network_files]
    # Of two at one place the later would hide the other: a scratch path at /tmp, for instance.
    last = {mount["destination"]: mount for mount in mounts}
    mounts = [mount for mount in mounts if last[mount["destination"]] is mount]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": terminal,
            "user": {"uid": BUILD_UID, "gid": BUILD_GID},
            "args": list(request.command_args),
            "env": [
                f"{name}={value.decode('utf-8', 'surrogateescape')}"
                for name, value in request.environment_vars.items()
            ],
            "cwd": "/" + request.working_dir,
            "capabilities": {one: list(names) for one in sets},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "root", "readonly": True},
        "hostname": "localhost",
        "mounts": mounts,
        "linux": {
            "namespaces": _namespaces(rootless, network),
            **(_mappings(host_uid, host_gid) if rootless else {}),
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READ_ONLY),
        },
    }


def scratch_name(path: str) -> str:
    """What the directory of a scratch path is called in the bundle.

    A hash, so that "a/b" and "a-b" are two and no name is too long.
    """
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def host_shell_visible(request: BuildRequest) -> bool:
    """Whether what the build sees of the host has /bin/sh already."""
    return any(below("/bin/sh", path) for path in request.available_paths())


def _namespaces(rootless: bool, network: bool) -> list[dict[str, str]]:
    names = ["pid", "ipc", "uts", "mount", "cgroup"]
    if not network:
        names.append("network")
    if rootless:
        names.append("user")
    return [{"type": name} for name in names]


def _mappings(host_uid: int, host_gid: int) -> dict[str, Any]:
    return {
        "uidMappings": [{"containerID": BUILD_UID, "hostID": host_uid, "size": 1}],
        "gidMappings": [{"containerID": BUILD_GID, "hostID": host_gid, "size": 1}],
    }


def _mount(target: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}


def _bind(target: str, source: str, *options: str) -> dict[str, Any]:
    return _mount(target, "none", source, "rbind", *options)


def _default_mounts(rootless: bool, network: bool) -> list[dict[str, Any]]:
    """The runtime specification's defaults, less what a user namespace of one id cannot have."""
    quiet = ("nosuid", "noexec", "nodev")
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    if not rootless:
        pts.append("gid=5")  # not mapped otherwise
    mounts = [
        _mount("/proc", "proc", "proc"),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount("/dev/pts", "devpts", "devpts", *pts),
        _mount("/dev/shm", "tmpfs", "shm", *quiet, "mode=1777", "size=65536k"),
        _mount("/dev/mqueue", "mqueue", "mqueue", *quiet),
    ]
    if rootless and network:
        # sysfs is mounted by whoever owns the network namespace only.
        return [*mounts, _bind("/sys", "/sys", *quiet, "ro")]
    mounts.append(_mount("/sys", "sysfs", "sysfs", *quiet, "ro"))
    if not rootless:
        mounts.append(_mount("/sys/fs/cgroup", "cgroup", "cgroup", *quiet, "relatime", "ro"))
    return mounts
