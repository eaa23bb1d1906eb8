"""What ``inspect_container`` gives: frozen data, whose names are the keys of ``--json``.

Names of files, mounts, cgroups and processes are chosen by the container: escape them before they
are shown (``printable``).
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

__all__ = [
    "Capabilities",
    "Cgroup",
    "CgroupPath",
    "IdRange",
    "Inspection",
    "Interface",
    "Listener",
    "MountEntry",
    "NamespaceEntry",
    "Network",
    "OpenFile",
    "ProcessEntry",
    "ResourceLimit",
    "Seccomp",
]


@frozen
class NamespaceEntry:
    """A namespace of the process.

    Attributes:
        kind: as in /proc/PID/ns: "mnt", "pid", …
        number: its inode number.
        own: it is not the host's.
    """

    kind: str
    number: int
    own: bool


@frozen
class MountEntry:
    """A mount that the process can see (proc_pid_mountinfo(5)).

    Attributes:
        id, parent: numbers; a root has a parent that is not among those that are seen.
        target: where.
        fstype, source: what.
        root: the directory of the file system that is seen there.
        read_only: it, or the whole file system.
        flags: of the mount, as "nosuid".
        propagation: as "private", "shared:5", "master:5".
        options: of the file system.
    """

    id: int
    parent: int
    target: str
    fstype: str
    source: str
    root: str
    read_only: bool
    flags: tuple[str, ...]
    propagation: tuple[str, ...]
    options: tuple[str, ...]


@frozen
class IdRange:
    """*count* ids from *inside* on are those from *outside* on of the caller's user namespace."""

    inside: int
    outside: int
    count: int


@frozen
class Capabilities:
    """The five sets, as names such as "CAP_CHOWN"."""

    effective: tuple[str, ...]
    permitted: tuple[str, ...]
    inheritable: tuple[str, ...]
    bounding: tuple[str, ...]
    ambient: tuple[str, ...]


@frozen
class Seccomp:
    """Filters of system calls.

    Attributes:
        mode: "none", "strict" or "filter".
        filters: how many; None where the kernel does not say.
    """

    mode: str
    filters: int | None


@frozen
class ResourceLimit:
    """A limit of getrlimit(2); None is no limit.  *unit* may be "" (nice, rtprio)."""

    name: str
    soft: int | None
    hard: int | None
    unit: str = ""


@frozen
class CgroupPath:
    """A cgroup that the process is in.

    Attributes:
        version: 1 or 2.
        controllers: of version 1; those that version 2 has there.
        path: in its hierarchy.
        directory: where the caller sees it, or None.
    """

    version: int
    controllers: tuple[str, ...]
    path: str
    directory: str | None


@frozen
class Cgroup:
    """What the process's cgroups hold it to, and what is used.

    Attributes:
        paths: of each hierarchy.
        alone: one of the cgroups holds the container's processes and no others.
        limits: the lowest of the cgroup's and of all above it.  Keys: ``memory``, ``memory_high``,
            ``swap`` (bytes), ``processes``, ``cpus`` (processors' worth of time) and ``cpuset`` (a
            list as "0-2,4"); None where there is no limit.
        usage: of those that hold no others.  Keys: ``memory``, ``memory_peak``, ``swap`` (bytes),
            ``processes``, ``cpu_time`` (seconds); None where it is not known.
    """

    paths: tuple[CgroupPath, ...]
    alone: bool
    limits: Mapping[str, int | float | str | None]
    usage: Mapping[str, int | float | None]


@frozen
class ProcessEntry:
    """A process of the container.

    Attributes:
        pid, parent: as the caller sees them.
        inside: its number in its own pid namespace; None where that is not known.
        command: its command line, or its name in brackets.
        state: a letter as in proc_pid_stat(5): R, S, D, Z, T …
        user, uid: effective, on the host.
        threads: how many.
        rss: bytes in memory, those that are shared too.
        age: seconds.
    """

    pid: int
    parent: int
    inside: int | None
    command: tuple[str, ...]
    state: str
    user: str
    uid: int
    threads: int
    rss: int
    age: float


