"""What the machine has of what builds ask for."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from ..host.files import HostFiles
from .constraints import AvailableReadOnlyPath, MinMemory, NetworkAccess, ProvideBinSh, System
from .request import BuildRequest
from .shell import sandbox_shell
from .spec import NETWORK_FILES, host_shell_visible

__all__ = ["available_memory", "has_network", "network_files_here", "system", "unmet"]


def unmet(request: BuildRequest) -> list[str]:
    """Which constraints of *request* this machine does not meet, a line each; [] if none."""
    problems = []
    for one in request.constraints:
        match one:
            case System(name):
                if name != system():
                    problems.append(f"system: {name} is asked for, and this is {system()}")
            case MinMemory(wanted):
                found = available_memory()
                if found < wanted:
                    problems.append(
                        f"memory: {wanted} bytes are asked for, and {found} are available"
                    )
            case AvailableReadOnlyPath(path):
                if not os.path.exists(path):
                    what = "is a link that leads nowhere" if os.path.islink(path) else "is absent"
                    problems.append(f"path: {path} {what}")
                elif not os.access(path, os.R_OK):
                    problems.append(f"path: {path} cannot be read")
            case NetworkAccess():
                if not has_network():
                    problems.append("network: no interface but the loopback device is up")
            case ProvideBinSh():
                if not host_shell_visible(request) and sandbox_shell() is None:
                    problems.append("shell: this machine has no busybox, dash or sh")
    return problems


def system() -> str:
    """What this machine is, as ``System`` has it: "x86_64-linux"."""
    machine = os.uname().machine
    return f"{machine}-{os.uname().sysname.lower()}"


def available_memory() -> int:
    """How many bytes can be used without swapping: of the machine, and of our own cgroups.

    MemAvailable of proc_meminfo(5); memory.max less memory.current in
    Documentation/admin-guide/cgroup-v2.rst, where a cgroup2 is mounted.
    """
    host = HostFiles()
    least = 0
    for line in (host.read("/proc/meminfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            least = int(value.split()[0]) * 1024
    for line in (host.read("/proc/self/cgroup") or "").splitlines():
        if not line.startswith("0::"):
            continue
        group = Path("/sys/fs/cgroup", line[3:].lstrip("/"))
        while group.is_relative_to("/sys/fs/cgroup") and str(group) != "/sys/fs/cgroup":
            most, now = host.read(f"{group}/memory.max"), host.read(f"{group}/memory.current")
            if most and most.isdigit() and now and now.isdigit():
                least = min(least, max(0, int(most) - int(now)))
            group = group.parent
    return least


def has_network() -> bool:
    """Whether an interface other than the loopback device is up (netdevice(7), IFF_UP)."""
    for _, name in socket.if_nameindex():
        flags = HostFiles().read(f"/sys/class/net/{name}/flags")
        if name != "lo" and (flags is None or int(flags, 16) & 1):
            return True
    return False


def network_files_here() -> list[str]:
    """Which of the files of /etc that a build with a network sees are there."""
    return [path for path in NETWORK_FILES if os.path.isfile(path)]
