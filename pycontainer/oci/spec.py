"""A container and a command as a config.json of the OCI runtime specification: ``to_spec``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeAlias

from ..declare.capabilities import ALL, CAPABILITIES
from ..declare.checks import ID_MAX
from ..declare.container import Container
from ..declare.limits import UNLIMITED, Limits
from ..declare.mounts import Mount, Overlay
from ..plan.compile import kept_defaults, kernel_places
from ..plan.steps import Op
from .annotations import PLAIN, PREFIX, VERSION, dump, record_of
from .mounts import of_default, of_mount, of_overlay, owner_of

__all__ = ["NAMESPACES", "Extent", "limits_of_spec", "mappings", "to_spec"]

Extent: TypeAlias = tuple[int, int, int]
"""The first id in the container, the first id outside, how many."""

OCI_VERSION = "1.0.2"
FIRST_ID = 0x70000000
"""The first id outside for a container that leaves the choice, if the caller does as well."""

NAMESPACES = {
    "user": "user",
    "pid": "pid",
    "mnt": "mount",
    "net": "network",
    "ipc": "ipc",
    "uts": "uts",
    "cgroup": "cgroup",
}
"""The kernel's names, and those of OCI."""

NO_BOUND = 2**64 - 1
"""RLIM_INFINITY, as runc and crun read it."""
PERIOD = 100_000
"""Microseconds over which processors' time is counted, the kernel's default."""


def to_spec(
    container: Container,
    argv: Sequence[str | bytes | os.PathLike[Any]],
    *,
    uid_map: Sequence[Extent] | None = None,
    gid_map: Sequence[Extent] | None = None,
) -> dict[str, Any]:
    """The config.json that makes *container* and runs *argv* in it.

    Pure: the host is not asked.  ``write_bundle`` adds what a runtime needs besides: a root, the
    caller's ids, the optional binds that are there.  ``from_spec`` is the inverse.  What OCI has no
    word for is in the annotations, as JSON below ``org.pycontainer.``.

    Arguments:
        uid_map, gid_map: for a container that leaves the choice of the host's ids (its
            ``host_uid_start`` is None): (first inside, first outside, how many).  None: its ids,
            from 1879048192 on outside.

    Raises:
        ValueError: *argv* is empty, or the filter of system calls has no counterpart in OCI.
        TypeError: *argv* is not a sequence of texts.
    """
    if isinstance(argv, (str, bytes, os.PathLike)):
        raise TypeError(f"argv is a sequence of arguments, not {argv!r}: use [{argv!r}]")
    args = [os.fsdecode(argument) for argument in argv]
    if not args or not args[0]:
        raise ValueError("argv is empty: its first item is the program")
    notes: dict[str, Any] = {"version": VERSION}
    for name, default in PLAIN.items():
        value = getattr(container, name)
        if value != default:
            notes[name] = value
    names = container.namespaces
    spec: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        "process": _process(container, args, notes),
        "root": {"path": container.rootfs or "rootfs", "readonly": not container.writable_root},
    }
    if "mnt" not in names:
        spec["root"] = {"path": "/", "readonly": False}
    if "uts" in names:
        spec["hostname"] = container.hostname
    spec["mounts"] = _mounts(container, notes)
    spec["linux"] = _linux(container, notes, uid_map, gid_map)
    if container.limits is not None:
        notes["limits"] = limits_of_spec(container.limits)
    spec["annotations"] = {PREFIX + name: dump(value) for name, value in notes.items()}
    return spec


def _process(container: Container, args: list[str], notes: dict[str, Any]) -> dict[str, Any]:
    process: dict[str, Any] = {
        "terminal": False,
        "user": {"uid": container.guest_uid, "gid": container.guest_gid},
        "args": args,
        "env": [f"{name}={value}" for name, value in container.env.items()],
        "cwd": container.cwd,
        "capabilities": _capabilities(container, notes),
        "rlimits": _rlimits(container.limits),
        "noNewPrivileges": container.no_new_privs,
    }
    return process


def _capabilities(container: Container, notes: dict[str, Any]) -> dict[str, list[str]]:
    kept = container.capabilities
    every = kept == ALL
    if every:
        notes["all"] = True
    names = [name for name in CAPABILITIES if every or name in kept]
    # "all" is what the kernel grants: nothing is inheritable or ambient of itself.
    inheritable = [] if every else names
    ambient = inheritable if container.ambient_capabilities else []
    return {
        "bounding": names,
        "effective": names,
        "permitted": names,
        "inheritable": inheritable,
        "ambient": ambient,
    }


def _rlimits(limits: Limits | None) -> list[dict[str, Any]]:
    bounds: dict[str, int] = {"CORE": 1}  # as plan/bounds.py has it
    if limits is not None:
        if limits.cpu_time is not None:
            bounds["CPU"] = int(limits.cpu_time) + 1
        if limits.file_size is not None:
            bounds["FSIZE"] = limits.file_size
        if limits.stack is not None:
            bounds["STACK"] = NO_BOUND if limits.stack == UNLIMITED else int(limits.stack)
        if limits.processes is not None:
            bounds["NPROC"] = limits.processes
        if limits.open_files is not None:
            bounds["NOFILE"] = limits.open_files
    return [
        {"type": f"RLIMIT_{name}", "soft": bound, "hard": bound} for name, bound in bounds.items()
    ]