@frozen
class OpenFile:
    """A descriptor of a process.

    Attributes:
        pid, fd: whose, and its number.
        target: a path as the process sees it, or as "pipe:[123]".
        mode: "r", "w", "rw", or "path" (O_PATH).
    """

    pid: int
    fd: int
    target: str
    mode: str


@frozen
class Interface:
    """A network interface.

    Attributes:
        name: its name.
        addresses: as "127.0.0.1/8", "::1/128".
        received, sent: bytes.
    """

    name: str
    addresses: tuple[str, ...]
    received: int
    sent: int


@frozen
class Listener:
    """A socket that waits for whoever comes.

    Attributes:
        protocol: "tcp", "udp" or "unix"; IPv6 is told by the address.
        address: an IP address, or a path ("@name" is abstract).
        port: of tcp and udp, else None.
        pids: processes of the container that hold it.
    """

    protocol: str
    address: str
    port: int | None
    pids: tuple[int, ...]


@frozen
class Network:
    """The network of the process.

    Attributes:
        own: not the host's.  Of the host's network only the sockets of the container's processes
            are listed, and no interfaces.
        interfaces: in their order.
        listeners: sockets that listen; of udp, those that are not connected.
    """

    own: bool
    interfaces: tuple[Interface, ...]
    listeners: tuple[Listener, ...]


@frozen
class Inspection:
    """A process, and the container that it is in.

    Attributes:
        pid: the process, as the caller sees it.
        container: the first process of its container; None where it is in none.
        maker: a guess of what made the container, or None.
        kind: of the group of processes that it is in: as ``ContainerSummary.kind``, or "host".
        made_here: first processes of containers that come from this one, which is in none itself.
        command: its command line.
        comm: its name.
        inside: its number in its own pid namespace, or None.
        parent: the number of its parent.
        state: a letter as in proc_pid_stat(5).
        user, uid, gid: effective, on the host.
        inside_uid, inside_gid: what the container takes these for; None where they are not mapped.
        groups: supplementary, on the host.
        age: seconds.
        executable, cwd, root: paths as the process sees them; None where they may not be read.
        namespaces: of each kind.
        mounts: parents before children, in the order in which they were made.
        uid_map, gid_map: of its user namespace.
        setgroups: "allow" or "deny".
        capabilities, seccomp, no_new_privileges: what it may do.
        label: of the security module (AppArmor, SELinux), or None.
        rlimits: of getrlimit(2).
        cgroup: its cgroups.
        processes: of the whole container; of a process that is in none, those that come from it.
        open_files: of the processes of the container; of a process that is in none, its own.
        network: interfaces and listeners.
        environment: of the process when it was executed, where asked for; else None.
        unread: name of an attribute → why it is empty or None.
    """

    pid: int
    container: int | None
    maker: str | None
    kind: str
    made_here: tuple[int, ...]
    command: tuple[str, ...]
    comm: str
    inside: int | None
    parent: int
    state: str
    user: str
    uid: int
    gid: int
    inside_uid: int | None
    inside_gid: int | None
    groups: tuple[int, ...]
    age: float
    executable: str | None
    cwd: str | None
    root: str | None
    namespaces: tuple[NamespaceEntry, ...]
    mounts: tuple[MountEntry, ...]
    uid_map: tuple[IdRange, ...]
    gid_map: tuple[IdRange, ...]
    setgroups: str | None
    capabilities: Capabilities
    seccomp: Seccomp
    no_new_privileges: bool
    label: str | None
    rlimits: tuple[ResourceLimit, ...]
    cgroup: Cgroup
    processes: tuple[ProcessEntry, ...]
    open_files: tuple[OpenFile, ...]
    network: Network
    environment: Mapping[str, str] | None
    unread: Mapping[str, str] = field(factory=dict)