def limits_of_spec(limits: Limits) -> dict[str, Any]:
    """The limits that no resource of OCI says, or not exactly."""
    more: dict[str, Any] = {
        name: getattr(limits, name)
        for name in ("cpu_time", "wall_time", "cpus", "output")
        if getattr(limits, name) is not None
    }
    if limits.cpu_affinity is not None:
        more["cpu_affinity"] = sorted(limits.cpu_affinity)
    more["strict"] = limits.strict
    return more


def _mounts(container: Container, notes: dict[str, Any]) -> list[dict[str, Any]]:
    if "mnt" not in container.namespaces:
        return []
    owner = owner_of(container)
    defaults = [of_default(step, owner) for step in kept_defaults(container) if step.op is Op.MOUNT]
    if container.default_files:
        notes["defaults"] = [mount["destination"] for mount in defaults]
    mounts = defaults
    entries = []
    said: dict[str, Any] = {}
    overlays = 0
    for position, item in enumerate(container.mounts):
        if isinstance(item, Mount):
            mount, more = of_mount(item, owner)
        elif isinstance(item, Overlay):
            mount, more = of_overlay(item, overlays, "user" in container.namespaces)
            overlays += 1
        else:
            entries.append(record_of(item, position))
            continue
        mounts.append(mount)
        if more:
            said[mount["destination"]] = more
    if entries:
        notes["entries"] = entries
    if said:
        notes["mounts"] = said
    return mounts


def _linux(
    container: Container,
    notes: dict[str, Any],
    uid_map: Sequence[Extent] | None,
    gid_map: Sequence[Extent] | None,
) -> dict[str, Any]:
    linux: dict[str, Any] = {
        "namespaces": [
            {"type": word} for name, word in NAMESPACES.items() if name in container.namespaces
        ]
    }
    ids = {
        "host_uids": container.host_uids,
        "host_uid_start": container.host_uid_start,
        "host_gid_start": container.host_gid_start,
    }
    if "user" in container.namespaces:
        notes["ids"] = ids
        own_uids, own_gids = mappings(container)
        chosen = container.host_uid_start is None
        linux["uidMappings"] = _mapping(own_uids if uid_map is None or not chosen else uid_map)
        chosen = chosen and container.host_gid_start is None
        linux["gidMappings"] = _mapping(own_gids if gid_map is None or not chosen else gid_map)
    elif ids != {"host_uids": 1, "host_uid_start": None, "host_gid_start": None}:
        notes["ids"] = ids
    if container.seccomp is not None:
        from .filters import note_of, of_filter

        linux["seccomp"] = of_filter(container.seccomp)
        notes["seccomp"] = note_of(container.seccomp)
    resources = _resources(container.limits)
    if resources:
        linux["resources"] = resources
    if container.masked_paths:
        linux["maskedPaths"] = list(container.masked_paths)
    # Here the kernel's settings are read-only for host root's own id without being told.
    read_only = [*kernel_places(container), *container.readonly_paths]
    if read_only:
        linux["readonlyPaths"] = read_only
    return linux


def mappings(container: Container) -> tuple[tuple[Extent, ...], tuple[Extent, ...]]:
    """The maps of users and groups that the container itself asks for."""
    count = container.host_uids
    free = max(0, min(FIRST_ID, ID_MAX + 1 - count))
    start = free if container.host_uid_start is None else container.host_uid_start
    first, many = (container.guest_uid, container.guest_gid), count > 1
    uids: tuple[Extent, ...] = ((0 if many else first[0], start, count),)
    if container.host_gid_start is not None:
        start = container.host_gid_start
    return uids, ((0 if many else first[1], start, count),)


def _mapping(extents: Sequence[Extent]) -> list[dict[str, int]]:
    return [
        {"containerID": inside, "hostID": outside, "size": count}
        for inside, outside, count in extents
    ]


def _resources(limits: Limits | None) -> dict[str, Any]:
    resources: dict[str, Any] = {}
    if limits is None:
        return resources
    if limits.memory is not None:
        # The second bound is of memory and swap together: no swap.
        resources["memory"] = {"limit": limits.memory, "swap": limits.memory}
    if limits.cpus is not None:
        resources["cpu"] = {"quota": quota_of(limits.cpus), "period": PERIOD}
    if limits.processes is not None:
        resources["pids"] = {"limit": limits.processes}
    return resources


def quota_of(cpus: float) -> int:
    """Microseconds a period; the kernel takes no less than 1,000 (cpu.max in cgroup-v2.rst)."""
    return max(1000, int(cpus * PERIOD))
